"""Following pull requests on GitHub: what people and pushes did to them there, in the portal's rows.

Facts come in, rows move; nobody's words on GitHub become a state here.
Source: GATE-05, GATE-07, GATE-14 and MRK-01 of the threat list.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.bundles.markers import foreign_markers
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.github.pulls import PullFacts, without_block
from handoffs.models import (
    GitHubRepository,
    Handoff,
    PullRequest,
    PullStatus,
    RefIntent,
    RemotePull,
    Status,
)


@transaction.atomic(durable=True)
def note_pull(hosted: GitHubRepository, facts: PullFacts, *, by: Actor) -> RemotePull:
    """Keep what GitHub said of a pull request; a marker in its words goes into the trail, once."""
    words = f"{facts.title}\n{without_block(facts.body)}".upper()
    markers = [*foreign_markers(words), *(["CODEX-READY"] if "CODEX-READY:" in words else [])]
    before = RemotePull.objects.filter(repository=hosted.repository, number=facts.number).first()
    said: dict[str, object] = {
        "head_sha": facts.head_sha,
        "head_repository": facts.head_repository,
        "base_ref": facts.base_ref[:255],
        "author": facts.author,
        "is_open": facts.is_open,
        "merge_sha": facts.merge_sha,
        "merged_at": facts.merged_at,
        "has_marker": bool(markers),
        "seen_at": timezone.now(),
    }
    row, _ = RemotePull.objects.update_or_create(repository=hosted.repository, number=facts.number, defaults=said)
    if markers and not (before and before.has_marker):
        body: dict[str, JsonValue] = {
            "repository": hosted.repository.full_name,
            "pull": facts.number,
            "markers": [*markers],
            "github_account": facts.author,
        }
        append_event(events.MARKER_FORGED, by, "", body)
    return row


def follow_pulls(
    hosted: GitHubRepository, facts: Mapping[int, PullFacts], git: Git, *, began: datetime, by: Actor
) -> None:
    """Move each row whose pull request is another now. A row that moved since `began` is left for the next look.

    Base and head are followed also where it is closed meanwhile: it may come back with others, and how often somebody
    looked makes no difference.
    """
    rows = PullRequest.objects.filter(repository=hosted.repository, number__in=facts, moved_at__lt=began)
    for pull in rows.exclude(status=PullStatus.MERGED).select_related("handoff"):
        found = facts[pull.number]
        is_home = found.base_ref == hosted.repository.protected_branch
        if found.merged_at is not None and is_home:
            continue  # what landed is judged first (verdicts.landing)
        if found.base_ref != pull.base_ref:
            retarget_pull(pull.pk, found.base_ref, is_protected=is_home, by=by)
        is_moved = found.head_sha != pull.head_sha and not _is_ours(pull, found.head_sha)
        if is_home and is_moved:
            move_head(pull.pk, found.head_sha, _merged(git, pull.base_sha, found.head_sha), by=by)
        if not found.is_open:
            close_pull(pull.pk, by=by)
        elif is_home and pull.status == PullStatus.CLOSED:
            reopen_pull(pull.pk, has_tree=bool(_merged(git, pull.base_sha, found.head_sha)), by=by)


def _is_ours(pull: PullRequest, head_sha: str) -> bool:
    """Whether the enforcer pushed this head a moment ago and is about to say so."""
    branch = pull.head_ref.replace("feature/", "staging/codex-", 1)
    busy = Handoff.objects.filter(
        repository_id=pull.repository_id, staging_branch=branch, status__in=(Status.SIGNED, Status.APPLIED)
    )
    ref = f"refs/heads/{pull.head_ref}"
    return busy.exists() and RefIntent.objects.filter(repository=pull.repository_id, ref=ref, new=head_sha).exists()


def _merged(git: Git, base: str, head: str) -> str:
    """The tree of the merge; empty where there is none: a conflict, or a commit that is not here yet."""
    try:
        return git.merge_tree(base, head)
    except GitError:
        return ""


@transaction.atomic(durable=True)
def move_head(pull_id: int, head_sha: str, merge_tree: str, *, by: Actor) -> bool:
    """Somebody else moved the head: every verdict is stale at once, and the gates run on what is there now.

    Also on the same patch or the same tree: a verdict is on a commit.
    """
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.head_sha == head_sha or pull.status == PullStatus.MERGED:
        return False
    new = PullStatus.GATES_PASSING if merge_tree else PullStatus.NEEDS_REVISION
    if pull.status == PullStatus.CLOSED:
        new = PullStatus.CLOSED
    changes = {"head_sha": head_sha, **({"merge_tree": merge_tree} if merge_tree else {})}
    _start_over(pull, new, changes)
    _say_stale(pull, by, {"why": "the head moved", "old_head": pull.head_sha, "new_head": head_sha})
    return True


@transaction.atomic(durable=True)
def retarget_pull(pull_id: int, base_ref: str, *, is_protected: bool, by: Actor) -> bool:
    """Somebody changed where it merges to: a verdict on the old base holds for no other one."""
    base_ref = base_ref[:200]
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.base_ref == base_ref or pull.status == PullStatus.MERGED:
        return False
    new = PullStatus.GATES_PASSING if is_protected else PullStatus.NEEDS_REVISION
    if pull.status == PullStatus.CLOSED:
        new = PullStatus.CLOSED
    _start_over(pull, new, {"base_ref": base_ref})
    _say_stale(pull, by, {"why": "the base branch was changed", "old_ref": pull.base_ref, "new_ref": base_ref})
    return True


@transaction.atomic(durable=True)
def close_pull(pull_id: int, *, by: Actor) -> bool:
    """Somebody closed it without a merge into the protected branch."""
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.status in {PullStatus.MERGED, PullStatus.CLOSED}:
        return False
    _start_over(pull, PullStatus.CLOSED, {})
    _say(pull, events.PULL_CLOSED, by, {"was": pull.status})
    return True


@transaction.atomic(durable=True)
def reopen_pull(pull_id: int, *, has_tree: bool, by: Actor) -> bool:
    """Somebody opened it again: it is verified from the beginning, if it merges at all."""
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.status != PullStatus.CLOSED:
        return False
    _start_over(pull, PullStatus.GATES_PASSING if has_tree else PullStatus.NEEDS_REVISION, {})
    _say(pull, events.PULL_REOPENED, by, {})
    return True


def _start_over(pull: PullRequest, new: PullStatus, changes: Mapping[str, object]) -> None:
    nothing: dict[str, object] = {
        "triggered_at": None,
        "deadline_at": None,
        "timed_out_at": None,
        "merge_sha": "",
        "round": 1,
    }
    if pull.status == new:
        PullRequest.objects.filter(pk=pull.pk).update(**nothing, **changes)
    else:
        PullRequest.objects.move(pull.pk, old=PullStatus(pull.status), new=new, **nothing, **changes)


def _say_stale(pull: PullRequest, by: Actor, detail: dict[str, JsonValue]) -> None:
    _say(pull, events.VERDICT_STALE, by, detail)


def _say(pull: PullRequest, event: str, by: Actor, detail: dict[str, JsonValue]) -> None:
    append_event(event, by, f"H-{pull.handoff_id}", {"pr": pull.number, "head": pull.head_sha, **detail})
