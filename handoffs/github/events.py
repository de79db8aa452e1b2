"""A webhook's body as what the portal acts on: where to look, and what somebody asked for. Never what is so.

State is read from GitHub's API afterwards, so that any order and any number of copies of events give one state.

Source: GitHub, "Webhook events and payloads".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.canonical import JsonError, parse_json
from audit.coded import CodedError

MAX_BODY_BYTES: Final = 25 << 20  # GitHub sends no more
MAX_TEXT: Final = 200
COMMAND: Final = "/leo"


class EventError(CodedError):
    """A body that is not what its event's name says. `code` is stable."""


class Wake(StrEnum):
    """Which worker has to look at GitHub."""

    RECONCILE = "reconcile"
    PUBLISH = "publish"


class AskedKind(StrEnum):
    """What can be asked for on GitHub. A verdict or a decision cannot."""

    COMMAND = "command"
    ACTION = "action"
    RERUN = "rerun"
    MERGE_GROUP = "merge_group"


@dataclass(frozen=True)
class Asked:
    """What somebody asked for: by a comment, a button of a check run, "re-run", or the merge queue.

    Shape: `key` is the same for every copy of the same asking: the comment's, the merge group's head, or the signed
    bytes of a press of a button, also if they come again under another delivery's number. `pull` is 0 and `head_sha`
    empty where the event names none.
    """

    kind: AskedKind
    key: str
    pull: int
    remote_id: int
    head_sha: str
    actor_id: int
    text: str
    is_edited: bool = False


@dataclass(frozen=True)
class Event:
    """One event. Shape: `repository_id` is 0 for an event about a whole installation."""

    kind: str
    action: str
    repository_id: int
    full_name: str
    installation_id: int
    head_repository_id: int
    pulls: tuple[int, ...]
    head_sha: str
    ref: str
    wakes: frozenset[Wake]
    asked: Asked | None = None


@dataclass(frozen=True)
class Ignored:
    """An event that changes nothing here, and the code of why."""

    action: str
    code: str


type Id = Annotated[int, Field(gt=0, strict=True)]
type Sha = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$", strict=True)]
type Text = Annotated[str, Field(strict=True)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Numbered(_Wire):
    id: Id


class _Repository(_Numbered):
    full_name: Annotated[str, Field(max_length=200, pattern=r"^[\w.-]+/[\w.-]+$", strict=True)]


class _Pull(_Wire):
    number: Id


class _Head(_Wire):
    sha: Sha
    ref: Text


class _WholePull(_Pull):
    head: _Head


class _Judged(_Numbered):
    """A check run, a check suite, a workflow run or one of its jobs."""

    head_sha: Sha
    pull_requests: tuple[_Pull, ...] = ()
    head_repository: _Numbered | None = None


class _Comment(_Numbered):
    body: str
    created_at: Text
    updated_at: Text


class _Issue(_Pull):
    pull_request: dict[str, object] | None = None


class _Button(_Wire):
    identifier: Annotated[str, Field(max_length=100, strict=True)]


class _Group(_Wire):
    head_sha: Sha
    base_ref: Text


class _Body(_Wire):
    """Every member that some event uses; all others are passed over."""

    action: Annotated[str, Field(max_length=60, strict=True)] = ""
    repository: _Repository | None = None
    installation: _Numbered | None = None
    sender: _Numbered | None = None
    ref: Text | None = None
    after: Sha | None = None
    sha: Sha | None = None
    pull_request: _WholePull | None = None
    check_run: _Judged | None = None
    check_suite: _Judged | None = None
    workflow_run: _Judged | None = None
    workflow_job: _Judged | None = None
    comment: _Comment | None = None
    issue: _Issue | None = None
    requested_action: _Button | None = None
    merge_group: _Group | None = None


@dataclass(frozen=True)
class _Use:
    """The members that an event must have, whom it wakes, and its actions that matter (empty: it has none)."""

    needs: tuple[str, ...]
    wakes: frozenset[Wake]
    actions: frozenset[str] = frozenset()


_ANYWHERE: Final = ("action", "installation", "sender", "requested_action", "after")
_ENFORCER: Final = frozenset({Wake.RECONCILE})
_BOTH: Final = frozenset(Wake)
_PULL_ACTIONS: Final = (
    "opened reopened closed synchronize edited labeled unlabeled converted_to_draft ready_for_review enqueued dequeued "
    "auto_merge_enabled auto_merge_disabled"
)


def _use(needs: str, wakes: frozenset[Wake], actions: str = "") -> _Use:
    return _Use(tuple(needs.split()), wakes, frozenset(actions.split()))


USES: Final[Mapping[str, _Use]] = {
    "push": _use("repository ref", _BOTH),
    "create": _use("repository ref", _ENFORCER),
    "delete": _use("repository ref", _ENFORCER),
    "status": _use("repository sha", _BOTH),
    "pull_request": _use("repository pull_request", _BOTH, _PULL_ACTIONS),
    "check_run": _use("repository check_run", _BOTH, "created completed rerequested requested_action"),
    "check_suite": _use("repository check_suite", _BOTH, "requested rerequested completed"),
    "workflow_run": _use("repository workflow_run", _ENFORCER, "requested in_progress completed"),
    "workflow_job": _use("repository workflow_job", _ENFORCER, "queued waiting in_progress completed"),
    "issue_comment": _use("repository issue comment", _ENFORCER, "created edited deleted"),
    "merge_group": _use("repository merge_group", _BOTH, "checks_requested destroyed"),
    "branch_protection_rule": _use("repository", _ENFORCER, "created edited deleted"),
    "branch_protection_configuration": _use("repository", _ENFORCER, "enabled disabled"),
    "repository_ruleset": _use("repository", _ENFORCER, "created edited deleted"),
    "installation": _use("installation", _BOTH, "created deleted suspend unsuspend new_permissions_accepted"),
    "installation_repositories": _use("installation", _BOTH, "added removed"),
    "repository": _use(
        "repository", _BOTH, "renamed transferred edited deleted archived unarchived privatized publicized"
    ),
}


def parse_event(name: str, raw: bytes) -> Event | Ignored:
    """Read the body that came with the event `name`.

    Raises: EventError("event.payload") where a member that is used is missing or of another form; JsonError.
    Not checked: who sent it, and whether the repository is one of the portal's.
    """
    value = parse_json(raw, max_bytes=MAX_BODY_BYTES)
    if not isinstance(value, dict):
        raise JsonError("json.not_an_object", f"got {type(value).__name__}, expected an object")
    use = USES.get(name)
    if use is None:
        action = value.get("action")
        return Ignored(action[:60] if isinstance(action, str) else "", "event.unused")
    used = (*use.needs, *_ANYWHERE)
    try:
        body = _Body.model_validate({key: value[key] for key in used if value.get(key) is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise EventError("event.payload", f"{name}: {place}: {first['msg']}") from None
    if use.actions and body.action not in use.actions:
        return Ignored(body.action, "event.unused_action")
    if missing := [member for member in use.needs if getattr(body, member) is None]:
        raise EventError("event.payload", f"{name}: got no {' and no '.join(missing)}")
    return _event(name, body, use, hashlib.sha256(raw).hexdigest())


def _event(name: str, body: _Body, use: _Use, digest: str) -> Event:
    judged = getattr(body, name, None)
    judged = judged if isinstance(judged, _Judged) else None
    pulls = {pull.number for pull in judged.pull_requests} if judged else set()
    if body.pull_request:
        pulls.add(body.pull_request.number)
    if name == "issue_comment" and body.issue and body.issue.pull_request is not None:
        pulls.add(body.issue.number)
    asked = _ASKED[name](body) if name in _ASKED else None
    if asked and asked.kind in {AskedKind.ACTION, AskedKind.RERUN}:
        asked = replace(asked, key=f"{asked.key} {digest}")
    return Event(
        kind=name,
        action=body.action,
        repository_id=body.repository.id if body.repository else 0,
        full_name=body.repository.full_name if body.repository else "",
        installation_id=body.installation.id if body.installation else 0,
        head_repository_id=judged.head_repository.id if judged and judged.head_repository else 0,
        pulls=tuple(sorted(pulls)),
        head_sha=_head(name, body, judged),
        ref=(body.ref or "")[:300],
        wakes=use.wakes,
        asked=asked,
    )


def _head(name: str, body: _Body, judged: _Judged | None) -> str:
    if judged:
        return judged.head_sha
    if name == "pull_request" and body.pull_request:
        return body.pull_request.head.sha
    if name == "merge_group" and body.merge_group:
        return body.merge_group.head_sha
    return body.after or body.sha or ""


def _sender(body: _Body) -> int:
    if body.sender is None:
        raise EventError("event.payload", "got no sender, expected who asked")
    return body.sender.id


def _command(body: _Body) -> Asked | None:
    """The first line of a new comment on a pull request, if it is addressed to the portal."""
    comment, issue = body.comment, body.issue
    if comment is None or issue is None or issue.pull_request is None or body.action != "created":
        return None
    line = comment.body.lstrip().partition("\n")[0].strip()
    if not line.lower().startswith(COMMAND):
        return None
    is_edited = comment.updated_at != comment.created_at
    kind, key = AskedKind.COMMAND, f"comment {comment.id}"
    return Asked(kind, key, issue.number, comment.id, "", _sender(body), line[:MAX_TEXT], is_edited=is_edited)


def _of_check(body: _Body) -> Asked | None:
    """A button of one of our check runs, or "re-run" of a run or of all of a suite."""
    found = body.check_run or body.check_suite
    if found is None or body.action not in {"requested_action", "rerequested"}:
        return None
    pull = found.pull_requests[0].number if len(found.pull_requests) == 1 else 0
    if body.action == "rerequested":
        what = "run" if body.check_run else "suite"
        return Asked(AskedKind.RERUN, f"{what} {found.id}", pull, found.id, found.head_sha, _sender(body), "")
    if body.requested_action is None:
        raise EventError("event.payload", "check_run: got no requested_action")
    button = body.requested_action.identifier
    key = f"run {found.id} {button}"
    return Asked(AskedKind.ACTION, key, pull, found.id, found.head_sha, _sender(body), button)


def _of_group(body: _Body) -> Asked | None:
    """A merge group to be judged. Its pull requests are read from the API: the branch's name proves nothing."""
    if body.merge_group is None or body.action != "checks_requested":
        return None
    head = body.merge_group.head_sha
    return Asked(
        AskedKind.MERGE_GROUP, f"group {head}", 0, 0, head, _sender(body), body.merge_group.base_ref[:MAX_TEXT]
    )


_ASKED: Final[Mapping[str, Callable[[_Body], Asked | None]]] = {
    "issue_comment": _command,
    "check_run": _of_check,
    "check_suite": _of_check,
    "merge_group": _of_group,
}
