"""Celery tasks of the trail."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from audit import erasure
from audit.covering import raise_alarm
from audit.rollback import compare_with_signer


@shared_task(ignore_result=True)
def apply_retention() -> int:
    """Erase texts that were kept as long as the settings say; the beat calls it every day."""
    return erasure.apply_retention(settings.RETENTION_TEXT_DAYS, now=timezone.now())


@shared_task(ignore_result=True)
def guard_log() -> bool:
    """Compare the database with what the log's signer signed, each minute; an alarm if it is behind."""
    trouble = compare_with_signer()
    return trouble is not None and raise_alarm(trouble.code, trouble.detail)
