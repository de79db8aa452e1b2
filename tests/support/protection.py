"""A repository at GitHub on which everything is as it should be, as facts. Tests break one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from audit.canonical import JsonValue
from handoffs.github.live import Actions, Bypass, Environment, Expected, Installed, Live, Rule, Ruleset

NOW: Final = datetime(2026, 11, 26, 12, tzinfo=UTC)
GATE_APP, ENFORCER_APP, BUILDERS = 7001, 7002, Bypass("Team", 55)
GATES, FEATURE, STAGING, HISTORY = 11, 12, 13, 14
CONTEXTS: Final = (
    "LEO Gate Validation / Gate 3",
    "LEO Story Release Gate",
    "LEO SLSA Verification",
    "LEO Policy Verification",
)
EXPECTED: Final = Expected("main", CONTEXTS, GATE_APP, ENFORCER_APP, BUILDERS)


def required(*names: str, app: int | None = GATE_APP, strict: bool = True, source: int = GATES) -> Rule:
    """The rule that requires these checks."""
    checks: list[JsonValue] = [{"context": name, "integration_id": app} for name in names or CONTEXTS]
    return Rule(
        "required_status_checks",
        source,
        {"required_status_checks": checks, "strict_required_status_checks_policy": strict},
    )


def pull(*methods: str, source: int = GATES) -> Rule:
    """The rule that requires pull requests."""
    return Rule("pull_request", source, {"allowed_merge_methods": list(methods or ("merge",))})


RULES: Final = (required(), pull(), Rule("non_fast_forward", GATES), Rule("deletion", GATES))


def swap(kind: str, *rules: Rule) -> tuple[Rule, ...]:
    """The good rules, with those of one type replaced."""
    return (*(rule for rule in RULES if rule.type != kind), *rules)


def lane(source: int) -> tuple[Rule, ...]:
    """The rules on one lane's branches."""
    return (Rule("creation", source), Rule("update", source), Rule("deletion", source))


def ruleset(number: int, *bypass: Bypass, at: str = "2026-11-26T10:00:00Z") -> Ruleset:
    """One rule set, with who may bypass it."""
    return Ruleset(number, f"leoportal {number}", "active", at, bypass)


RULESETS: Final = (
    ruleset(GATES),
    ruleset(FEATURE, Bypass("Integration", ENFORCER_APP)),
    ruleset(STAGING, BUILDERS),
    ruleset(HISTORY),
)
GATE: Final = Installed(GATE_APP, "leo-gate", {"checks": "write", "metadata": "read"})
ENFORCER: Final = Installed(
    ENFORCER_APP,
    "leo-enforcer",
    {"contents": "write", "pull_requests": "write", "actions": "write", "metadata": "read", "checks": "read"},
)
LIVE: Final = Live(
    repository_id=1,
    full_name="acme/payments",
    rules=RULES,
    rulesets=RULESETS,
    classic=None,
    lanes={"staging": (*lane(STAGING), Rule("non_fast_forward", HISTORY)), "feature": lane(FEATURE)},
    actions=Actions("read", may_approve=False),
    secrets=(),
    environments=(Environment("production", has_reviewers=True),),
    codeowners="* @acme/all\n/.github/ @acme/owners\n",
    installed=(GATE, ENFORCER),
    secrets_set={"enforcer": datetime(2026, 11, 1, tzinfo=UTC), "gate": datetime(2026, 11, 1, tzinfo=UTC)},
)


def with_rulesets(changes: Mapping[int, Ruleset]) -> Live:
    """The good repository with some of its rule sets replaced."""
    return replace(LIVE, rulesets=tuple(changes.get(one.id, one) for one in RULESETS))
