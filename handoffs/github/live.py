"""What stands at GitHub, as far as somebody could see it, and what is expected to stand there. Values only.

`Unseen` is a fact that whoever asked may not read. It is never taken for a good one.
Source: trail.md section 8; GitHub's REST API for rules, protection, Actions and installations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

from audit.canonical import JsonValue, digest_json
from audit.coded import CodedError

# GitHub's own App, in whose name every workflow's token writes.
GITHUB_ACTIONS: Final = 15368
EXPECTED_SCHEMA: Final = "leoportal/protection/v1"


@dataclass(frozen=True)
class Unseen:
    """A fact that could not be read, and why."""

    why: str


@dataclass(frozen=True)
class RequiredCheck:
    """One required check. `app_id` is who has to publish it; None or -1: anybody."""

    context: str
    app_id: int | None


@dataclass(frozen=True)
class Bypass:
    """Somebody for whom the rules of one rule set do not hold."""

    actor_type: str
    actor_id: int | None
    mode: str = "always"

    def __str__(self) -> str:
        return f"{self.actor_type} {self.actor_id if self.actor_id is not None else ''} ({self.mode})".replace(
            "  ", " "
        )


@dataclass(frozen=True)
class Rule:
    """One active rule on one branch, and the rule set it comes from."""

    type: str
    ruleset_id: int
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Ruleset:
    """A rule set that has to do with this repository. `updated_at` as GitHub writes it."""

    id: int
    name: str
    enforcement: str
    updated_at: str
    bypass: tuple[Bypass, ...] | Unseen


@dataclass(frozen=True)
class Classic:
    """Classic protection of one branch."""

    checks: tuple[RequiredCheck, ...]
    is_strict: bool
    is_for_admins: bool
    allows_force_push: bool
    allows_deletion: bool
    needs_pull: bool
    is_linear: bool


@dataclass(frozen=True)
class Actions:
    """What workflows' tokens may do."""

    default_token: str
    may_approve: bool


@dataclass(frozen=True)
class Environment:
    """A deployment environment."""

    name: str
    has_reviewers: bool


@dataclass(frozen=True)
class Installed:
    """An App that is installed where the repository is. `number` is the installation's."""

    app_id: int
    slug: str
    permissions: Mapping[str, str]
    number: int = 0


@dataclass(frozen=True)
class Live:
    """One repository as it was read. `lanes` holds the rules for a sample of each lane's branches.

    Units: `secrets_set` is when each App's webhook secret was made, by App. `merge_methods` are what the repository's
    own settings allow.
    """

    repository_id: int
    full_name: str
    rules: tuple[Rule, ...] | Unseen
    rulesets: tuple[Ruleset, ...]
    classic: Classic | Unseen | None
    lanes: Mapping[str, tuple[Rule, ...] | Unseen]
    actions: Actions | Unseen
    secrets: tuple[str, ...] | Unseen
    environments: tuple[Environment, ...] | Unseen
    codeowners: str | Unseen | None
    installed: tuple[Installed, ...] | Unseen
    secrets_set: Mapping[str, datetime] | Unseen
    merge_methods: frozenset[str] = frozenset({"merge", "squash", "rebase"})

    def ruleset(self, number: int) -> Ruleset | None:
        """The rule set with this number, if it was read."""
        return next((found for found in self.rulesets if found.id == number), None)


class ExpectedError(CodedError):
    """A stored expectation that cannot be read. `code` is stable."""


@dataclass(frozen=True)
class Expected:
    """What has to stand at GitHub for one repository.

    `builders` is who may push to `staging/*`; the enforcer's App alone pushes to `feature/*`. `break_glass` is the team
    that may bypass, 0: nobody. `listed` are further Apps that may write checks. `accepted` are findings that somebody
    took by name. `kind` is how it is written: "ruleset" or "classic". `ours` are the rule sets that were written, with
    when they last changed: who may bypass one is shown to administrators only, that it changed to everybody.
    """

    branch: str
    contexts: tuple[str, ...]
    gate_app: int
    enforcer_app: int
    builders: Bypass | None = None
    break_glass: int = 0
    listed: tuple[int, ...] = ()
    is_linear: bool = False
    has_queue: bool = False
    accepted: tuple[str, ...] = ()
    kind: str = "ruleset"
    ours: tuple[tuple[int, str], ...] = ()

    @property
    def merge_method(self) -> str:
        """The one way in which pull requests land: a merge keeps the handed-over commit in the history."""
        return "squash" if self.is_linear else "merge"

    @property
    def digest(self) -> str:
        """SHA-256 hex of the canonical form."""
        return digest_json(expected_to_json(self))


def expected_to_json(expected: Expected) -> dict[str, JsonValue]:
    """The canonical JSON form, for the row and the log."""
    return {
        "schema": EXPECTED_SCHEMA,
        "branch": expected.branch,
        "contexts": list(expected.contexts),
        "gateApp": expected.gate_app,
        "enforcerApp": expected.enforcer_app,
        "builders": asdict(expected.builders) if expected.builders else None,
        "breakGlassTeam": expected.break_glass,
        "listedApps": list(expected.listed),
        "linear": expected.is_linear,
        "queue": expected.has_queue,
        "accepted": list(expected.accepted),
        "kind": expected.kind,
        "rulesets": [[number, when] for number, when in expected.ours],
    }


def expected_from_json(value: JsonValue) -> Expected:
    """Read a stored expectation back.

    Raises: ExpectedError("config.expectation").
    """
    match value:
        case {
            "schema": "leoportal/protection/v1",
            "branch": str(branch),
            "contexts": list(contexts),
            "gateApp": int(gate),
            "enforcerApp": int(enforcer),
            "builders": builders,
            "breakGlassTeam": int(team),
            "listedApps": list(listed),
            "linear": bool(linear),
            "queue": bool(queue),
            "accepted": list(accepted),
            "kind": str(kind),
            "rulesets": list(ours),
        }:
            return Expected(
                branch,
                tuple(str(name) for name in contexts),
                gate,
                enforcer,
                _bypass(builders),
                team,
                tuple(app for app in listed if isinstance(app, int)),
                linear,
                queue,
                tuple(str(code) for code in accepted),
                kind,
                tuple(_marker(one) for one in ours),
            )
        case _:
            raise ExpectedError("config.expectation", f"got {str(value)[:120]}, expected {EXPECTED_SCHEMA}")


def _bypass(value: JsonValue) -> Bypass | None:
    match value:
        case None:
            return None
        case {"actor_type": str(kind), "actor_id": int() | None as number, "mode": str(mode)}:
            return Bypass(kind, number, mode)
        case _:
            raise ExpectedError("config.expectation", f"got the builders {str(value)[:120]}, expected one actor")


def _marker(value: JsonValue) -> tuple[int, str]:
    match value:
        case [int(number), str(when)]:
            return number, when
        case _:
            raise ExpectedError("config.expectation", f"got {str(value)[:120]}, expected a rule set and a moment")
