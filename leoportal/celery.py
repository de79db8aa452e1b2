"""The Celery app. Messages only wake workers up; PostgreSQL holds the work. Each lane has its own queue and worker."""

import os
from typing import Any

from celery import Celery, Task
from celery.signals import worker_init

from leoportal.lanes.switching import acting_in

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")


class LaneTask(Task):  # type: ignore[misc]
    """A task acts in the lane of its queue, whoever calls it. Its worker is signed in as that lane already."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Called by the worker, or directly."""
        with acting_in(lane_of(self.name)):
            return super().__call__(*args, **kwargs)


app = Celery("leoportal", task_cls=LaneTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["handoffs"], related_name="tasks_github")
app.autodiscover_tasks(["verdicts"], related_name="tasks_publishing")
app.autodiscover_tasks(["verdicts"], related_name="tasks_protection")
app.autodiscover_tasks(["verdicts"], related_name="tasks_projecting")
app.autodiscover_tasks(["verdicts"], related_name="tasks_composing")
app.autodiscover_tasks(["verdicts"], related_name="tasks_landing")


@worker_init.connect  # type: ignore[untyped-decorator]
def _watch(**_: object) -> None:
    """A worker looks at its database's guards, too; what it forks looks as it does."""
    from leoportal.lanes.watching import watch_database  # noqa: PLC0415  it needs the models, which are loaded now

    watch_database()


def lane_of(task: str) -> str:
    """The lane of a task, by name: that of its queue.

    Raises: LookupError for a task without one; it would wait in a queue that nobody reads.
    """
    route = app.amqp.router.route({}, task)
    queue = route.get("queue")
    if queue is None or queue.name == app.conf.task_default_queue:
        raise LookupError(f"{task} has no queue. Next: CELERY_TASK_ROUTES in leoportal/settings.py")
    return str(queue.name)
