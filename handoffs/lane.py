"""Reads of the enforcer lane: what the policy in force asks, and what of a handoff needs LEAD."""

from __future__ import annotations

from handoffs.models import EnforcerRules, Handoff
from handoffs.rules import LaneRules, rules_from_json
from handoffs.scope.control_plane import Raised


def rules_in_force() -> LaneRules:
    """The newest rules that were enacted; the defaults before there are any.

    Raises: RulesError("rules.malformed").
    """
    row = EnforcerRules.objects.order_by("-pk").first()
    return rules_from_json(row.document) if row else LaneRules()


def raised_of(handoff: Handoff) -> tuple[Raised, ...]:
    """What the enforcer found that raises the approvals."""
    return tuple(Raised(str(row["kind"]), str(row["path"]), str(row["why"])) for row in handoff.raised)
