"""Celery tasks of leo-gate's worker. It alone has that App's key, and PostgreSQL lets its login write nothing else.

The rows say what there is to do; each task is safe to run twice.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from celery import shared_task
from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from audit.actions import actor_of
from audit.events import AuditError
from audit.models import Principal
from handoffs.forges.protocol import ForgeError
from handoffs.git.process import GitError
from handoffs.github.check_runs import Checks, Target, refuse_other_app
from handoffs.github.failures import SILENT, wait_after
from handoffs.github.statuses import Statuses
from handoffs.hosting import Side, connect
from handoffs.models import GitHubRepository
from handoffs.redelivering import ask_again
from handoffs.scope.secrets import redact
from handoffs.tasks import nudge
from verdicts.evidence import VERIFIER
from verdicts.merge_groups import publish_groups
from verdicts.models import VerdictError
from verdicts.publisher import publish_repository, shown_in_vain, stirred
from verdicts.publishing_plans import Desk

log = logging.getLogger(__name__)
AGAIN: Final = timedelta(seconds=5)  # after a trouble that does not say when to come again


def desk_of(hosted: GitHubRepository) -> Desk:
    """Where and as whom is published, from settings: leo-gate's check runs, or a token's statuses, which block nothing.

    Raises: ForgeError("github.no_key"), ("github.other_app").
    """
    target: Target
    connection = connect(hosted, Side.GATE)
    if hosted.is_separated:
        target = checks = Checks(connection, hosted.full_name)
        refuse_other_app(checks, hosted.gate_app)
    else:
        target = Statuses(connection, hosted.full_name)
    by = actor_of(Principal.objects.get(name=VERIFIER))
    return Desk(hosted, target, by, settings.PORTAL_URL, settings.LOG_WAIT_SECONDS)


@shared_task(ignore_result=True)
def sweep_publishing() -> int:
    """Wake a worker for each repository that is due: events came, our rows moved, a success no longer holds, or nobody
    looked for a minute. Returns how many."""
    rows = GitHubRepository.objects.select_related("repository")
    due = set(GitHubRepository.objects.gate_due(seconds=settings.GITHUB_POLL_SECONDS).values_list("pk", flat=True))
    due |= {hosted.pk for hosted in rows.exclude(pk__in=due) if stirred(hosted) or shown_in_vain(hosted)}
    free = rows.filter(Q(gate_next_try_at=None) | Q(gate_next_try_at__lte=Now()), pk__in=due)
    found = list(free.values_list("repository_id", flat=True))
    for pk in found:
        nudge("verdicts.tasks_publishing.publish", pk)
    return len(found)


@shared_task(ignore_result=True)
def publish(repository_id: int) -> str:
    """Bring one repository's check runs to what they have to say; one worker at a time."""
    rows = GitHubRepository.objects.filter(repository_id=repository_id)
    free = Q(gate_next_try_at=None) | Q(gate_next_try_at__lte=Now())
    lease = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
    if not rows.filter(free).update(gate_next_try_at=lease):
        return "not mine"
    began, mine = rows.values_list(Now(), flat=True).get(), rows.filter(gate_next_try_at=lease)
    hosted = rows.select_related("repository").get()
    try:
        desk = desk_of(hosted)
        try:
            publish_groups(desk)
        finally:
            publish_repository(desk)
    except (ForgeError, GitError, VerdictError, AuditError) as error:
        away = began - (hosted.gate_looked_at or hosted.created_at)
        wait = (wait_after(error, away=away) if isinstance(error, ForgeError) else None) or AGAIN
        if error.code == SILENT:
            wait = AGAIN  # that is a look at a row: what has to be taken back waits for nothing but GitHub
        said = redact(str(error))[:2000]
        mine.update(gate_next_try_at=Now() + wait, gate_error=said)
        log.warning("%s is not published: %s", hosted, said)
        return "failed"
    except BaseException as error:
        mine.update(gate_next_try_at=Now() + AGAIN, gate_error=redact(repr(error))[:2000])
        raise
    mine.update(gate_next_try_at=None, gate_looked_at=began, gate_error="")
    if rows.filter(gate_dirty_at__gt=F("gate_looked_at")).exists():
        nudge("verdicts.tasks_publishing.publish", repository_id)
    return "done"


@shared_task(ignore_result=True)
def sweep_gate_deliveries() -> int:
    """Have GitHub deliver again what it could not deliver to leo-gate."""
    return ask_again(Side.GATE)
