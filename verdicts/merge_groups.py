"""Merge groups: what GitHub's queue would land, judged on its own tree and never by a branch's name.

A group is looked at because GitHub asked for it (a signed event, kept as a row); whoever pushes a branch that looks
like one gets no answer. Its members are read from the commits themselves: each step on the protected branch has to be
the merge of one head that is released here, and its tree the one that git makes of them here.
Source: GATE-06 of the threat list; GitHub, "Managing a merge queue".
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.db.models.functions import Now

from handoffs.forges.protocol import ForgeError
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import GitHubRequest, PullRequest, RequestStatus
from verdicts.lineage import Line, line_since
from verdicts.models import VerdictError
from verdicts.policy_document import Gate
from verdicts.publication_rows import CheckPublication
from verdicts.publisher import publish
from verdicts.publishing import Known, Wanted, desire_group
from verdicts.publishing_facts import read_pulls
from verdicts.publishing_plans import Desk, Intended, intend_plainly, policy_of_checks

log = logging.getLogger(__name__)
MOST_STEPS: Final = 100
WAITS: Final = timedelta(days=1)  # GitHub's queue itself waits six hours at most
GONE: Final = "group.gone"
REFS: Final = "refs/heads/"


@dataclass(frozen=True)
class Group:
    """What a group's commit holds: its members by number, or why it is not the merge of members."""

    numbers: tuple[int, ...]
    problem: str = ""


def publish_groups(desk: Desk) -> int:
    """Answer the groups that GitHub asks about, and look again at those that were shown as passed.

    The newest first: a group that left the queue is asked about for ever. One group's trouble stops no other's.
    Raises: ForgeError with when to come again, or the first trouble, once everything was looked at.
    """
    asked = GitHubRequest.objects.filter(
        repository=desk.hosted.repository_id, kind=GitHubRequest.Kind.MERGE_GROUP, status=RequestStatus.WAITING
    )
    asked.filter(asked_at__lt=Now() - WAITS).update(status=RequestStatus.REFUSED, code=GONE, answered_at=Now())
    shown = CheckPublication.objects.unsettled().filter(repository=desk.hosted.repository_id, is_group=True)
    work: list[Callable[[], int]] = [functools.partial(_answer, desk, one) for one in asked.order_by("-pk")[:100]]
    work += [functools.partial(_look_again, desk, sha) for sha in shown.values_list("head_sha", flat=True)]
    count, troubles = 0, []
    for step in work:
        try:
            count += step()
        except (VerdictError, ForgeError, GitError) as error:
            if isinstance(error, ForgeError) and error.retry_in is not None:
                raise
            log.warning("%s: a merge group is not answered: %s", desk.hosted, error)
            troubles.append(error)
    if troubles:
        raise troubles[0]
    return count


def _answer(desk: Desk, request: GitHubRequest) -> int:
    if request.text.removeprefix(REFS) != desk.hosted.repository.protected_branch:
        _close(request, RequestStatus.REFUSED, "group.other_base")
        return 0
    plan = plan_group(desk, request.head_sha)
    try:
        count = publish_group(desk, request.head_sha)
    except ForgeError as error:
        if error.code != "github.refused" or not _waits(plan):
            raise
        _close(request, RequestStatus.REFUSED, GONE)  # neither here nor at GitHub is there such a commit
        return 0
    if all(one.wanted.status == "completed" for one in plan):
        _close(request, RequestStatus.DONE, "")
    return count


def _look_again(desk: Desk, sha: str) -> int:
    """What was shown as passed is taken back if it does not hold; while nobody can say, it stays."""
    if _has_landed(desk, sha) or _waits(plan_group(desk, sha)):
        return 0
    return publish_group(desk, sha)


def _waits(plan: Sequence[Intended]) -> bool:
    return any(one.wanted.status == "queued" for one in plan)


def publish_group(desk: Desk, sha: str) -> int:
    """Bring the check runs of one group to what they have to say. Returns how many were written."""
    plan = plan_group(desk, sha)
    # GitHub lands it at once: what has landed is no reason to take back what landed it.
    return publish(desk, sha, plan, lambda: plan if _has_landed(desk, sha) else plan_group(desk, sha))


def plan_group(desk: Desk, sha: str) -> tuple[Intended, ...]:
    """What the check runs of one group have to say, by the copy of the repository and our rows as they are now."""
    gates = policy_of_checks().gates
    git, branch = Git(Path(desk.hosted.repository.path)), desk.hosted.repository.protected_branch
    try:
        tip = git.refs(f"{REFS}{branch}").get(f"{REFS}{branch}", "")
        git.tree_of(sha)
    except GitError:
        return _wait(desk, sha, gates, "its commit is fetched")
    group = read_group(desk, git, sha, tip)
    readings = read_pulls(desk.hosted.repository_id, set(group.numbers))
    members: list[Known] = [readings[number].known for number in group.numbers]
    bases = {one.cause.base_sha for one in members if one.cause is not None} if tip else set()
    lines = {line_since(desk.hosted.repository_id, git, base, tip) for base in bases}
    if Line.NOT_CLASSED in lines and Line.OTHER not in lines:
        return _wait(desk, sha, gates, f"{tip[:12]} is classed, which landed before it")
    problem = group.problem or ("what landed since it was judged was not all released" if Line.OTHER in lines else "")
    return tuple(intend_plainly(desk, sha, one, is_group=True) for one in desire_group(members, problem, gates))


def _wait(desk: Desk, sha: str, gates: Sequence[Gate], until: str) -> tuple[Intended, ...]:
    title = f"Merge group: waiting until {until}"
    waiting = (Wanted(gate.check_name, gate.key, gate.is_own, "queued", "", title) for gate in gates)
    return tuple(intend_plainly(desk, sha, one, is_group=True) for one in waiting)


def read_group(desk: Desk, git: Git, sha: str, tip: str) -> Group:
    """The members of a group, oldest first, by its commits from the tip of the protected branch on.

    A step with two parents names its head; one with a single parent (squash, rebase) is the released head whose merge
    gives its tree.
    """
    heads = dict(
        PullRequest.objects.is_open().filter(repository=desk.hosted.repository_id).values_list("head_sha", "number")
    )
    numbers: list[int] = []
    current = sha
    try:
        while current != tip:
            parents = git.parents_of(current)
            if not parents or len(parents) > 2 or len(numbers) >= MOST_STEPS:
                return Group((), f"it does not stand on the tip of the protected branch ({tip[:12]})")
            tree = git.tree_of(current)
            wanted = parents[1:] or tuple(heads)
            found = [head for head in wanted if head in heads and _merges_to(git, parents[0], head, tree)]
            if not found:
                return Group((), f"{current[:12]} is not the merge of a head that was handed over")
            numbers.append(heads[found[0]])
            current = parents[0]
    except GitError as error:
        return Group((), f"it cannot be read: {error.code}")
    return Group(tuple(reversed(numbers)))


def _merges_to(git: Git, base: str, head: str, tree: str) -> bool:
    try:
        return git.merge_tree(base, head) == tree
    except GitError as error:
        if error.code != "git.conflict":
            raise
        return False


def _has_landed(desk: Desk, sha: str) -> bool:
    """Whether the group is on the protected branch: what it said then stays."""
    repository = desk.hosted.repository
    try:
        landed = Git(Path(repository.path)).is_ancestor(sha, f"{REFS}{repository.protected_branch}")
    except GitError:
        return False
    if landed:
        rows = CheckPublication.objects.filter(repository=repository, head_sha=sha, settled_at=None)
        rows.update(settled_at=Now())
    return landed


def _close(request: GitHubRequest, status: RequestStatus, code: str) -> None:
    GitHubRequest.objects.filter(pk=request.pk).update(status=status, code=code, answered_at=Now())
