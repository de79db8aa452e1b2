"""Reading what stands at GitHub for one repository, as facts for the onboarding check.

Every read is conditional where GitHub gave an ETag: what did not change costs nothing of the hour's requests. What may
not be read is `Unseen`; what cannot be reached is an error, and then nothing is known.
Source: GitHub REST API: rules, branches, Actions, secrets, environments, installations.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from handoffs.forges.protocol import ForgeError
from handoffs.github.codeowners import PLACES
from handoffs.github.connection import Connection
from handoffs.github.live import (
    Actions,
    Bypass,
    Classic,
    Environment,
    Expected,
    Installed,
    Live,
    RequiredCheck,
    Rule,
    Ruleset,
    Unseen,
)
from handoffs.github.requirements import LANES

HIDDEN: Final = frozenset({"github.forbidden", "github.not_found", "github.unauthorized", "github.token_mode"})
PAGE: Final = 100
MOST_PAGES: Final = 10
MOST_REMEMBERED: Final = 500
NOT_PROTECTED: Final = "branch not protected"

type Remembered = MutableMapping[str, tuple[str, Any]]


@dataclass(frozen=True)
class Reader:
    """Conditional reads over one connection. `remembered` holds what GitHub gave with which ETag, by path."""

    connection: Connection
    remembered: Remembered = field(default_factory=dict)

    def get(self, path: str) -> Any:
        """The JSON at a path; what was remembered if GitHub says that it is still so.

        Raises: ForgeError.
        """
        etag, known = self.remembered.get(path, ("", None))
        answer = self.connection.request("GET", path, headers={"If-None-Match": etag} if etag else None)
        if answer.status == 304:
            return known
        if (tag := answer.headers.get("etag", "")) and len(self.remembered) < MOST_REMEMBERED:
            self.remembered[path] = (tag, answer.data)
        return answer.data

    def pages(self, path: str, key: str = "") -> list[Any]:
        """All rows of a list, or of the list under `key`.

        Raises: ForgeError, also for a list that does not end.
        """
        rows: list[Any] = []
        for page in range(1, MOST_PAGES + 1):
            separator = "&" if "?" in path else "?"
            found = self.get(f"{path}{separator}per_page={PAGE}&page={page}")
            new = _rows(found.get(key) if key and isinstance(found, dict) else found)
            rows += new
            if len(new) < PAGE:
                return rows
        raise ForgeError("github.failed", f"got more than {MOST_PAGES * PAGE} rows at {path}, expected fewer")


def read_live(reader: Reader, full_name: str, expected: Expected, *, secrets_set: Mapping[str, datetime]) -> Live:
    """Everything that the onboarding check looks at. `secrets_set` is known to the portal only.

    Raises: ForgeError when GitHub cannot be reached or the repository cannot be read at all.
    """
    at = f"/repos/{full_name}"
    about = reader.get(at)
    rules = _seen(lambda: read_rules(reader, full_name, expected.branch))
    lanes = {lane: _seen(partial(read_rules, reader, full_name, one.sample)) for lane, one in LANES.items()}
    numbers = {rule.ruleset_id for found in (rules, *lanes.values()) if not isinstance(found, Unseen) for rule in found}
    return Live(
        repository_id=int(about["id"]),
        full_name=str(about["full_name"]),
        rules=rules,
        rulesets=tuple(_rulesets(reader, at, sorted(numbers))),
        classic=_classic(reader, f"{at}/branches/{quote(expected.branch, safe='')}/protection"),
        lanes=lanes,
        actions=_seen(lambda: _actions(reader.get(f"{at}/actions/permissions/workflow"))),
        secrets=_seen(lambda: tuple(str(row["name"]) for row in reader.pages(f"{at}/actions/secrets", "secrets"))),
        environments=_seen(
            lambda: tuple(_environment(row) for row in reader.pages(f"{at}/environments", "environments"))
        ),
        codeowners=_seen(lambda: _codeowners(reader, at, expected.branch)),
        installed=_seen(lambda: read_installed(reader, str(about["owner"]["login"]))),
        secrets_set=secrets_set or Unseen("this process does not know the webhooks' secrets"),
        merge_methods=_merge_methods(about),
    )


_METHODS: Final = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}


def _merge_methods(about: Mapping[str, Any]) -> frozenset[str]:
    """What the repository's settings allow; what is not shown is allowed."""
    return frozenset(method for method, name in _METHODS.items() if about.get(name, True) is not False)


def read_rules(reader: Reader, full_name: str, branch: str) -> tuple[Rule, ...]:
    """The active rules on a branch, of rule sets at every level.

    Raises: ForgeError.
    """
    rows = reader.pages(f"/repos/{full_name}/rules/branches/{quote(branch, safe='')}")
    return tuple(
        Rule(str(row["type"]), int(row.get("ruleset_id", 0)), row.get("parameters") or {})
        for row in rows
        if row.get("ruleset_id")  # what has none comes from classic protection, which is read for itself
    )


def read_installed(reader: Reader, owner: str) -> tuple[Installed, ...]:
    """The Apps that are installed at the organisation: shown to its owners only.

    Raises: ForgeError.
    """
    return tuple(
        Installed(
            int(row["app_id"]),
            str(row["app_slug"]),
            {str(name): str(level) for name, level in row["permissions"].items()},
            int(row["id"]),
        )
        for row in reader.pages(f"/orgs/{owner}/installations", "installations")
    )


def _seen[T](read: Callable[[], T]) -> T | Unseen:
    try:
        return read()
    except ForgeError as error:
        if error.code not in HIDDEN:
            raise
        return Unseen(error.detail[:300])


def _rulesets(reader: Reader, at: str, numbers: Iterable[int]) -> Iterable[Ruleset]:
    for number in numbers:
        found = _seen(partial(reader.get, f"{at}/rulesets/{number}?includes_parents=true"))
        if not isinstance(found, Unseen):
            yield ruleset_of(found)


def ruleset_of(found: Mapping[str, Any]) -> Ruleset:
    """A rule set as GitHub shows it: without the bypass list to whoever may not write it."""
    actors = found.get("bypass_actors")
    bypass: tuple[Bypass, ...] | Unseen = Unseen("GitHub shows it to those who may change the rule set")
    if isinstance(actors, list):
        bypass = tuple(
            Bypass(str(row["actor_type"]), row.get("actor_id"), str(row.get("bypass_mode", "always"))) for row in actors
        )
    return Ruleset(
        int(found["id"]), str(found["name"]), str(found["enforcement"]), str(found.get("updated_at", "")), bypass
    )


def _classic(reader: Reader, path: str) -> Classic | Unseen | None:
    try:
        found = reader.get(path)
    except ForgeError as error:
        if error.code == "github.not_found" and NOT_PROTECTED in error.detail.lower():
            return None
        if error.code not in HIDDEN:
            raise
        return Unseen(error.detail[:300])
    checks = found.get("required_status_checks") or {}
    return Classic(
        checks=tuple(RequiredCheck(str(row["context"]), row.get("app_id")) for row in _rows(checks.get("checks"))),
        is_strict=bool(checks.get("strict")),
        is_for_admins=_is_on(found, "enforce_admins"),
        allows_force_push=_is_on(found, "allow_force_pushes"),
        allows_deletion=_is_on(found, "allow_deletions"),
        needs_pull=found.get("required_pull_request_reviews") is not None,
        is_linear=_is_on(found, "required_linear_history"),
    )


def _is_on(found: Mapping[str, Any], name: str) -> bool:
    return bool((found.get(name) or {}).get("enabled"))


def _actions(found: Mapping[str, Any]) -> Actions:
    # What is not said counts as the worse of the two.
    return Actions(
        str(found.get("default_workflow_permissions", "write")),
        may_approve=bool(found.get("can_approve_pull_request_reviews", True)),
    )


def _environment(row: Mapping[str, Any]) -> Environment:
    kinds = {str(rule.get("type")) for rule in _rows(row.get("protection_rules"))}
    return Environment(str(row["name"]), has_reviewers="required_reviewers" in kinds)


def _codeowners(reader: Reader, at: str, branch: str) -> str | None:
    for place in PLACES:
        try:
            found = reader.get(f"{at}/contents/{place}?ref={quote(branch, safe='')}")
        except ForgeError as error:
            if error.code != "github.not_found":
                raise
            continue
        return base64.b64decode(str(found.get("content", ""))).decode(errors="replace")
    return None


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
