"""Reads: the role separation of one pull request, computed from its rows, its log entries and its commits.

What cannot be computed says so; it never counts as holding.
Source: SOP sections 4.2, 5 and 7.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from audit import events
from audit.events import Role
from audit.models import LogEntry, Participation, Principal
from audit.separation import Assurance, Part, Registry, UnknownPrincipalError, assurance, conflicts
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest, PullStatus
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision, Verdict

OK: Final = "ok"
BROKEN: Final = "broken"
NOT_COMPUTED: Final = "not_computed"
NOT_NEEDED: Final = "not_needed"


@dataclass(frozen=True)
class ActRow:
    """One act of the SOP's matrix: who had to do it, who did it when, and whether that fits."""

    act: str
    required: str
    done_by: str
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
class Separation:
    """The proof page of one pull request."""

    acts: tuple[ActRow, ...]
    rules: tuple[RuleRow, ...]
    parts: tuple[tuple[str, str, str], ...]
    events: int
    assurance: Assurance

    @property
    def state(self) -> str:
        """`broken` if one rule or act is, `ok` if all that is needed holds, otherwise `not_computed`."""
        if BROKEN in {row.state for row in self.acts} | {row.state for row in self.rules}:
            return BROKEN
        return NOT_COMPUTED if NOT_COMPUTED in {row.state for row in self.rules} else OK


@dataclass(frozen=True)
class _Facts:
    """What every row is computed from, read once."""

    pull: PullRequest
    handoffs: tuple[Handoff, ...]
    entries: tuple[LogEntry, ...]
    parts: tuple[Part, ...]
    principals: Mapping[int, Principal]
    registry: Registry
    verdict: Verdict | None
    decision: Decision | None
    messages: Mapping[str, str]
    unread: str

    def newest(self, kind: str) -> LogEntry | None:
        """The newest entry of a kind on the handoff that is now on the pull request."""
        subject = f"H-{self.pull.handoff_id}"
        return next((e for e in reversed(self.entries) if e.kind == kind and e.subject == subject), None)


def read_separation(pull: PullRequest) -> Separation:
    """Compute the proof. Six queries, and three commits read from the repository."""
    facts = _gather(pull)
    names = {pk: principal.name for pk, principal in facts.principals.items()}
    sponsors = {pk: principal.sponsor.name if principal.sponsor else "" for pk, principal in facts.principals.items()}
    parts = tuple(
        (names.get(p.principal_id, "unknown"), p.duty.value, sponsors.get(p.principal_id, "")) for p in facts.parts
    )
    rules = tuple(rule(facts) for rule in RULES)
    return Separation(tuple(_acts(facts)), rules, parts, len(facts.entries), assurance(facts.registry))


def _gather(pull: PullRequest) -> _Facts:
    handoffs = tuple(Handoff.objects.filter(chain=pull.handoff.chain).order_by("pk"))
    entries = LogEntry.objects.filter(subject__in=[str(handoff) for handoff in handoffs]).defer("leaf").order_by("pk")
    rows = list(
        Participation.objects.filter(subject=pull.handoff.chain)
        .select_related("principal__sponsor__sponsor")
        .order_by("pk")
    )
    known: dict[int, Principal] = {}
    for row in rows:
        person: Principal | None = row.principal
        while person is not None and person.pk not in known:
            known[person.pk] = person
            person = person.sponsor
    messages, unread = _messages(pull)
    verdicts = Verdict.objects.filter(pull_request=pull).select_related("supervisor").defer("inputs")
    return _Facts(
        pull=pull,
        handoffs=handoffs,
        entries=tuple(entries),
        parts=tuple(Part(row.principal_id, Role(row.duty)) for row in rows),
        principals=known,
        registry=Principal.objects.registry(),
        verdict=verdicts.order_by("-pk").first(),
        decision=Decision.objects.filter(pull_request=pull).select_related("lead").order_by("-pk").first(),
        messages=messages,
        unread=unread,
    )


def _messages(pull: PullRequest) -> tuple[dict[str, str], str]:
    commits = {"staging": pull.handoff.staging_commit, "head": pull.head_sha, "merge": pull.merge_sha}
    try:
        git = Git(Path(pull.repository.path))
        return {name: git.message_of(commit) for name, commit in commits.items() if commit}, ""
    except GitError as error:
        return {}, f"the repository cannot be read: {error.code}"


def _acts(facts: _Facts) -> Sequence[ActRow]:
    received = facts.newest(events.HANDOFF_RECEIVED)
    builder = facts.pull.handoff.builder
    made = ActRow(
        "Generate patch",
        Role.BUILDER.value,
        builder.name if builder else "nobody known",
        next((p.duty.value for p in facts.parts if builder and p.principal_id == builder.pk), ""),
        received.created_at if received else None,
        OK if builder and Part(builder.pk, Role.BUILDER) in facts.parts else BROKEN,
        "from the bundle's builder id and the registered identity",
    )
    verdict, decision = facts.verdict, facts.decision
    needs_lead = (
        decision is not None or facts.pull.status == PullStatus.LEAD_REVIEW or facts.pull.timed_out_at is not None
    )
    return (
        made,
        _by_event(facts, "Sign artifact", Role.ENFORCER, events.HANDOFF_SIGNED),
        _by_event(facts, "Create pull request", Role.ENFORCER, events.HANDOFF_OPENED),
        _by_event(facts, "Trigger workflows", Role.ENFORCER, events.HANDOFF_TRIGGERED),
        _monitored(facts),
        _by_row("Issue verdict", Role.PLAN, verdict.supervisor if verdict else None, verdict, facts, is_needed=True),
        _by_row(
            "Escalation review", Role.LEAD, decision.lead if decision else None, decision, facts, is_needed=needs_lead
        ),
        _merge(facts),
    )


def _by_event(facts: _Facts, act: str, required: Role, kind: str) -> ActRow:
    entry = facts.newest(kind)
    if entry is None:
        return ActRow(act, required.value, "", "", None, NOT_COMPUTED, "has not happened on this handoff")
    names = {facts.principals[p.principal_id].name for p in facts.parts if p.duty is required}
    fits = entry.role == required.value and entry.actor in names
    return ActRow(
        act, required.value, entry.actor, entry.role, entry.created_at, OK if fits else BROKEN, f"entry {entry.pk}"
    )


def _monitored(facts: _Facts) -> ActRow:
    """PLAN's own runs of the verification leave an event; looking at a page does not."""
    act, required = "Monitor gates", Role.PLAN
    started = [e for e in facts.entries if e.kind == events.ROUND_STARTED and e.role == required.value]
    if not started:
        return ActRow(act, required.value, "", "", None, NOT_COMPUTED, "looking at a page leaves no event")
    entry = max(started, key=lambda row: row.pk)
    names = {facts.principals[p.principal_id].name for p in facts.parts if p.duty is required}
    state = OK if entry.actor in names else BROKEN
    return ActRow(act, required.value, entry.actor, entry.role, entry.created_at, state, f"entry {entry.pk}")


def _by_row(
    act: str,
    required: Role,
    person: Principal | None,
    row: Verdict | Decision | None,
    facts: _Facts,
    *,
    is_needed: bool,
) -> ActRow:
    if row is None or person is None:
        state, note = (NOT_COMPUTED, "has not happened yet") if is_needed else (NOT_NEEDED, "PLAN did not escalate")
        return ActRow(act, required.value, "", "", None, state, note)
    fits = Part(person.pk, required) in facts.parts
    note = f"entry {row.log_entry_id}"
    return ActRow(act, required.value, person.name, required.value, row.created_at, OK if fits else BROKEN, note)


def _merge(facts: _Facts) -> ActRow:
    entry, required = facts.newest(events.PULL_MERGED), "PLAN or LEAD"
    if entry is None:
        return ActRow("Merge", required, "", "", None, NOT_COMPUTED, "has not happened yet")
    is_swept = entry.role == Role.ENFORCER.value and _is_released(facts)
    fits = entry.role in {Role.PLAN.value, Role.LEAD.value} or is_swept
    note = f"entry {entry.pk}" + (", recorded by the sweep after the push landed" if is_swept else "")
    return ActRow("Merge", required, entry.actor, entry.role, entry.created_at, OK if fits else BROKEN, note)


def one_duty_each(facts: _Facts) -> RuleRow:
    """Nobody, and nobody who answers for somebody, holds two duties on this handoff."""
    rule = _sentence(one_duty_each)
    try:
        found = conflicts(facts.parts, facts.registry)
    except UnknownPrincipalError:
        return RuleRow(rule, NOT_COMPUTED, "somebody who answers for a participant is not known")
    for one, other in found[:1]:
        names = facts.principals[one.principal_id].name, facts.principals[other.principal_id].name
        return RuleRow(rule, BROKEN, f"{names[0]} acted as {one.duty}, {names[1]} as {other.duty}")
    return RuleRow(rule, OK if facts.parts else NOT_COMPUTED, f"{len(facts.parts)} participants")


def verdict_is_bound(facts: _Facts) -> RuleRow:
    """The verdict came after the head and is bound to it, its base and their merge."""
    rule, verdict, opened = _sentence(verdict_is_bound), facts.verdict, facts.newest(events.HANDOFF_OPENED)
    if verdict is None:
        return RuleRow(rule, NOT_COMPUTED, "no verdict yet")
    if not verdict.binds(facts.pull):
        is_ended = facts.pull.status == PullStatus.MERGED
        return RuleRow(rule, BROKEN if is_ended else NOT_COMPUTED, f"the newest verdict is on {verdict.head_sha[:12]}")
    is_after = opened is not None and verdict.log_entry_id > opened.pk
    return RuleRow(rule, OK if is_after else BROKEN, f"{verdict.verdict} on {verdict.head_sha[:12]}")


def decision_after_verdict(facts: _Facts) -> RuleRow:
    """LEAD decided after what PLAN escalated."""
    rule, decision = _sentence(decision_after_verdict), facts.decision
    if decision is None:
        return RuleRow(rule, NOT_NEEDED, "no decision")
    if decision.verdict_id is None:
        is_timeout = any(entry.kind == events.PULL_TIMED_OUT for entry in facts.entries)
        return RuleRow(rule, OK if is_timeout else BROKEN, "a timeout" if is_timeout else "a decision on no verdict")
    verdict = facts.verdict
    is_after = (
        verdict is not None and decision.verdict_id <= verdict.pk and decision.log_entry_id > verdict.log_entry_id
    )
    is_older = verdict is not None and decision.verdict_id < verdict.pk
    return RuleRow(rule, OK if is_after or is_older else BROKEN, decision.decision)


def merged_after_release(facts: _Facts) -> RuleRow:
    """A merge happened only after PASS, or after LEAD approved."""
    rule = _sentence(merged_after_release)
    if facts.pull.status != PullStatus.MERGED:
        return RuleRow(rule, NOT_NEEDED, "not merged")
    return RuleRow(rule, OK if _is_released(facts) else BROKEN, facts.pull.merge_sha[:12])


def markers_in_history(facts: _Facts) -> RuleRow:
    """The markers of the SOP are in git history."""
    rule = _sentence(markers_in_history)
    if facts.unread:
        return RuleRow(rule, NOT_COMPUTED, facts.unread)
    digest = facts.pull.handoff.digest
    needed = {"staging": f"[CODEX-READY:{digest}]", "head": f"[CLAUDE-APPLIED:{digest}]"}
    missing = [text[:30] for name, text in needed.items() if not facts.messages.get(name, "").startswith(text)]
    if facts.pull.status == PullStatus.MERGED:
        merge = facts.messages.get("merge", "")
        missing += [name for name in _trailers(facts) if name not in merge]
    return RuleRow(rule, BROKEN if missing else OK, ", ".join(missing) or ", ".join(sorted(facts.messages)))


def builder_wrote_nothing(facts: _Facts) -> RuleRow:
    """The builder made no entry in the trail: it has no way to write here."""
    found = [entry.pk for entry in facts.entries if entry.role == Role.BUILDER.value]
    return RuleRow(_sentence(builder_wrote_nothing), BROKEN if found else OK, f"{len(found)} entries by a builder")


def pull_names_handoff(facts: _Facts) -> RuleRow:
    """The pull request links to a handoff of its chain."""
    linked = any(f"/handoffs/{handoff.pk}/" in facts.pull.body for handoff in facts.handoffs)
    return RuleRow(_sentence(pull_names_handoff), OK if linked else BROKEN, f"H-{facts.pull.handoff_id}")


RULES: Final[tuple[Callable[[_Facts], RuleRow], ...]] = (
    one_duty_each,
    verdict_is_bound,
    decision_after_verdict,
    merged_after_release,
    markers_in_history,
    builder_wrote_nothing,
    pull_names_handoff,
)


def _is_released(facts: _Facts) -> bool:
    verdict, decision = facts.verdict, facts.decision
    is_passed = verdict is not None and verdict.binds(facts.pull) and verdict.verdict == VerdictKind.PASS.value
    is_approved = decision is not None and decision.decision == "approve" and decision.head_sha == facts.pull.head_sha
    return is_passed or is_approved


def _trailers(facts: _Facts) -> list[str]:
    found = ["PLAN-SUPERVISOR:"] if facts.verdict is not None and facts.verdict.binds(facts.pull) else []
    return [*found, "LEAD-APPROVED:"] if facts.decision is not None and facts.decision.decision == "approve" else found


def _sentence(rule: Callable[[_Facts], RuleRow]) -> str:
    return (rule.__doc__ or "").strip()
