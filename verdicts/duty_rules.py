"""The rules of role separation on one pull request, each a function that says whether it holds.

Source: SOP sections 4.2, 5 and 7.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from audit import events
from audit.events import Role, numbered
from audit.separation import UnknownPrincipalError, conflicts, humans
from handoffs.models import PullStatus
from verdicts.break_glass_rows import BreakGlass
from verdicts.duty_facts import BROKEN, NOT_COMPUTED, NOT_NEEDED, OK, Facts, RuleRow, is_bound, is_released


def one_duty_each(facts: Facts) -> RuleRow:
    """Nobody, and nobody who answers for somebody, holds two duties on this handoff."""
    rule = _sentence(one_duty_each)
    try:
        found = conflicts(facts.parts, facts.registry)
    except UnknownPrincipalError:
        return RuleRow(rule, NOT_COMPUTED, "somebody who answers for a participant is not known")
    for one, other in found[:1]:
        who = numbered(one.principal_id), numbered(other.principal_id)
        return RuleRow(rule, BROKEN, f"{who[0]} acted as {one.duty}, {who[1]} as {other.duty}")
    return RuleRow(rule, OK if facts.parts else NOT_COMPUTED, f"{len(facts.parts)} participants")


def verdict_is_bound(facts: Facts) -> RuleRow:
    """The verdict came after the head and is bound to it, its base and their merge."""
    rule, verdict, opened = _sentence(verdict_is_bound), facts.verdict, facts.newest(events.HANDOFF_OPENED)
    if facts.is_behind_glass and not is_bound(facts):
        return RuleRow(rule, NOT_NEEDED, "two people broke the glass, without a verdict")
    if verdict is None:
        return RuleRow(rule, NOT_COMPUTED, "no verdict yet")
    if not is_bound(facts):
        is_ended = facts.pull.status == PullStatus.MERGED
        return RuleRow(rule, BROKEN if is_ended else NOT_COMPUTED, f"the newest verdict is on {verdict.head_sha[:12]}")
    is_after = opened is not None and verdict.log_entry_id > opened.pk
    return RuleRow(rule, OK if is_after else BROKEN, f"{verdict.verdict} on {verdict.head_sha[:12]}")


def decision_after_verdict(facts: Facts) -> RuleRow:
    """LEAD decided after what PLAN escalated."""
    rule, decision = _sentence(decision_after_verdict), facts.decision
    if decision is None:
        return RuleRow(rule, NOT_NEEDED, "no decision")
    if decision.verdict_id is None and facts.is_behind_glass:
        return RuleRow(rule, NOT_NEEDED, "two people broke the glass, without a verdict")
    if decision.verdict_id is None:
        is_timeout = any(entry.kind == events.PULL_TIMED_OUT for entry in facts.entries)
        return RuleRow(rule, OK if is_timeout else BROKEN, "a timeout" if is_timeout else "a decision on no verdict")
    verdict = facts.verdict
    is_after = (
        verdict is not None and decision.verdict_id <= verdict.pk and decision.log_entry_id > verdict.log_entry_id
    )
    is_older = verdict is not None and decision.verdict_id < verdict.pk
    return RuleRow(rule, OK if is_after or is_older else BROKEN, decision.decision)


def glass_by_two_and_a_third(facts: Facts) -> RuleRow:
    """A glass was broken by two people who take part, and a third reviewed it within 24 hours."""
    rule = _sentence(glass_by_two_and_a_third)
    found = [_glass_state(glass, facts) for glass in facts.glasses]
    worst = next((one for state in (BROKEN, NOT_COMPUTED, OK) for one in found if one[0] == state), None)
    return RuleRow(rule, *(worst or (NOT_NEEDED, "no glass was broken")))


def _glass_state(glass: BreakGlass, facts: Facts) -> tuple[str, str]:
    members = {part.principal_id for part in facts.parts}
    acted = [glass.requested_by_id, glass.second_id, *([glass.reviewed_by_id] if glass.reviewed_by_id else [])]
    try:
        people = humans((one for one in acted if one is not None), facts.registry)
    except UnknownPrincipalError:
        return NOT_COMPUTED, f"{glass}: somebody who answers for it is not known"
    if len(people) < len(acted):
        return BROKEN, f"{glass}: {len(acted)} acted on it, and they are {len(people)} people"
    if not {glass.requested_by_id, glass.second_id} <= members:
        return BROKEN, f"{glass}: who broke it is not recorded as taking part"
    looked_at = glass.reviewed_at or facts.now
    if glass.review_due_at is None or looked_at > glass.review_due_at:
        return BROKEN, f"{glass}: " + ("reviewed too late" if glass.reviewed_at else "its review is overdue")
    if glass.reviewed_at is None:
        return NOT_COMPUTED, f"{glass}: a third person's review is due by {glass.review_due_at:%Y-%m-%d %H:%M} UTC"
    return OK, f"{glass}: reviewed {glass.reviewed_at:%Y-%m-%d %H:%M} UTC"


def merged_after_release(facts: Facts) -> RuleRow:
    """A merge happened only after PASS, or after LEAD approved."""
    rule = _sentence(merged_after_release)
    if facts.pull.status != PullStatus.MERGED:
        return RuleRow(rule, NOT_NEEDED, "not merged")
    return RuleRow(rule, OK if is_released(facts) else BROKEN, facts.pull.merge_sha[:12])


def markers_in_history(facts: Facts) -> RuleRow:
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


def builder_wrote_nothing(facts: Facts) -> RuleRow:
    """The builder made no entry in the trail: it has no way to write here."""
    found = [entry.pk for entry in facts.entries if entry.role == Role.BUILDER.value]
    return RuleRow(_sentence(builder_wrote_nothing), BROKEN if found else OK, f"{len(found)} entries by a builder")


def pull_names_handoff(facts: Facts) -> RuleRow:
    """The pull request links to a handoff of its chain."""
    linked = any(f"/handoffs/{handoff.pk}/" in facts.pull.body for handoff in facts.handoffs)
    return RuleRow(_sentence(pull_names_handoff), OK if linked else BROKEN, f"H-{facts.pull.handoff_id}")


RULES: Final[tuple[Callable[[Facts], RuleRow], ...]] = (
    one_duty_each,
    verdict_is_bound,
    decision_after_verdict,
    glass_by_two_and_a_third,
    merged_after_release,
    markers_in_history,
    builder_wrote_nothing,
    pull_names_handoff,
)


def _trailers(facts: Facts) -> list[str]:
    """What the merge's own message has to say; a merge that somebody else wrote on GitHub says it in the log alone."""
    merged = facts.newest(events.PULL_MERGED)
    if facts.landed is not None and merged is not None and merged.role == Role.ENFORCER.value:
        return []
    found = ["PLAN-SUPERVISOR:"] if is_bound(facts) else []
    return [*found, "LEAD-APPROVED:"] if facts.decision is not None and facts.decision.decision == "approve" else found


def _sentence(rule: Callable[[Facts], RuleRow]) -> str:
    return (rule.__doc__ or "").strip()
