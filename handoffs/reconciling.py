"""Bringing the portal up to date with GitHub: everything is read from there, nothing from what an event said.

Doing it again changes nothing; doing it after any number of lost events gives the state of having seen them all.
Source: HOK-03 and HOK-04 of the threat list; product.md section 6.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.following import follow_pulls, note_pull
from handoffs.forges.protocol import ForgeError
from handoffs.git.repository import Git
from handoffs.github.connection import Connection
from handoffs.github.forge import GitHub
from handoffs.github.pulls import PullFacts, by_number, merged_lately, one_pull, open_pulls, with_block, write_body
from handoffs.github.runs import Asked, RunFacts, dispatch, problem_of, run_of, runs_on
from handoffs.hosting import Side, connect, github_forge
from handoffs.models import PULL_OPEN, GitHubRepository, PullRequest, RemotePull, WorkflowRun

log = logging.getLogger(__name__)
APPEARS: Final = timedelta(seconds=60)  # until a run that was asked for must be in GitHub's lists
NO_BRANCH: Final = "nothing is judged there. Next: make it again, or `leo repo govern --branch` what took its place"
MOST_OTHERS: Final = 50
READ_AGAIN: Final = timedelta(days=1)  # how long a run that ended may still be run again


def reconcile_repository(hosted: GitHubRepository, *, by: Actor) -> None:
    """Look at one repository: its name, its branches, its pull requests, its workflow runs.

    Raises: ForgeError; what was done before it stays done.
    """
    began = timezone.now()
    connection = connect(hosted, Side.ENFORCER)
    connection.refuse_spent_budget(now=began)
    follow_name(hosted, connection.repository_by_id(hosted.github_id).full_name, by=by)
    forge = github_forge(hosted.repository)
    trouble = _fetch(forge, hosted.repository.protected_branch)
    tip = forge.branch(hosted.repository.protected_branch)
    facts = read_pulls(hosted, connection, has_moved=tip != hosted.tip_sha != "")
    for found in facts.values():
        note_pull(hosted, found, by=by)
    if tip:
        GitHubRepository.objects.filter(pk=hosted.pk).update(tip_sha=tip)
    else:
        trouble = ForgeError("forge.no_branch", f"{hosted.repository.protected_branch} is gone; {NO_BRANCH}")
    git = Git(Path(hosted.repository.path))
    follow_pulls(hosted, facts, git, began=began, by=by)
    _mend_blocks(hosted, connection, facts)
    follow_runs(hosted, connection)
    if trouble is not None:
        raise trouble


def _fetch(forge: GitHub, protected: str) -> ForgeError | None:
    """Bring the copy up to date. One branch that git refuses hides neither the protected one nor the portal's own.

    Raises: ForgeError where GitHub is away, or where those cannot be had either.
    """
    try:
        forge.refresh()
    except ForgeError as error:
        if error.code != "forge.fetch_failed":
            raise
        forge.refresh_only(protected, "feature/*")
        return error
    return None


@transaction.atomic(durable=True)
def follow_name(hosted: GitHubRepository, full_name: str, *, by: Actor) -> bool:
    """The repository's number stays, its name may change: it was renamed, or given to somebody else."""
    locked = GitHubRepository.objects.select_for_update().get(pk=hosted.pk)
    if locked.full_name == full_name:
        return False
    body: dict[str, JsonValue] = {
        "repository": hosted.repository.full_name,
        "github_id": locked.github_id,
        "old": locked.full_name,
        "new": full_name,
    }
    append_event(events.REPOSITORY_RENAMED, by, "", body)
    GitHubRepository.objects.filter(pk=hosted.pk).update(full_name=full_name)
    hosted.full_name = full_name
    return True


def read_pulls(hosted: GitHubRepository, connection: Connection, *, has_moved: bool) -> dict[int, PullFacts]:
    """The open pull requests, and those that were open when we last looked: all of ours, some of the others. Where
    the protected branch has moved since, also those that were opened and merged in between.

    Raises: ForgeError.
    """
    found = by_number(open_pulls(connection, hosted.full_name))
    ours = PullRequest.objects.filter(repository=hosted.repository, status__in=PULL_OPEN)
    theirs = RemotePull.objects.filter(repository=hosted.repository, is_open=True).exclude(number__in=found)
    others = theirs.order_by("seen_at").values_list("number", flat=True)[:MOST_OTHERS]
    known = {*ours.values_list("number", flat=True), *others}
    for number in sorted(known - found.keys()):
        try:
            found[number] = one_pull(connection, hosted.full_name, number)
        except ForgeError as error:
            if error.code != "github.not_found":
                raise
            log.warning("%s: pull request %s is gone", hosted, number)
    if has_moved:
        merged = by_number(merged_lately(connection, hosted.full_name))
        rows = RemotePull.objects.filter(repository=hosted.repository, number__in=merged)
        seen = {*rows.values_list("number", flat=True), *found}
        found |= {number: facts for number, facts in merged.items() if number not in seen}
    return found


def _mend_blocks(hosted: GitHubRepository, connection: Connection, facts: dict[int, PullFacts]) -> None:
    """Put the portal's block back where somebody changed it. The words around it are theirs."""
    pulls = PullRequest.objects.is_open().filter(repository=hosted.repository, number__in=facts)
    for pull in pulls:
        found = facts[pull.number]
        mended = with_block(found.body.replace("\r\n", "\n"), pull.body)
        if found.is_open and mended.strip() != found.body.replace("\r\n", "\n").strip():
            try:
                write_body(connection, hosted.full_name, pull.number, mended)
            except ForgeError as error:
                if error.code not in {"github.refused", "github.forbidden", "github.not_found"}:
                    raise
                log.warning("%s %s: its text cannot be mended: %s", hosted, pull, error)  # others' words left no room


def follow_runs(hosted: GitHubRepository, connection: Connection) -> None:
    """Ask for the workflows that are to run, and read what became of those that were asked for.

    Each is looked for before it is asked for, so that a worker that died between the two asks once.
    Raises: ForgeError.
    """
    now = timezone.now()
    rows = WorkflowRun.objects.current().filter(pull_request__repository=hosted.repository)
    rows = rows.filter(created_at__gt=now - READ_AGAIN).select_related("pull_request").order_by("pk")
    heads: dict[str, list[WorkflowRun]] = {}
    for row in rows:
        heads.setdefault(row.head_sha, []).append(row)
    for head_sha, wanted in heads.items():
        runs = runs_on(connection, hosted.full_name, head_sha)
        for row in wanted:
            asked = Asked(row.intent, row.workflow, row.head_sha, hosted.github_id)
            if (run := run_of(asked, runs)) is not None:
                _note_run(row, run, problem_of(asked, run), now)
            elif row.tried_at is None or row.tried_at < now - APPEARS:
                _ask(hosted, connection, row)


def _note_run(row: WorkflowRun, run: RunFacts, problem: str, now: datetime) -> None:
    said = (run.number, run.attempt, run.status[:20], run.conclusion[:20], problem)
    if said != (row.remote_id, row.attempt, row.status, row.conclusion, row.problem):
        fields = dict(zip(("remote_id", "attempt", "status", "conclusion", "problem"), said, strict=True))
        WorkflowRun.objects.filter(pk=row.pk).update(**fields, seen_at=now, error="")


def _ask(hosted: GitHubRepository, connection: Connection, row: WorkflowRun) -> None:
    """Ask for a run. Where GitHub refuses, the row says why and the gate goes on waiting.

    Without an answer nobody knows whether it was asked for: then it has as long to appear as after a good answer.
    """
    WorkflowRun.objects.filter(pk=row.pk).update(tried_at=timezone.now())
    try:
        dispatch(connection, hosted.full_name, row.workflow, ref=row.pull_request.head_ref, intent=row.intent)
    except ForgeError as error:
        if error.code == "github.rate_limited":
            WorkflowRun.objects.filter(pk=row.pk).update(tried_at=row.tried_at)
        if error.code not in {"github.not_found", "github.refused", "github.forbidden"}:
            raise
        WorkflowRun.objects.filter(pk=row.pk).update(error=str(error)[:2000])
        log.warning("%s: %s cannot be dispatched: %s", hosted, row, error)
