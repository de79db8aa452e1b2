"""Celery tasks of the enforcer's lane: GitHub shows what the portal says, and people get answers there."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from handoffs.forges.protocol import ForgeError
from handoffs.git.process import GitError
from handoffs.github.comments import Comments
from handoffs.github.labels import Labels, PullFacts
from handoffs.github.runs import run_again
from handoffs.github.workflow_names import WORKFLOWS
from handoffs.hosting import Side, connect, github_forge
from handoffs.models import GitHubCommand, GitHubRepository, GitHubRequest, Notice, Projection, WorkflowRun
from handoffs.scope.secrets import redact
from handoffs.tasks import enforcer, nudge
from verdicts.answering import SOON, answer_request
from verdicts.showing import Tools, due_projections, leased, look_for_claims, show, show_notices
from verdicts.tampering import look_at_refs

log = logging.getLogger(__name__)
AT_ONCE: Final = 200
ASKED: Final = (GitHubRequest.Kind.COMMAND, GitHubRequest.Kind.ACTION)


@shared_task(ignore_result=True)
def sweep_projections() -> int:
    """Show what is not shown, and compare what was not compared for a while. Returns how many pull requests."""
    count = 0
    for hosted in GitHubRepository.objects.reachable("enforcer").select_related("repository").order_by("pk"):
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
        _look_at_refs(hosted, tools)
    show_notices(tools)
    return count


def _look_at_refs(hosted: GitHubRepository, tools: Tools) -> None:
    try:
        look_at_refs(hosted.repository, github_forge(hosted.repository).tags(), by=tools.by)
    except GitError as error:
        log.warning("the branches of %s cannot be read: %s", hosted, redact(str(error)))


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


@shared_task(ignore_result=True)
def sweep_requests() -> int:
    """Answer what people ask for in comments and with buttons. Returns how many requests were looked at."""
    due = GitHubRequest.objects.due().filter(kind__in=ASKED).order_by("pk")
    found = list(due.values_list("pk", flat=True)[:AT_ONCE])
    handed_on = [pk for pk in found if _answer(pk)]
    if handed_on:
        nudge("verdicts.tasks_composing.sweep_commands")
    return len(found)


def _answer(request_id: int) -> bool:
    """One request. Returns whether the verifier's lane has it now."""
    attempt = GitHubRequest.objects.claim(request_id, lease=timedelta(seconds=settings.LEASE_SECONDS))
    if attempt is None:
        return False
    request = GitHubRequest.objects.select_related("repository__github").get(pk=request_id)
    try:
        tools = tools_of(request.repository.github)
        answer = answer_request(request, tools, rerun=lambda command: _rerun(command, tools))
    except ForgeError as error:
        wait = error.retry_in or timedelta(seconds=60)
        GitHubRequest.objects.release(request_id, attempt, error=str(error), retry_in=wait, is_waiting=True)
        log.warning("request %s waits: %s", request_id, redact(str(error)))
        return False
    except Exception as error:
        GitHubRequest.objects.release(request_id, attempt, error=repr(error), retry_in=timedelta(seconds=2**attempt))
        raise
    is_with_verifier = answer is None
    GitHubRequest.objects.release(
        request_id, attempt, is_waiting=is_with_verifier, retry_in=SOON if is_with_verifier else None
    )
    return is_with_verifier


def _rerun(command: GitHubCommand, tools: Tools) -> str:
    """Why GitHub cannot run a gate's workflow again; empty when it was asked to, or does."""
    paths = [path for path, gate in WORKFLOWS.items() if gate == command.argument]
    rows = WorkflowRun.objects.current().filter(pull_request=command.pull_request, workflow__in=paths)
    found = rows.exclude(remote_id=None).order_by("-pk").first()
    if found is None or found.remote_id is None:
        return "no run of that gate's workflow is known on this head"
    try:
        run_again(connect(tools.hosted, Side.ENFORCER), tools.hosted.full_name, found.remote_id)
    except ForgeError as error:
        if error.code not in {"github.not_found", "github.forbidden", "github.refused"}:
            raise
        return f"GitHub does not run it again: {error.detail}"
    return ""
