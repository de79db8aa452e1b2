"""Check runs of leo-gate: found, made once, written again in place, taken back.

Source: GitHub REST API, "Check runs" and "Pulls"; its limits of 50 annotations a request and three buttons.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from github.GithubObject import NotSet

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import PER_PAGE, Connection

ANNOTATIONS: Final = 50  # the most of one request
SUMMARY: Final = 60_000  # characters; GitHub takes 65,535 bytes
LABEL, DESCRIPTION, IDENTIFIER = 20, 40, 20


@dataclass(frozen=True)
class Annotation:
    """A remark on one line. `level` is notice, warning or failure."""

    path: str
    line: int
    level: str
    title: str
    message: str


@dataclass(frozen=True)
class Button:
    """Something that may be asked for. GitHub's limits: 20, 40 and 20 characters."""

    label: str
    description: str
    identifier: str

    def __post_init__(self) -> None:
        """Refuse what GitHub would."""
        for text, most in ((self.label, LABEL), (self.description, DESCRIPTION), (self.identifier, IDENTIFIER)):
            if not 0 < len(text) <= most:
                raise ValueError(f"got {text!r}, expected 1 to {most} characters")


@dataclass(frozen=True)
class CheckRun:
    """What a check run says. `external_id` is ours: by it a run is found again before it is made again."""

    context: str
    head_sha: str
    external_id: str
    details_url: str
    status: str
    conclusion: str
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True)
class FoundRun:
    """A check run, or a status, of ours that is there. `annotated` is how many annotations it has."""

    number: int
    context: str
    external_id: str
    status: str
    conclusion: str
    title: str
    annotated: int
    head_sha: str = ""


@dataclass(frozen=True)
class RemotePull:
    """A pull request as GitHub has it now."""

    number: int
    head_sha: str
    base_ref: str
    is_open: bool
    is_merged: bool


class Target(ABC):
    """Where it is shown what a commit's checks say. Every method asks GitHub; nothing is kept.

    `is_ours_alone`: nobody else can write what is shown, so that our rows say whether it still stands.
    Raises: ForgeError from each.
    """

    is_ours_alone: ClassVar[bool]

    def __init__(self, connection: Connection, full_name: str) -> None:
        self._connection, self._full_name = connection, full_name

    @abstractmethod
    def runs_on(self, sha: str) -> Mapping[str, FoundRun]:
        """The newest one of each name on a commit that counts for what we show there."""

    @abstractmethod
    def shows(self, run: CheckRun, found: FoundRun) -> bool:
        """Whether what is there says what this run says."""

    @abstractmethod
    def make(self, run: CheckRun) -> FoundRun:
        """Make one that waits. What satisfies GitHub is never made, only written into one that is known.

        Raises: ForgeError; ValueError for a success.
        """

    @abstractmethod
    def write(self, run: CheckRun, found: FoundRun) -> FoundRun:
        """Say it where something is said already."""

    @abstractmethod
    def withdraw(self, found: FoundRun, title: str, summary: str) -> None:
        """Take a success back, with as little as it takes."""

    @property
    def has_to_spare(self) -> bool:
        """Whether half of the hour's requests is left, by the last answer."""
        budget = self._connection.budget
        return budget.remaining * 2 >= budget.limit

    def open_pulls(self) -> tuple[RemotePull, ...]:
        """Every open pull request, forks' too."""
        with self._connection.talking():
            found = self._connection.repository(self._full_name).get_pulls(state="open")
            return tuple(
                RemotePull(pull.number, pull.head.sha, pull.base.ref, is_open=True, is_merged=False) for pull in found
            )

    def pull(self, number: int) -> RemotePull:
        """One pull request, asked for again."""
        answer = self._connection.request("GET", f"/repos/{self._full_name}/pulls/{number}")
        data = answer.data
        return RemotePull(
            int(data["number"]),
            str(data["head"]["sha"]),
            str(data["base"]["ref"]),
            is_open=data["state"] == "open",
            is_merged=data["merged"] is True,
        )


class Checks(Target):
    """The check runs of one App in one repository."""

    is_ours_alone = True

    @property
    def app_id(self) -> int:
        """The App that writes here."""
        return self._connection.app_id

    def runs_on(self, sha: str) -> Mapping[str, FoundRun]:
        """The newest run of each name that this App made on a commit."""
        path = f"/repos/{self._full_name}/commits/{sha}/check-runs"
        parameters = {"app_id": self.app_id, "filter": "latest", "per_page": PER_PAGE}
        rows = self._connection.request("GET", path, parameters=parameters).data["check_runs"]
        return {row["name"]: _found(row) for row in rows if row["app"]["id"] == self.app_id}

    def shows(self, run: CheckRun, found: FoundRun) -> bool:
        """Whether state and title are the same."""
        return (found.status, found.conclusion, found.title) == (run.status, run.conclusion, run.title)

    def make(self, run: CheckRun) -> FoundRun:
        """Make a check run."""
        refuse_new_success(run)
        first = run.annotations[:ANNOTATIONS]
        with self._connection.talking():
            made = self._connection.repository(self._full_name).create_check_run(
                head_sha=run.head_sha, name=run.context, **_said(run, first)
            )
        return _said_in(made.id, run, len(first))

    def write(self, run: CheckRun, found: FoundRun) -> FoundRun:
        """Say it in the run that is there. More than 50 annotations go in batches, and the state with the last one.

        Annotations only grow: GitHub takes none away, so those that it has already are not sent again.
        """
        rest = run.annotations[found.annotated :]
        while len(rest) > ANNOTATIONS:
            self._edit(found, output=_output(run, rest[:ANNOTATIONS]))
            rest = rest[ANNOTATIONS:]
        self._edit(found, **_said(run, rest))
        return _said_in(found.number, run, max(found.annotated, len(run.annotations)))

    def withdraw(self, found: FoundRun, title: str, summary: str) -> None:
        """Take a success back, with as little as it takes."""
        self._edit(found, conclusion="failure", output={"title": title, "summary": summary})

    def _edit(self, found: FoundRun, **said: Any) -> None:
        with self._connection.talking():
            self._connection.repository(self._full_name).get_check_run(found.number).edit(**said)


def refuse_new_success(run: CheckRun) -> None:
    """What satisfies GitHub is only written where something is known to stand: an error in between could not undo it.

    Raises: ValueError.
    """
    if run.conclusion in {"success", "neutral", "skipped"}:
        raise ValueError(f"got a new check run with the conclusion {run.conclusion}, expected one that waits")


def refuse_other_app(checks: Checks, expected: int) -> None:
    """The rule set pins one App's number: what another App says blocks nothing, and nobody would notice.

    Raises: ForgeError("github.other_app").
    """
    if checks.app_id != expected:
        detail = (
            f"got the key of App {checks.app_id}, expected that of {expected}, which the repository was enrolled with"
        )
        raise ForgeError("github.other_app", detail)


def _said_in(number: int, run: CheckRun, annotated: int) -> FoundRun:
    parts = (number, run.context, run.external_id, run.status, run.conclusion, run.title, annotated, run.head_sha)
    return FoundRun(*parts)


def _said(run: CheckRun, annotations: Sequence[Annotation]) -> dict[str, Any]:
    state = {"conclusion": run.conclusion} if run.conclusion else {"status": run.status}
    return {
        "external_id": run.external_id,
        "details_url": run.details_url or NotSet,
        "output": _output(run, annotations),
        "actions": [
            {"label": one.label, "description": one.description, "identifier": one.identifier} for one in run.buttons
        ],
        **state,
    }


def _output(run: CheckRun, annotations: Sequence[Annotation]) -> dict[str, Any]:
    rows = [
        {
            "path": one.path,
            "start_line": one.line,
            "end_line": one.line,
            "annotation_level": one.level,
            "title": one.title,
            "message": one.message,
        }
        for one in annotations
    ]
    output = {"title": run.title, "summary": run.summary[:SUMMARY]}
    return output | ({"annotations": rows} if rows else {})


def _found(row: Mapping[str, Any]) -> FoundRun:
    return FoundRun(
        int(row["id"]),
        str(row["name"]),
        str(row["external_id"] or ""),
        str(row["status"]),
        str(row["conclusion"] or ""),
        str(row["output"]["title"] or ""),
        int(row["output"]["annotations_count"]),
        str(row["head_sha"]),
    )
