"""Celery tasks of the verifier's lane: what GitHub should show, and what was asked for there."""

from __future__ import annotations

import logging

from celery import shared_task
from django.conf import settings

from handoffs.models import GitHubRepository
from handoffs.tasks import nudge
from verdicts.composing import compose, on_github

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def compose_projections() -> int:
    """Write what GitHub should show, where it is another thing than before. Returns how many rows changed."""
    if not GitHubRepository.objects.exists():
        return 0
    count = compose(on_github(), portal_url=settings.PORTAL_URL)
    if count:
        nudge("verdicts.tasks_projecting.sweep_projections")
    return count
