"""Writing the rules that make the gates mean something: three rule sets of our own, or classic protection.

Each rule set is found by its name, compared, and changed only where it differs. Nobody else's is touched.
Source: trail.md D1 and section 8; GitHub REST API for rule sets and branch protection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from handoffs.forges.protocol import ForgeError
from handoffs.github.live import Bypass, Expected
from handoffs.github.requirements import DELETION, FORCE_PUSH, LANES, LINEAR, PULL, QUEUE
from handoffs.github.rules import Reader, ruleset_of

OURS: Final = "leoportal"
# GitHub has no rule sets for this repository: an older server, or a plan without them.
NO_RULESETS: Final = frozenset({"github.not_found", "github.forbidden"})


@dataclass(frozen=True)
class Change:
    """One rule set or protection that is not as it should be. `lines` say what differs."""

    what: str
    lines: tuple[str, ...]
    method: str
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What would be written, and how: "ruleset" or "classic"."""

    kind: str
    changes: tuple[Change, ...]


def plan_rules(reader: Reader, full_name: str, expected: Expected) -> Plan:
    """Compare what stands there with what is expected. Nothing is written.

    Raises: ForgeError.
    """
    at = f"/repos/{full_name}"
    try:
        rows = reader.pages(f"{at}/rulesets?includes_parents=false")
    except ForgeError as error:
        if error.code not in NO_RULESETS:
            raise
        return Plan("classic", tuple(_plan_classic(reader, at, expected)))
    known = {str(row["name"]): int(row["id"]) for row in rows}
    changes = []
    for wanted in rulesets_for(expected):
        name = str(wanted["name"])
        if name not in known:
            lines = ("it does not exist yet", *(f"rule {rule['type']}" for rule in wanted["rules"]))
            changes.append(Change(name, lines, "POST", f"{at}/rulesets", wanted))
            continue
        path = f"{at}/rulesets/{known[name]}"
        if lines := tuple(differences(wanted, reader.get(path))):
            changes.append(Change(name, lines, "PUT", path, wanted))
    return Plan("ruleset", tuple(changes))


def write_rules(reader: Reader, plan: Plan) -> None:
    """Write what a plan says. Safe to repeat.

    Raises: ForgeError.
    """
    for change in plan.changes:
        reader.connection.request(change.method, change.path, change.body)
        reader.remembered.clear()


def written(reader: Reader, full_name: str, expected: Expected, plan: Plan) -> Expected:
    """The expectation with how it was written and when each rule set of ours last changed.

    Raises: ForgeError.
    """
    if plan.kind == "classic":
        return replace(expected, kind="classic", ours=())
    at, names = f"/repos/{full_name}/rulesets", {str(one["name"]) for one in rulesets_for(expected)}
    numbers = [int(row["id"]) for row in reader.pages(f"{at}?includes_parents=false") if str(row["name"]) in names]
    found = [ruleset_of(reader.get(f"{at}/{number}?includes_parents=true")) for number in sorted(numbers)]
    return replace(expected, kind="ruleset", ours=tuple((one.id, one.updated_at) for one in found))


def rulesets_for(expected: Expected) -> Iterator[dict[str, Any]]:
    """Our rule sets: the gates on the protected branch, and each lane's branches for that lane only."""
    team = [Bypass("Team", expected.break_glass)] if expected.break_glass else []
    yield _ruleset(f"{OURS}: gates on {expected.branch}", [expected.branch], team, _gates(expected))
    owners = {"feature": Bypass("Integration", expected.enforcer_app), "staging": expected.builders}
    for lane, one in LANES.items():
        owner = owners[lane]
        folder = one.pattern.removesuffix("/*")
        rules: list[dict[str, Any]] = [{"type": "creation"}, {"type": "update"}, {"type": "deletion"}]
        yield _ruleset(f"{OURS}: {lane}", [f"{folder}/*", f"{folder}/**/*"], [owner] if owner else [], rules)
    # A set of its own: who may push to a staging branch bypasses the lane's, and would bypass this rule with it.
    staging = LANES["staging"].pattern.removesuffix("/*")
    yield _ruleset(f"{OURS}: staging history", [f"{staging}/*", f"{staging}/**/*"], [], [{"type": FORCE_PUSH}])


def _ruleset(name: str, branches: list[str], bypass: list[Bypass], rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [
            {"actor_type": one.actor_type, "actor_id": one.actor_id, "bypass_mode": one.mode} for one in bypass
        ],
        "conditions": {"ref_name": {"include": [f"refs/heads/{branch}" for branch in branches], "exclude": []}},
        "rules": rules,
    }


def _gates(expected: Expected) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {"type": DELETION},
        {"type": FORCE_PUSH},
        {
            "type": PULL,
            "parameters": {
                "required_approving_review_count": 0,
                "dismiss_stale_reviews_on_push": True,
                "require_code_owner_review": False,
                "require_last_push_approval": False,
                "required_review_thread_resolution": False,
                "allowed_merge_methods": [expected.merge_method],
            },
        },
        {
            "type": "required_status_checks",
            "parameters": {
                "strict_required_status_checks_policy": not expected.has_queue,
                "do_not_enforce_on_create": False,
                "required_status_checks": [
                    {"context": name, "integration_id": expected.gate_app} for name in expected.contexts
                ],
            },
        },
    ]
    if expected.is_linear:
        rules.append({"type": LINEAR})
    if expected.has_queue:
        rules.append(
            {
                "type": QUEUE,
                "parameters": {
                    "check_response_timeout_minutes": 240,
                    "grouping_strategy": "ALLGREEN",
                    "max_entries_to_build": 5,
                    "max_entries_to_merge": 1,
                    "merge_method": expected.merge_method.upper(),
                    "min_entries_to_merge": 1,
                    "min_entries_to_merge_wait_minutes": 0,
                },
            }
        )
    return rules


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What differs in a rule set of ours. What GitHub adds by itself to a rule's parameters is no difference."""
    for name in ("target", "enforcement"):
        if found.get(name) != wanted[name]:
            yield f"{name} is {found.get(name)}, expected {wanted[name]}"
    if (have := _actors(found.get("bypass_actors"))) != (want := _actors(wanted["bypass_actors"])):
        yield f"bypass: {', '.join(sorted(have)) or 'nobody'}, expected {', '.join(sorted(want)) or 'nobody'}"
    for side in ("include", "exclude"):
        places = (found.get("conditions") or {}).get("ref_name") or {}
        if sorted(places.get(side) or []) != sorted(wanted["conditions"]["ref_name"][side]):
            yield f"{side}: {places.get(side)}, expected {wanted['conditions']['ref_name'][side]}"
    have_rules = {str(rule["type"]): rule.get("parameters") or {} for rule in found.get("rules") or []}
    want_rules = {str(rule["type"]): rule.get("parameters") or {} for rule in wanted["rules"]}
    for kind in sorted(have_rules.keys() - want_rules.keys()):
        yield f"rule {kind} is not ours"
    for kind, parameters in want_rules.items():
        if kind not in have_rules:
            yield f"rule {kind} is missing"
            continue
        for name, value in parameters.items():
            if _plain(have_rules[kind].get(name)) != _plain(value):
                yield f"rule {kind}: {name} is {have_rules[kind].get(name)}, expected {value}"


def _actors(rows: Any) -> set[str]:
    kept = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {str(Bypass(row["actor_type"], row.get("actor_id"), row.get("bypass_mode", "always"))) for row in kept}


def _plain(value: Any) -> Any:
    """A value without the order of its list: GitHub keeps none."""
    if isinstance(value, list):
        return sorted(str(sorted(one.items()) if isinstance(one, dict) else one) for one in value)
    return value


def _plan_classic(reader: Reader, at: str, expected: Expected) -> Iterator[Change]:
    """Classic protection of the one branch. It has no patterns: the lanes stay open, and a check says so."""
    path = f"{at}/branches/{quote(expected.branch, safe='')}/protection"
    wanted = {
        "required_status_checks": {
            "strict": True,
            "contexts": [],  # GitHub's description wants it; a name in it would be anybody's to report
            "checks": [{"context": name, "app_id": expected.gate_app} for name in expected.contexts],
        },
        "enforce_admins": True,
        "required_pull_request_reviews": {"required_approving_review_count": 0},
        "restrictions": None,
        "required_linear_history": expected.is_linear,
        "allow_force_pushes": False,
        "allow_deletions": False,
    }
    try:
        found = reader.get(path)
    except ForgeError as error:
        if error.code != "github.not_found":
            raise
        yield Change(path, ("the branch is not protected",), "PUT", path, wanted)
        return
    lines = tuple(_classic_differences(found, expected))
    if lines:
        yield Change(path, lines, "PUT", path, wanted)


def _classic_differences(found: Mapping[str, Any], expected: Expected) -> Iterator[str]:
    checks = found.get("required_status_checks") or {}
    have = {(row.get("context"), row.get("app_id")) for row in checks.get("checks") or []}
    if have != {(name, expected.gate_app) for name in expected.contexts} or not checks.get("strict"):
        yield f"required checks: {sorted(map(str, have))}, strict {checks.get('strict')}"
    wanted = {
        "enforce_admins": True,
        "required_linear_history": expected.is_linear,
        "allow_force_pushes": False,
        "allow_deletions": False,
    }
    for name, value in wanted.items():
        if bool((found.get(name) or {}).get("enabled")) is not value:
            yield f"{name} is {not value}, expected {value}"
    if found.get("required_pull_request_reviews") is None:
        yield "no pull request is required"
