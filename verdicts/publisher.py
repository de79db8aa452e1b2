"""Publishing: intent row with its log entry, then GitHub, then the answer. What satisfies GitHub is written last.

Around the success of Gate 3 everything is read again: before it is written and after it, and any doubt, or any error,
takes it back at once. A worker that dies in between leaves a row without an answer: the next look finds the run by its
name and writes what holds then.
Source: trail.md sections 3.2 ("Publish after log"), 5.1 (K9) and 5.3 (I1, I7); GATE-03 to GATE-05, GATE-12.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import AuditError
from handoffs.forges.protocol import ForgeError
from handoffs.github.check_runs import CheckRun, FoundRun, RemotePull
from handoffs.models import GitHubRepository, PullRequest
from verdicts.check_text import link
from verdicts.models import AgentReport, Decision, GateExecution, Verdict, VerdictError
from verdicts.publication_rows import CheckPublication
from verdicts.publishing import SATISFYING, after_completion, doubts_of, in_order
from verdicts.publishing_facts import read_pulls
from verdicts.publishing_plans import Desk, Intended, Plan, plan_head, policy_of_checks

log = logging.getLogger(__name__)
MOVED: Final = "check.moved"
LONG_COMMIT: Final = timedelta(seconds=10)


class MovedError(VerdictError):
    """What a success rested on changed while it was written; it was taken back."""

    def __init__(self, sha: str) -> None:
        super().__init__(MOVED, f"the head {sha[:12]}, or what released it, changed while its success was written")


def publish_head(desk: Desk, sha: str, pulls: Sequence[RemotePull]) -> int:
    """Bring the check runs of one head to what they have to say. Returns how many were written."""

    def again() -> tuple[Intended, ...]:
        return plan_head(desk, sha, desk.checks.open_pulls())

    return publish(desk, sha, plan_head(desk, sha, pulls), again)


def publish(desk: Desk, sha: str, plan: Sequence[Intended], again: Plan) -> int:
    """Write what differs: what is taken back first, the success of Gate 3 last. `again` plans anew from everything.

    Raises: MovedError, ForgeError; nothing satisfies GitHub then that did not before.
    """
    said = CheckPublication.objects.newest(desk.hosted.repository_id, sha)
    plan = [_foldable(one, said[one.run.context].status if one.run.context in said else "") for one in plan]
    is_known = desk.checks.is_ours_alone and not any(one.wanted.is_release for one in plan)
    if is_known and all(_is_said(one, said.get(one.run.context)) for one in plan):
        return 0
    found = dict(desk.checks.runs_on(sha))
    count = 0
    by_context = {one.run.context: _foldable(one, _status(found.get(one.run.context))) for one in plan}
    for wanted in in_order([one.wanted for one in by_context.values()]):
        one, there = by_context[wanted.context], found.get(wanted.context)
        if there is not None and desk.checks.shows(one.run, there) and _is_said(one, said.get(one.run.context)):
            continue
        if one.wanted.is_release:
            _release(desk, one, there, again)
        else:
            _say(desk, one, there)
        count += 1
    return count


def _status(found: FoundRun | None) -> str:
    return found.status if found is not None else ""


def _foldable(one: Intended, status: str) -> Intended:
    """The same, said by a run that was completed before."""
    if status != "completed" or one.run.status == "completed":
        return one
    wanted = after_completion(one.wanted)
    run = replace(one.run, status=wanted.status, conclusion=wanted.conclusion, title=wanted.title)
    return replace(one, wanted=wanted, run=run)


def _is_said(one: Intended, row: CheckPublication | None) -> bool:
    return row is not None and row.is_certain and row.digest == one.digest


@transaction.atomic(durable=True)
def _intend(desk: Desk, one: Intended) -> CheckPublication:
    """Write down what is about to be said, with its entry of the log. The database looks at the causes again."""
    require(desk.by, Act.REPORT_RESULT)
    body: dict[str, JsonValue] = {
        "repository": desk.hosted.repository.full_name,
        "repository_id": desk.hosted.repository_id,
        "pr": one.pull_number,
        "group": one.is_group,
        "head": one.run.head_sha,
        "context": one.run.context,
        "own": one.wanted.is_own,
        "status": one.run.status,
        "conclusion": one.run.conclusion,
        "title": one.run.title,
        "digest": one.digest,
        "causes": list(one.wanted.causes),
    }
    return CheckPublication.objects.create(
        repository_id=desk.hosted.repository_id,
        pull_number=one.pull_number,
        is_group=one.is_group,
        head_sha=one.run.head_sha,
        context=one.run.context,
        is_own=one.wanted.is_own,
        status=one.run.status,
        conclusion=one.run.conclusion,
        title=one.run.title,
        digest=one.digest,
        causes=list(one.wanted.causes),
        log_entry=append_event(events.CHECK_INTENDED, desk.by, "", body),
    )


def _answer(row: CheckPublication, found: FoundRun) -> None:
    CheckPublication.objects.filter(pk=row.pk).update(run_number=found.number, published_at=Now())


def _say(desk: Desk, one: Intended, found: FoundRun | None) -> None:
    """Anything but the success of Gate 3. In an alarm the log takes no entry: what was shown is taken back anyway."""
    try:
        row = _intend(desk, one)
    except AuditError:
        if found is not None and found.conclusion in SATISFYING and not one.wanted.is_satisfying:
            desk.checks.withdraw(found, one.run.title, one.run.summary)
            rows = CheckPublication.objects.filter(repository=desk.hosted.repository_id, run_number=found.number)
            rows.update(withdrawn_at=Now())
        raise
    if found is None:
        found = desk.checks.make(_waiting(one) if one.wanted.is_satisfying else one.run)
        if not one.wanted.is_satisfying and len(one.run.annotations) <= found.annotated:
            _answer(row, found)
            return
    _answer(row, desk.checks.write(one.run, found))


def _waiting(one: Intended) -> CheckRun:
    return replace(one.run, status="in_progress", conclusion="", annotations=())


def _release(desk: Desk, one: Intended, found: FoundRun | None, again: Plan) -> None:
    """The success of Gate 3, into a run that is there: everything is read again before it and after it."""
    if found is None:
        found = desk.checks.make(_waiting(one))
    if not _holds(one, again()):
        raise MovedError(one.run.head_sha)
    row = _intend(desk, one)
    try:
        written = desk.checks.write(one.run, found)
        if not _holds(one, again()):
            raise MovedError(one.run.head_sha)
        _answer(row, written)
    except BaseException:
        _withdraw(desk, one, found, row)
        raise


def _holds(one: Intended, plan: Sequence[Intended]) -> bool:
    """Whether the same success is still what has to be said, with the same causes."""
    return any(other.wanted == one.wanted for other in plan)


def _withdraw(desk: Desk, one: Intended, found: FoundRun, row: CheckPublication) -> None:
    title = "Withdrawn: the head, or what released it, changed"
    try:
        desk.checks.withdraw(found, title, f"{title}\n\n{link(desk.portal_url)}")
    finally:
        CheckPublication.objects.filter(pk=row.pk).update(withdrawn_at=Now())
    log.warning("the success of %s on %s was withdrawn", one.run.context, one.run.head_sha[:12])


def publish_repository(desk: Desk) -> int:
    """Look at every open pull request of one repository, and at what was shown as passed. Returns what was written.

    What may have to be taken back comes first. One head's trouble stops no other's; GitHub's own does.
    Raises: ForgeError with when to come again, or the first trouble, once everything was looked at.
    """
    pulls = desk.checks.open_pulls()
    repository = desk.hosted.repository
    ours = set(PullRequest.objects.filter(repository=repository).values_list("number", flat=True))
    heads = {pull.head_sha for pull in pulls if pull.base_ref == repository.protected_branch or pull.number in ours}
    shown = list(CheckPublication.objects.unsettled().filter(repository=repository, is_group=False).order_by("pk"))
    left = [row for row in shown if row.head_sha not in heads and not _is_merged(desk, row)]
    first = list(dict.fromkeys(row.head_sha for row in (*left, *shown) if row in left or row.head_sha in heads))
    count, troubles = 0, []
    known = {pull.head_sha for pull in pulls if pull.number in ours}
    for sha in dict.fromkeys((*first, *sorted(heads, key=lambda head: (head not in known, head)))):
        if sha not in known and sha not in first and not desk.checks.has_to_spare:
            break  # anybody may open pull requests from forks: what was handed over does not wait for them
        try:
            count += publish_head(desk, sha, pulls)
        except (VerdictError, ForgeError) as error:
            if isinstance(error, ForgeError) and error.retry_in is not None:
                raise
            log.warning("%s %s: %s", desk.hosted, sha[:12], error)
            troubles.append(error)
    if troubles:
        raise troubles[0]
    return count


def _is_merged(desk: Desk, row: CheckPublication) -> bool:
    """Whether what was shown as passed was merged: what it said then stays."""
    merged = PullRequest.objects.filter(
        repository=row.repository_id, number=row.pull_number, status="merged", head_sha=row.head_sha
    ).exists()
    if not merged and row.pull_number:
        there = desk.checks.pull(row.pull_number)
        is_home = there.base_ref == desk.hosted.repository.protected_branch
        merged = there.is_merged and is_home and there.head_sha == row.head_sha
    if merged:
        rows = CheckPublication.objects.filter(repository=row.repository_id, head_sha=row.head_sha, settled_at=None)
        rows.update(settled_at=Now())
    return merged


def stirred(hosted: GitHubRepository) -> bool:
    """Whether our rows moved since GitHub was looked at: a result, a verdict, a decision, a head, a release's end.

    What was committed while it was looked at counts, too: a row is older than its commit.
    """
    if hosted.gate_looked_at is None:
        return True
    since = hosted.gate_looked_at - LONG_COMMIT
    pulls = PullRequest.objects.filter(repository=hosted.repository_id)
    ended = Decision.objects.filter(
        pull_request__in=pulls, expires_at__gt=since, expires_at__lte=timezone.now(), decision="approve"
    )
    return (
        pulls.filter(Q(moved_at__gte=since) | Q(triggered_at__gte=since)).exists()
        or ended.exists()
        or any(
            rows.filter(pull_request__in=pulls, created_at__gte=since).exists()
            for rows in (GateExecution.objects, AgentReport.objects, Verdict.objects, Decision.objects)
        )
    )


def shown_in_vain(hosted: GitHubRepository) -> bool:
    """Whether something is shown as passed that our rows no longer let pass, without asking GitHub."""
    rows = CheckPublication.objects.unsettled().filter(repository=hosted.repository_id)
    if rows.filter(is_group=True).exists():
        return True
    shown = set(rows.values_list("pull_number", flat=True))
    gates = policy_of_checks().gates if shown else ()
    readings = read_pulls(hosted.repository_id, shown)
    return any(doubts_of(one.known.head_sha, one.known, gates) for one in readings.values())
