"""What the role separation of one pull request is computed from: rows, log entries and commits, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from django.utils import timezone

from audit.models import LogEntry, Participation, Principal
from audit.names import Names, names_of
from audit.separation import Part, Registry
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest, Repository
from verdicts.break_glass_rows import BreakGlass
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedClass, LandedCommit
from verdicts.models import BREAK_GLASS, Decision, Verdict

OK: Final = "ok"
BROKEN: Final = "broken"
NOT_COMPUTED: Final = "not_computed"
NOT_NEEDED: Final = "not_needed"


@dataclass(frozen=True)
class ActRow:
    """One act of the SOP's matrix: who had to do it, who did it when, and whether that fits."""

    act: str
    required: str
    done_by: int | None
    role: str
    at: datetime | None
    state: str
    note: str


@dataclass(frozen=True)
class RuleRow:
    """One rule and whether it holds."""

    rule: str
    state: str
    got: str


@dataclass(frozen=True)
class Facts:
    """What every row is computed from, read once."""

    pull: PullRequest
    handoffs: tuple[Handoff, ...]
    entries: tuple[LogEntry, ...]
    parts: tuple[Part, ...]
    names: Names
    registry: Registry
    verdict: Verdict | None
    decision: Decision | None
    glasses: tuple[BreakGlass, ...]
    now: datetime
    messages: Mapping[str, str]
    unread: str
    landed: LandedCommit | None

    @property
    def is_behind_glass(self) -> bool:
        """Whether the newest decision is two people's, past PLAN and the gates."""
        return self.decision is not None and self.decision.reason_class == BREAK_GLASS

    def newest(self, kind: str) -> LogEntry | None:
        """The newest entry of a kind on the handoff that is now on the pull request."""
        subject = f"H-{self.pull.handoff_id}"
        return next((e for e in reversed(self.entries) if e.kind == kind and e.subject == subject), None)


def gather(pull: PullRequest, *, size: int | None = None) -> Facts:
    """Everything, once; who is who as it was at a tree of `size` leaves, or as it is now."""
    handoffs = tuple(Handoff.objects.filter(chain=pull.handoff.chain).order_by("pk"))
    rows = LogEntry.objects.filter(subject__in=[str(handoff) for handoff in handoffs]).defer("leaf")
    entries = tuple(rows.order_by("pk"))
    parts = tuple(Participation.objects.parts(pull.handoff.chain))
    registry = Principal.objects.registry(size=size)
    builder = pull.handoff.builder_id
    took_part = {*(part.principal_id for part in parts), *([builder] if builder else [])}
    answers = {sponsor for one in took_part if (sponsor := registry.sponsors.get(one)) is not None}
    messages, unread = _messages(pull)
    return Facts(
        pull=pull,
        handoffs=handoffs,
        entries=entries,
        parts=parts,
        names=names_of({*took_part, *answers, *(entry.principal for entry in entries)}),
        registry=registry,
        verdict=Verdict.objects.filter(pull_request=pull).defer("inputs").order_by("-pk").first(),
        decision=Decision.objects.filter(pull_request=pull).order_by("-pk").first(),
        glasses=tuple(BreakGlass.objects.filter(pull_request=pull, opened_at__isnull=False).order_by("pk")),
        now=timezone.now(),
        messages=messages,
        unread=unread,
        landed=_landed(pull),
    )


def _landed(pull: PullRequest) -> LandedCommit | None:
    """How the commit that landed was classed; only what lands on GitHub is: elsewhere our own hook lets it through."""
    if not pull.merge_sha or pull.repository.forge != Repository.Forge.GITHUB:
        return None
    rows = LandedCommit.objects.filter(repository=pull.repository_id, commit=pull.merge_sha, pull_request=pull)
    return rows.order_by("pk").first()


def _messages(pull: PullRequest) -> tuple[dict[str, str], str]:
    commits = {"staging": pull.handoff.staging_commit, "head": pull.head_sha, "merge": pull.merge_sha}
    try:
        git = Git(Path(pull.repository.path))
        return {name: git.message_of(commit) for name, commit in commits.items() if commit}, ""
    except GitError as error:
        return {}, f"the repository cannot be read: {error.code}"


def is_bound(facts: Facts) -> bool:
    """Whether the verdict is on what the pull request is, or on what landed.

    What a merge queue lands is judged on an older base; how it landed says that all between them was released, too.
    """
    verdict, landed = facts.verdict, facts.landed
    if verdict is None or verdict.binds(facts.pull):
        return verdict is not None
    is_classed = landed is not None and landed.kind == LandedClass.PASS
    return is_classed and verdict.head_sha == facts.pull.head_sha


def is_released(facts: Facts) -> bool:
    """Whether PLAN's PASS or an approval is bound to the head."""
    verdict, decision = facts.verdict, facts.decision
    is_passed = verdict is not None and is_bound(facts) and verdict.verdict == VerdictKind.PASS.value
    is_approved = decision is not None and decision.decision == "approve" and decision.head_sha == facts.pull.head_sha
    return is_passed or is_approved
