"""What GitHub demands of the protected branch: active rules and classic protection, read together. Pure.

Both hold at once at GitHub: what either demands is demanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.canonical import JsonValue
from handoffs.github.live import Classic, Live, RequiredCheck, Rule, Unseen

PULL: Final = "pull_request"
FORCE_PUSH: Final = "non_fast_forward"
DELETION: Final = "deletion"
LINEAR: Final = "required_linear_history"
CHECKS: Final = "required_status_checks"
QUEUE: Final = "merge_queue"
_RELIED_ON: Final = frozenset({PULL, FORCE_PUSH, DELETION, CHECKS, QUEUE})
_ALL_METHODS: Final = frozenset({"merge", "squash", "rebase"})


@dataclass(frozen=True)
class Lane:
    """The branches of one lane: the pattern in its rule set, and a name that fits it."""

    pattern: str
    sample: str


LANES: Final = {
    "staging": Lane("staging/*", "staging/codex-leo-sample"),
    "feature": Lane("feature/*", "feature/leo-sample"),
}


@dataclass(frozen=True)
class Requirements:
    """What is demanded. `seen` is Unseen when nobody could read the rules. `sources` are the rule sets relied on."""

    seen: Unseen | None
    checks: tuple[RequiredCheck, ...]
    strict: frozenset[str]
    queue: str
    kinds: frozenset[str]
    merge_methods: frozenset[str]
    sources: tuple[int, ...]
    is_classic: bool
    admins_are_free: bool

    def has(self, kind: str) -> bool:
        """Whether a rule of this type is in force."""
        return kind in self.kinds

    def is_strict_for(self, contexts: Sequence[str]) -> bool:
        """Whether each of these checks has to pass on a branch that is up to date."""
        return bool(contexts) and set(contexts) <= self.strict


def requirements_of(live: Live) -> Requirements:
    """Read rule sets and classic protection together."""
    rules: tuple[Rule, ...] = () if isinstance(live.rules, Unseen) else live.rules
    classic = live.classic if isinstance(live.classic, Classic) else None
    checks, strict = list(classic.checks) if classic else [], set[str]()
    if classic and classic.is_strict:
        strict |= {check.context for check in classic.checks}
    for rule in rules:
        if rule.type == CHECKS:
            found = _checks(rule)
            checks += found
            if rule.parameters.get("strict_required_status_checks_policy") is True:
                strict |= {check.context for check in found}
    methods = live.merge_methods
    for rule in rules:
        if rule.type == PULL:
            methods &= _methods(rule.parameters.get("allowed_merge_methods"))
    queues = {str(rule.parameters.get("grouping_strategy", "")) for rule in rules if rule.type == QUEUE}
    by_rules = frozenset(rule.type for rule in rules)
    return Requirements(
        seen=live.rules if isinstance(live.rules, Unseen) and classic is None else None,
        checks=tuple(dict.fromkeys(checks)),
        strict=frozenset(strict),
        queue=" and ".join(sorted(queues)),
        kinds=by_rules | _classic_kinds(classic),
        merge_methods=methods,
        sources=tuple(sorted({rule.ruleset_id for rule in rules if rule.type in _RELIED_ON})),
        is_classic=classic is not None,
        admins_are_free=classic is not None and not classic.is_for_admins and bool(_classic_kinds(classic) - by_rules),
    )


def describe(needs: Requirements) -> str:
    """The rules in force, for a finding."""
    told = ", ".join(sorted(needs.kinds))
    return (told or "no rule") + (", classic protection" if needs.is_classic else "")


def _checks(rule: Rule) -> list[RequiredCheck]:
    rows = rule.parameters.get("required_status_checks")
    found = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            number = row.get("integration_id")
            found.append(RequiredCheck(str(row.get("context")), number if isinstance(number, int) else None))
    return found


def _methods(value: JsonValue) -> frozenset[str]:
    return frozenset(str(method) for method in value) if isinstance(value, list) else _ALL_METHODS


def _classic_kinds(classic: Classic | None) -> frozenset[str]:
    if classic is None:
        return frozenset()
    held = {
        PULL: classic.needs_pull,
        FORCE_PUSH: not classic.allows_force_push,
        DELETION: not classic.allows_deletion,
        CHECKS: bool(classic.checks),
        LINEAR: classic.is_linear,
    }
    return frozenset(kind for kind, is_held in held.items() if is_held)
