"""Celery tasks of the enforcer's lane: GitHub shows what the portal says, and people get answers there."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

from handoffs.forges.protocol import ForgeError
from handoffs.github.comments import Comments
from handoffs.github.labels import Labels, PullFacts
from handoffs.hosting import Side, connect
from handoffs.models import GitHubRepository, Notice, Projection
from handoffs.scope.secrets import redact
from handoffs.tasks import enforcer
from verdicts.showing import Tools, due_projections, leased, look_for_claims, show, show_notices

log = logging.getLogger(__name__)
AT_ONCE = 200


@shared_task(ignore_result=True)
def sweep_projections() -> int:
    """Show what is not shown, and compare what was not compared for a while. Returns how many pull requests."""
    count = 0
    for hosted in GitHubRepository.objects.select_related("repository").order_by("pk"):
        try:
            count += _show_repository(hosted)
        except ForgeError as error:
            log.warning("%s does not show all it should: %s", hosted, redact(str(error)))
    return count


def tools_of(hosted: GitHubRepository) -> Tools:
    """One repository's adapters, with the enforcer's key.

    Raises: ForgeError("github.no_key").
    """
    connection = connect(hosted, Side.ENFORCER)
    return Tools(hosted, Comments(connection, hosted.full_name), Labels(connection, hosted.full_name), enforcer())


def _show_repository(hosted: GitHubRepository) -> int:
    """Everything of one repository that is due. One list of pull requests and one of comments serve all of them."""
    now = timezone.now()
    due = list(due_projections(hosted, now=now).order_by("looked_at", "pk")[:AT_ONCE])
    waiting = Notice.objects.due().filter(pull_request__repository=hosted.repository)
    if not due and not waiting.exists():
        return 0
    tools, count = tools_of(hosted), 0
    if due:
        since = min(row.looked_at or row.pull_request.opened_at for row in due)
        pulls = {facts.number: facts for facts in tools.labels.open_pulls()}
        for row in due:
            count += _show(row, pulls, tools)
        look_for_claims(tools, list(pulls.values()), since=since)
    show_notices(tools)
    return count


def _show(row: Projection, pulls: dict[int, PullFacts], tools: Tools) -> bool:
    number = row.pull_request.number
    try:
        with leased(row) as is_mine:
            if is_mine:
                fresh = Projection.objects.select_related("pull_request__repository").get(pk=row.pk)
                show(fresh, pulls.get(number) or tools.labels.pull(number), tools)
    except ForgeError as error:
        if error.code not in {"github.not_found", "github.refused"}:
            raise  # GitHub, or our right to it, is away: for the others too
        log.warning("%s of %s is not shown: %s", row.pull_request, tools.hosted, redact(str(error)))
        return False
    return is_mine
