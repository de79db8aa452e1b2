"""Celery tasks of the project itself."""

from celery import shared_task

from leoportal.lanes.watching import record_drift


@shared_task(ignore_result=True)
def guard_catalogue() -> bool:
    """Compare the database's guards with this release's, each minute; what changed about them is in the log."""
    return record_drift()
