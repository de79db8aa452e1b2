"""Pull requests at GitHub: what it says of them, the portal's block in their text, and merging one.

Source: GitHub REST API, "Pulls".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection

BEGIN: Final = "<!-- leoportal:begin -->"
END: Final = "<!-- leoportal:end -->"
MOST_OPEN: Final = 1000


@dataclass(frozen=True)
class PullFacts:
    """A pull request as GitHub shows it. `merge_sha` is empty unless it is merged; numbers are 0 where all is gone.

    Units: `merged_at` in whole seconds of GitHub's clock.
    """

    number: int
    title: str
    body: str
    head_ref: str
    head_sha: str
    head_repository: int
    base_ref: str
    author: int
    is_open: bool
    merge_sha: str
    merged_at: datetime | None


def open_pulls(connection: Connection, full_name: str) -> list[PullFacts]:
    """The open pull requests, the newest first, at most `MOST_OPEN`: anybody may open one from a fork.

    Raises: ForgeError.
    """
    found: list[PullFacts] = []
    with connection.talking():
        for pull in connection.repository(full_name).get_pulls(state="open"):
            if len(found) == MOST_OPEN:
                break
            found.append(_facts(pull.raw_data))
    return found


def merged_lately(connection: Connection, full_name: str) -> list[PullFacts]:
    """The merged ones among the hundred pull requests that were closed and changed last.

    Raises: ForgeError.
    """
    with connection.talking():
        closed = connection.repository(full_name).get_pulls(state="closed", sort="updated", direction="desc")
        found = [_facts(pull.raw_data) for pull in closed.get_page(0)]
    return [facts for facts in found if facts.merged_at is not None]


def one_pull(connection: Connection, full_name: str, number: int) -> PullFacts:
    """One pull request, open or not.

    Raises: ForgeError.
    """
    return _facts(connection.request("GET", f"/repos/{full_name}/pulls/{number}").data)


def branch_tip(connection: Connection, full_name: str, branch: str) -> str:
    """Where a branch is now.

    Raises: ForgeError.
    """
    path = f"/repos/{full_name}/git/ref/heads/{quote(branch)}"
    return str(connection.request("GET", path).data["object"]["sha"])


def _facts(raw: dict[str, Any]) -> PullFacts:
    merged_at = raw.get("merged_at")
    try:
        return PullFacts(
            number=int(raw["number"]),
            title=str(raw["title"]),
            body=raw.get("body") or "",
            head_ref=str(raw["head"]["ref"]),
            head_sha=str(raw["head"]["sha"]),
            head_repository=int((raw["head"].get("repo") or {}).get("id", 0)),
            base_ref=str(raw["base"]["ref"]),
            author=int((raw.get("user") or {}).get("id", 0)),
            is_open=raw["state"] == "open",
            merge_sha=(raw.get("merge_commit_sha") or "") if merged_at else "",
            merged_at=datetime.fromisoformat(merged_at) if merged_at else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        detail = f"got a pull request that cannot be read ({type(error).__name__})"
        raise ForgeError("github.unreadable", detail) from None


@dataclass(frozen=True)
class Merge:
    """A merge to ask for: exactly this head, as one commit. `method`: "merge", or "squash" where history is linear."""

    head_sha: str
    title: str
    message: str
    method: str = "merge"


def merge_pull(connection: Connection, full_name: str, number: int, wanted: Merge) -> str:
    """Merge a pull request; the commit it became.

    Raises: ForgeError("github.conflict") when the head moved; ("github.not_mergeable") when a rule or a conflict is
    in the way, with GitHub's words.
    """
    body = {
        "sha": wanted.head_sha,
        "commit_title": wanted.title,
        "commit_message": wanted.message,
        "merge_method": wanted.method,
    }
    return str(connection.request("PUT", f"/repos/{full_name}/pulls/{number}/merge", body).data["sha"])


def write_body(connection: Connection, full_name: str, number: int, body: str) -> None:
    """Replace a pull request's text.

    Raises: ForgeError.
    """
    connection.request("PATCH", f"/repos/{full_name}/pulls/{number}", {"body": body})


def fenced(block: str) -> str:
    """The portal's words between the two marks that nobody sees."""
    return f"{BEGIN}\n{block.strip()}\n{END}"


def with_block(body: str, block: str) -> str:
    """A text with the portal's block in it: in the place where it stands, else at the end. Nothing else changes."""
    return _around(body, lambda before, after: f"{before}{fenced(block)}{after}") or _appended(body, block)


def without_block(body: str) -> str:
    """What somebody else wrote into a pull request's text."""
    return _around(body, lambda before, after: before + after) or body


def _around(body: str, made: Callable[[str, str], str]) -> str:
    """The last mark of an end and the nearest of a beginning before it, so that no stray mark takes words along."""
    end = body.rfind(END)
    begin = body.rfind(BEGIN, 0, end) if end >= 0 else -1
    return made(body[:begin], body[end + len(END) :]) if begin >= 0 else ""


def _appended(body: str, block: str) -> str:
    return f"{body.rstrip()}\n\n{fenced(block)}\n" if body.strip() else f"{fenced(block)}\n"


def by_number(pulls: Sequence[PullFacts]) -> dict[int, PullFacts]:
    """Pull requests by their numbers."""
    return {pull.number: pull for pull in pulls}
