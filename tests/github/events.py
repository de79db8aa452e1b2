"""Small webhook bodies, each with what its event must have and a lot that nobody reads."""

from __future__ import annotations

import json
from typing import Any

REPOSITORY = {"id": 4711, "name": "payments", "full_name": "acme/payments", "private": True}
SENDER = {"id": 77, "login": "octo-ada", "type": "User"}
INSTALLATION = {"id": 31, "node_id": "MDIz"}
HEAD, OTHER = "a" * 40, "b" * 40


def body(**members: Any) -> bytes:
    """JSON as GitHub sends it, of one repository and one installation unless said otherwise."""
    whole = {"repository": REPOSITORY, "sender": SENDER, "installation": INSTALLATION, "unknown": {"x": [1, {}]}}
    return json.dumps({key: value for key, value in (whole | members).items() if value is not None}).encode()


def pull(action: str, *, number: int = 7, head: str = HEAD, **members: Any) -> bytes:
    head_of = {"sha": head, "ref": "feature/net", "repo": {"id": 4711}}
    return body(action=action, number=number, pull_request={"number": number, "head": head_of}, **members)


def comment(text: str, *, action: str = "created", remote_id: int = 900, on_pull: bool = True, edited: bool = False):
    issue = {"number": 7, "title": "Net"} | ({"pull_request": {"url": "https://api.invalid"}} if on_pull else {})
    moments = {"created_at": "2026-11-26T05:00:00Z", "updated_at": f"2026-11-26T05:00:0{int(edited)}Z"}
    return body(action=action, issue=issue, comment={"id": remote_id, "body": text, "user": SENDER} | moments)


def check_run(action: str, *, remote_id: int = 800, head: str = HEAD, pulls: tuple[int, ...] = (7,), **members: Any):
    run = {"id": remote_id, "head_sha": head, "pull_requests": [{"number": number} for number in pulls]}
    return body(action=action, check_run=run, **members)


def workflow_run(action: str = "completed", *, head_repository: int = 4711, **members: Any) -> bytes:
    run = {"id": 600, "head_sha": HEAD, "pull_requests": [], "head_repository": {"id": head_repository}}
    return body(action=action, workflow_run=run, **members)


def merge_group(head: str = HEAD, *, action: str = "checks_requested") -> bytes:
    group = {"head_sha": head, "head_ref": "refs/heads/gh-readonly-queue/main/pr-7-x", "base_ref": "refs/heads/main"}
    return body(action=action, merge_group=group | {"base_sha": OTHER})


def push(ref: str = "refs/heads/staging/codex-net", after: str = HEAD) -> bytes:
    return body(ref=ref, before=OTHER, after=after)
