"""The two Apps as manifests: what each may do and hears of, and nothing else. Pure.

An App is made by a person's browser posting its manifest to GitHub, which answers with a code; whoever has the code
gets the App's keys, once, within an hour.
Source: trail.md D1; GitHub's documentation of App manifests, permissions and webhook events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from audit.canonical import JsonValue
from audit.coded import CodedError

SIDES: Final = ("enforcer", "gate")
# Without `workflows`, GitHub refuses whatever the enforcer pushes that changes one. `administration: read` is what the
# events about rules need, `merge_queues: read` what merge_group needs, `checks` and `statuses: read` what theirs need.
PERMISSIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "enforcer": {
        "contents": "write",
        "pull_requests": "write",
        "actions": "write",
        "metadata": "read",
        "checks": "read",
        "statuses": "read",
        "merge_queues": "read",
        "administration": "read",
    },
    "gate": {"checks": "write", "metadata": "read", "pull_requests": "read"},
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "enforcer": (
        "push",
        "create",
        "pull_request",
        "check_run",
        "check_suite",
        "workflow_run",
        "workflow_job",
        "status",
        "issue_comment",
        "merge_group",
        "branch_protection_rule",
        "repository_ruleset",
    ),
    "gate": ("check_run", "check_suite"),
}
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{8,200}\Z")


class ManifestError(CodedError):
    """An App that is not the one that was asked for. `code` is stable."""


def manifest(side: str, *, portal_url: str, owner: str = "") -> dict[str, JsonValue]:
    """What a browser posts to GitHub. Names of Apps are unique at one GitHub, so the owner is a part of it."""
    name = f"leo-{side}" + (f"-{owner}" if owner else "")
    return {
        "name": name[:34],  # GitHub's limit
        "url": portal_url,
        "description": f"leoportal, its {side} lane",
        "public": False,
        "redirect_url": f"{portal_url}/repositories/apps/{side}/",
        "hook_attributes": {"url": f"{portal_url}/github/webhook/{side}/", "active": True},
        "default_permissions": dict(PERMISSIONS[side]),
        "default_events": list(EVENTS[side]),
    }


def is_code(code: str) -> bool:
    """Whether this can be a code of GitHub's."""
    return _CODE.match(code) is not None


def refuse_other_app(side: str, made: Mapping[str, JsonValue]) -> None:
    """An App that may do more or less than was asked for is not taken.

    Raises: ManifestError("app.permissions"), ManifestError("app.incomplete").
    """
    if not (isinstance(made.get("id"), int) and made.get("pem") and made.get("webhook_secret")):
        raise ManifestError("app.incomplete", "got an App without a number, key or webhook secret, expected all three")
    given = made.get("permissions")
    have = given if isinstance(given, dict) else {}
    if {**have, "metadata": "read"} != PERMISSIONS[side]:
        told = ", ".join(f"{name}: {level}" for name, level in sorted(have.items()))
        wanted = ", ".join(f"{name}: {level}" for name, level in sorted(PERMISSIONS[side].items()))
        raise ManifestError("app.permissions", f"got an App with {told or 'nothing'}, expected {wanted}; delete it")
