"""Reads: whether only what was released led from the base of a verdict to a later one, and what follows for a queue."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final

from django.utils import timezone

from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import PullRequest, PullStatus
from handoffs.protecting import expected_of, newest_expectation
from verdicts.landing_rows import RELEASED, LandedCommit
from verdicts.publication_rows import CheckPublication

# How long a release waits for its turn in a merge queue before it is judged anew.
QUEUE_HOLDS: Final = timedelta(days=1)


class Line(StrEnum):
    """What led from one commit of the protected branch to a later one."""

    RELEASED = "released"
    NOT_CLASSED = "not classed"
    OTHER = "other"


def line_since(repository_id: int, git: Git, judged: str, base: str) -> Line:
    """Whether all that landed between two commits of the protected branch was released; from a commit to itself it was.

    A merge group's own commit counts before it is classed, too, if leo-gate showed it as passed.
    """
    try:
        if not git.is_ancestor(judged, base):
            return Line.OTHER
        between = set(git.run("rev-list", "--first-parent", base, f"^{judged}").decode("ascii").split())
    except GitError:
        return Line.OTHER
    rows = LandedCommit.objects.filter(repository=repository_id, commit__in=between, is_brought=False)
    classed = set(rows.values_list("commit", "kind"))
    if not {kind for _, kind in classed} <= set(RELEASED):
        return Line.OTHER
    known = {commit for commit, _ in classed}
    groups = CheckPublication.objects.filter(
        repository=repository_id, head_sha__in=between - known, is_group=True, is_own=True,
        conclusion="success", published_at__isnull=False, withdrawn_at=None,
    )  # fmt: skip
    is_known = between <= {*known, *groups.values_list("head_sha", flat=True)}
    return Line.RELEASED if is_known else Line.NOT_CLASSED


def holds_in_queue(pull: PullRequest, git: Git, tip: str) -> bool:
    """Whether a release stays although its base moved: behind a merge queue, while only what was released landed there.

    What the queue makes of it is judged on its own tree before it lands, and classed on it afterwards.
    """
    if pull.status != PullStatus.READY_TO_MERGE or pull.moved_at < timezone.now() - QUEUE_HOLDS:
        return False
    expectation = newest_expectation(pull.repository)
    if expectation is None or not expected_of(expectation).has_queue:
        return False
    return line_since(pull.repository_id, git, pull.base_sha, tip) is Line.RELEASED
