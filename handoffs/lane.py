"""Reads of the enforcer lane: what the policy in force asks, and what of a handoff needs LEAD."""

from __future__ import annotations

from handoffs.models import EnforcerRules, Handoff
from handoffs.rules import LaneRules, rules_from_json
from handoffs.scope import Raised, RaisedKind


def rules_in_force() -> LaneRules:
    """The newest rules that were enacted; the defaults before there are any.

    Raises: RulesError("rules.malformed").
    """
    row = EnforcerRules.objects.order_by("-pk").first()
    return rules_from_json(row.document) if row else LaneRules()


def raised_of(handoff: Handoff) -> tuple[Raised, ...]:
    """What the enforcer found that raises the approvals, and the lock files that nobody could read."""
    rows = [Raised(str(row["kind"]), str(row["path"]), str(row["why"])) for row in handoff.raised]
    for unread in handoff.component_delta.get("unread", []):
        path = unread.get("path", "") if isinstance(unread, dict) else unread
        why = "a lock file that cannot be read: what it pins is unknown"
        rows.append(Raised(RaisedKind.UNREVIEWABLE.value, str(path), why))
    return tuple(rows)
