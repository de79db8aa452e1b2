"""Reads: what the policy in force asks of the enforcer lane."""

from __future__ import annotations

from handoffs.models import EnforcerRules
from handoffs.rules import LaneRules, rules_from_json


def rules_in_force() -> LaneRules:
    """The newest rules that were enacted; the defaults before there are any.

    Raises: RulesError("rules.malformed").
    """
    row = EnforcerRules.objects.order_by("-pk").first()
    return rules_from_json(row.document) if row else LaneRules()
