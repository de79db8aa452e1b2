"""Celery tasks of the trail."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from audit import erasure


@shared_task(ignore_result=True)
def apply_retention() -> int:
    """Erase texts that were kept as long as the settings say; the beat calls it every day."""
    return erasure.apply_retention(settings.RETENTION_TEXT_DAYS, now=timezone.now())
