"""Reads: the role separation of one pull request, computed from its rows, its log entries and its commits.

What cannot be computed says so; it never counts as holding.
Source: SOP sections 4.2, 5 and 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audit import events
from audit.events import Role
from audit.names import Names
from audit.separation import Assurance, Part, assurance
from handoffs.models import PullRequest, PullStatus
from verdicts.duty_facts import BROKEN, NOT_COMPUTED, NOT_NEEDED, OK, ActRow, Facts, RuleRow, gather, is_released
from verdicts.duty_rules import RULES
from verdicts.models import Decision, Verdict


@dataclass(frozen=True)
class Separation:
    """The proof page of one pull request."""

    acts: tuple[ActRow, ...]
    rules: tuple[RuleRow, ...]
    parts: tuple[tuple[int, str, int | None], ...]
    events: int
    assurance: Assurance
    names: Names

    @property
    def state(self) -> str:
        """`broken` if one rule or act is, `ok` if all that is needed holds, otherwise `not_computed`."""
        if BROKEN in {row.state for row in self.acts} | {row.state for row in self.rules}:
            return BROKEN
        return NOT_COMPUTED if NOT_COMPUTED in {row.state for row in self.rules} else OK


def read_separation(pull: PullRequest, *, size: int | None = None) -> Separation:
    """Compute the proof. Seven queries (eight on GitHub), and three commits read. `size`: as for `gather`."""
    facts = gather(pull, size=size)
    sponsors = facts.registry.sponsors
    parts = tuple((p.principal_id, p.duty.value, sponsors.get(p.principal_id)) for p in facts.parts)
    rules = tuple(rule(facts) for rule in RULES)
    return Separation(tuple(_acts(facts)), rules, parts, len(facts.entries), assurance(facts.registry), facts.names)


def _acts(facts: Facts) -> Sequence[ActRow]:
    received = facts.newest(events.HANDOFF_RECEIVED)
    builder = facts.pull.handoff.builder_id
    made = ActRow(
        "Generate patch",
        Role.BUILDER.value,
        builder,
        next((p.duty.value for p in facts.parts if p.principal_id == builder), ""),
        received.created_at if received else None,
        OK if builder and Part(builder, Role.BUILDER) in facts.parts else BROKEN,
        "from the bundle's builder id and the registered identity",
    )
    verdict, decision = facts.verdict, facts.decision
    needs_lead = (
        decision is not None or facts.pull.status == PullStatus.LEAD_REVIEW or facts.pull.timed_out_at is not None
    )
    no_lead = "" if needs_lead else "PLAN did not escalate"
    past_plan = "two people broke the glass" if facts.is_behind_glass else ""
    return (
        made,
        _by_event(facts, "Sign artifact", Role.ENFORCER, events.HANDOFF_SIGNED),
        _by_event(facts, "Create pull request", Role.ENFORCER, events.HANDOFF_OPENED),
        _by_event(facts, "Trigger workflows", Role.ENFORCER, events.HANDOFF_TRIGGERED),
        _monitored(facts),
        _by_row(
            "Issue verdict",
            Role.PLAN,
            verdict.supervisor_id if verdict else None,
            verdict,
            facts,
            unneeded=past_plan,
        ),
        _by_row(
            "Escalation review",
            Role.LEAD,
            decision.lead_id if decision else None,
            decision,
            facts,
            unneeded=no_lead,
        ),
        _merge(facts),
    )


def _by_event(facts: Facts, act: str, required: Role, kind: str) -> ActRow:
    entry = facts.newest(kind)
    if entry is None:
        return ActRow(act, required.value, None, "", None, NOT_COMPUTED, "has not happened on this handoff")
    state = OK if entry.role == required.value and Part(entry.principal, required) in facts.parts else BROKEN
    return ActRow(act, required.value, entry.principal, entry.role, entry.created_at, state, f"entry {entry.pk}")


def _monitored(facts: Facts) -> ActRow:
    """PLAN's own runs of the verification leave an event; looking at a page does not."""
    act, required = "Monitor gates", Role.PLAN
    started = [e for e in facts.entries if e.kind == events.ROUND_STARTED and e.role == required.value]
    if not started:
        return ActRow(act, required.value, None, "", None, NOT_COMPUTED, "looking at a page leaves no event")
    entry = max(started, key=lambda row: row.pk)
    state = OK if Part(entry.principal, required) in facts.parts else BROKEN
    return ActRow(act, required.value, entry.principal, entry.role, entry.created_at, state, f"entry {entry.pk}")


def _by_row(
    act: str,
    required: Role,
    person: int | None,
    row: Verdict | Decision | None,
    facts: Facts,
    *,
    unneeded: str,
) -> ActRow:
    if row is None or person is None:
        state, note = (NOT_NEEDED, unneeded) if unneeded else (NOT_COMPUTED, "has not happened yet")
        return ActRow(act, required.value, None, "", None, state, note)
    fits = Part(person, required) in facts.parts
    note = f"entry {row.log_entry_id}"
    return ActRow(act, required.value, person, required.value, row.created_at, OK if fits else BROKEN, note)


def _merge(facts: Facts) -> ActRow:
    entry, required = facts.newest(events.PULL_MERGED), "PLAN or LEAD"
    if entry is None:
        return ActRow("Merge", required, None, "", None, NOT_COMPUTED, "has not happened yet")
    is_swept = entry.role == Role.ENFORCER.value and is_released(facts)
    fits = entry.role in {Role.PLAN.value, Role.LEAD.value} or is_swept
    note = f"entry {entry.pk}" + (", recorded by the sweep after the push landed" if is_swept else "")
    return ActRow("Merge", required, entry.principal, entry.role, entry.created_at, OK if fits else BROKEN, note)
