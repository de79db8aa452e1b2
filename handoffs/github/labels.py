"""Labels of open pull requests, and who put them on or took them off.

Source: GitHub REST API, "Labels", "Issue events", "List pull requests".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection

PER_PAGE: Final = 100
MAX_PAGES: Final = 30
_CHANGES: Final = frozenset({"labeled", "unlabeled"})


@dataclass(frozen=True)
class PullFacts:
    """What GitHub shows of one pull request, as far as people can write it."""

    number: int
    author_id: int
    title: str
    body: str
    labels: tuple[str, ...]
    head_ref: str
    updated_at: str


@dataclass(frozen=True)
class LabelChange:
    """One label put on or taken off."""

    event_id: int
    label: str
    actor_id: int


class Labels:
    """The labels of one repository's pull requests."""

    def __init__(self, connection: Connection, full_name: str) -> None:
        self._connection = connection
        self._full_name = full_name
        self._root = f"/repos/{full_name}"

    def open_pulls(self) -> Iterator[PullFacts]:
        """Every open pull request."""
        for data in self._pages(f"{self._root}/pulls", {"state": "open"}):
            yield _facts(data)

    def pull(self, number: int) -> PullFacts:
        """One pull request, open or not."""
        return _facts(self._connection.request("GET", f"{self._root}/pulls/{number}").data)

    def reviews(self, number: int) -> Iterator[tuple[int, int, str]]:
        """The reviews of a pull request: number, author, text."""
        for data in self._pages(f"{self._root}/pulls/{number}/reviews", {}):
            yield int(data["id"]), int((data.get("user") or {}).get("id") or 0), str(data.get("body") or "")

    def last_changes(self, number: int) -> dict[str, LabelChange]:
        """Of each label, by its name in lower case, what happened to it last."""
        found: dict[str, LabelChange] = {}
        for data in self._pages(f"{self._root}/issues/{number}/events", {}):
            if data.get("event") in _CHANGES:
                label = str((data.get("label") or {}).get("name", ""))
                actor = int((data.get("actor") or {}).get("id") or 0)
                found[label.lower()] = LabelChange(int(data["id"]), label, actor)
        return found

    def change(self, number: int, *, add: Collection[str], remove: Collection[str]) -> None:
        """Put labels on and take labels off, and leave all others alone. One that is gone already is no error."""
        issue = self._connection.repository(self._full_name).get_issue(number)
        if add:
            with self._connection.talking():
                issue.add_to_labels(*sorted(add))
        for label in sorted(remove):
            try:
                with self._connection.talking():
                    issue.remove_from_labels(label)
            except ForgeError as error:
                if error.code != "github.not_found":
                    raise

    def _pages(self, path: str, parameters: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        for page in range(1, MAX_PAGES + 1):
            asked = {**parameters, "per_page": PER_PAGE, "page": page}
            found = self._connection.request("GET", path, parameters=asked).data
            yield from found
            if len(found) < PER_PAGE:
                return


def _facts(data: Mapping[str, Any]) -> PullFacts:
    return PullFacts(
        number=int(data["number"]),
        author_id=int((data.get("user") or {}).get("id") or 0),
        title=str(data.get("title") or ""),
        body=str(data.get("body") or ""),
        labels=tuple(str(label["name"]) for label in data.get("labels", ())),
        head_ref=str((data.get("head") or {}).get("ref", "")),
        updated_at=str(data.get("updated_at") or ""),
    )
