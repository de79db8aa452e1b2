"""Comments on pull requests: ours, found by a hidden marker and our App as their author, and what others wrote.

A comment of anybody else is never ours, whatever it says.
Source: GitHub REST API, "Issue comments", "Reactions", "Pull request review comments".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection

STATUS: Final = "<!-- leoportal status -->"
MAX_BODY: Final = 65_000  # GitHub takes 65,536 characters
MAX_PAGES: Final = 20
PER_PAGE: Final = 100


class Reaction(StrEnum):
    """What the portal answers with, by GitHub's names."""

    SEEN = "eyes"
    DONE = "+1"
    REFUSED = "confused"


@dataclass(frozen=True)
class Comment:
    """One comment. Shape: `app_id` 0: written by a person, or by an account of a machine; `etag` as it was read."""

    id: int
    body: str
    author_id: int
    is_bot: bool
    app_id: int
    pull: int
    created_at: str
    updated_at: str
    etag: str = ""


class Comments:
    """The comments of one repository, as one identity sees and writes them."""

    def __init__(self, connection: Connection, full_name: str) -> None:
        self._connection = connection
        self._full_name = full_name
        self._root = f"/repos/{full_name}"
        self._user_id = 0

    def is_ours(self, comment: Comment) -> bool:
        """Whether our App wrote it: it and nobody through it. A token's comments are its user's."""
        if self._connection.is_separated:
            return comment.is_bot and comment.app_id == self._connection.app_id
        if not self._user_id:
            self._user_id = int(self._connection.request("GET", "/user").data["id"])
        return comment.author_id == self._user_id

    def read(self, comment_id: int, *, etag: str = "") -> Comment | None:
        """One comment; None if it is as it was when it had this etag.

        Raises: ForgeError("github.not_found") for one that is deleted.
        """
        headers = {"If-None-Match": etag} if etag else None
        answer = self._connection.request("GET", f"{self._root}/issues/comments/{comment_id}", headers=headers)
        return None if answer.status == 304 else _comment(answer.data, answer.headers.get("etag", ""))

    def find(self, pull: int, marker: str) -> Comment | None:
        """Our oldest comment on a pull request that begins with this hidden marker."""
        found = self._pages(f"{self._root}/issues/{pull}/comments", {})
        return next((one for one in found if one.body.startswith(marker) and self.is_ours(one)), None)

    def since(self, moment: datetime | None) -> Iterator[Comment]:
        """What anybody wrote or changed since then, in comments and in reviews' lines, oldest first."""
        when = {"sort": "updated", "direction": "asc"} | ({"since": f"{moment:%Y-%m-%dT%H:%M:%SZ}"} if moment else {})
        yield from self._pages(f"{self._root}/issues/comments", when)
        yield from self._pages(f"{self._root}/pulls/comments", when)

    def create(self, pull: int, marker: str, body: str) -> Comment:
        """Write a comment, unless it is there."""
        if (found := self.find(pull, marker)) is not None:
            return found
        with self._connection.talking():
            issue = self._connection.repository(self._full_name).get_issue(pull)
            return self._made(issue.create_comment(with_marker(marker, body)).id)

    def edit(self, comment_id: int, marker: str, body: str) -> Comment:
        """Write a comment of ours anew."""
        with self._connection.talking():
            found = self._connection.repository(self._full_name).get_issue(0).get_comment(comment_id)
            found.edit(with_marker(marker, body))
        return self._made(comment_id)

    def react(self, comment_id: int, reaction: Reaction) -> None:
        """Put a reaction on a comment; the same one again changes nothing."""
        with self._connection.talking():
            found = self._connection.repository(self._full_name).get_issue(0).get_comment(comment_id)
            found.create_reaction(reaction.value)

    def _made(self, comment_id: int) -> Comment:
        """As GitHub shows it now, with the etag that it is recognised by."""
        found = self.read(comment_id)
        if found is None:
            raise ForgeError("github.failed", f"comment {comment_id} was written and cannot be read")
        return found

    def _pages(self, path: str, parameters: Mapping[str, str]) -> Iterator[Comment]:
        for page in range(1, MAX_PAGES + 1):
            asked = {**parameters, "per_page": PER_PAGE, "page": page}
            found = self._connection.request("GET", path, parameters=asked).data
            yield from map(_comment, found)
            if len(found) < PER_PAGE:
                return


def with_marker(marker: str, body: str) -> str:
    """A comment's text: the marker, then what people see."""
    return f"{marker}\n{body}"[:MAX_BODY]


def notice_marker(key: str) -> str:
    """The hidden marker of one short comment."""
    return f"<!-- leoportal notice {key} -->"


def is_same_text(one: str, other: str) -> bool:
    """Whether GitHub shows the same text: it may have changed the ends of lines."""
    return one.replace("\r\n", "\n").rstrip() == other.replace("\r\n", "\n").rstrip()


def _comment(data: Mapping[str, Any], etag: str = "") -> Comment:
    user, app = data.get("user") or {}, data.get("performed_via_github_app") or {}
    place = str(data.get("issue_url") or data.get("pull_request_url") or "")
    number = place.rpartition("/")[2]
    return Comment(
        id=int(data["id"]),
        body=str(data.get("body") or ""),
        author_id=int(user.get("id") or 0),
        is_bot=user.get("type") == "Bot",
        app_id=int(app.get("id") or 0),
        pull=int(number) if number.isdecimal() else 0,
        created_at=str(data.get("created_at") or ""),
        updated_at=str(data.get("updated_at") or ""),
        etag=etag,
    )
