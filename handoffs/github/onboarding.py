"""The onboarding check: what has to hold at GitHub before a gate means anything. Pure.

Every check runs; each is a named function with a stable code and says got, expected and the next step. What could not
be seen is `config.unseen`, never fine.
Source: trail.md section 8; GATE-01, GATE-02, GATE-07, GATE-08, GATE-11 and GATE-16 of the threat list.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from handoffs.github import onboarding_repository as around
from handoffs.github import onboarding_rules as rules
from handoffs.github.findings import Case, Check, Finding, accept
from handoffs.github.live import Expected, Live
from handoffs.github.requirements import requirements_of

CHECKS: Final[tuple[Check, ...]] = (
    rules.check_names,
    rules.check_rules_stand,
    rules.check_contexts,
    rules.check_current,
    rules.check_bypass,
    rules.check_history_is_kept,
    rules.check_lanes,
    rules.check_staging_history,
    around.check_actions,
    around.check_secrets,
    around.check_codeowners,
    rules.check_merge_method,
    around.check_webhook_secrets,
    around.check_apps,
)


def check_onboarding(expected: Expected, live: Live, *, now: datetime) -> tuple[Finding, ...]:
    """Every point of the onboarding check, in its order."""
    case = Case(expected, live, requirements_of(live), now)
    return accept(tuple(finding for check in CHECKS for finding in check(case)), expected.accepted)
