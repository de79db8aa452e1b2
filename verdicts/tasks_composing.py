"""Celery tasks of the verifier's lane: what GitHub should show, and what was asked for there."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from handoffs.models import GitHubCommand, GitHubRepository
from handoffs.tasks import nudge
from verdicts.commands import run_command
from verdicts.composing import compose, on_github
from verdicts.tasks import alone, verifier

AT_ONCE = 200


@shared_task(ignore_result=True)
def compose_projections() -> int:
    """Write what GitHub should show, where it is another thing than before. Returns how many rows changed."""
    if not GitHubRepository.objects.exists():
        return 0
    count = compose(on_github(), portal_url=settings.PORTAL_URL)
    if count:
        nudge("verdicts.tasks_projecting.sweep_projections")
    return count


@shared_task(ignore_result=True)
def sweep_commands() -> int:
    """Do or refuse what people asked for on GitHub, in the order they asked. Returns how much."""
    waiting = GitHubCommand.objects.filter(outcome=GitHubCommand.Outcome.WAITING).order_by("pk")
    found = list(waiting.values_list("pk", flat=True)[:AT_ONCE])
    if not found:
        return 0
    reporter = verifier()
    for pk in found:
        with alone(f"command {pk}"):
            run_command(pk, reporter=reporter)
    nudge("verdicts.tasks_projecting.sweep_requests")
    nudge("verdicts.tasks.sweep_work")
    compose_projections()
    return len(found)
