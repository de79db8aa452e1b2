"""Commit statuses of a token: what a repository that is tried out shows in place of leo-gate's check runs.

GitHub takes check runs from Apps alone. Anybody who may push can write a status of any name, so these prove nothing and
no rule requires them: each stands below `contexts.TRIAL` and says so.
Source: GitHub REST API, "Commit statuses": newest first, descriptions of at most 140 characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, override

from handoffs.github.check_runs import CheckRun, FoundRun, Target, refuse_new_success
from handoffs.github.connection import PER_PAGE
from handoffs.github.contexts import NOT_SEPARATED

DESCRIPTION: Final = 140
MOST_PAGES: Final = 10


class Statuses(Target):
    """The commit statuses of one repository. Each is written anew, none is ever changed."""

    is_ours_alone = False

    def runs_on(self, sha: str) -> Mapping[str, FoundRun]:
        """The newest status of each name on a commit, whoever wrote it: over one that says otherwise goes ours."""
        newest: dict[str, Mapping[str, Any]] = {}
        path = f"/repos/{self._full_name}/commits/{sha}/statuses"
        for page in range(1, MOST_PAGES + 1):
            rows = self._connection.request("GET", path, parameters={"per_page": PER_PAGE, "page": page}).data
            for row in rows:
                newest.setdefault(str(row["context"]), row)
            if len(rows) < PER_PAGE:
                break
        return {name: _found(row, sha) for name, row in newest.items()}

    def shows(self, run: CheckRun, found: FoundRun) -> bool:
        """Whether state and description are the same; more GitHub does not keep."""
        return (found.status, found.title) == (_state(run), _description(run.title))

    def make(self, run: CheckRun) -> FoundRun:
        """Write the first status of this name."""
        refuse_new_success(run)
        return self._write(run)

    @override
    def write(self, run: CheckRun, found: FoundRun) -> FoundRun:
        """Write it over what is there."""
        return self._write(run)

    @override
    def withdraw(self, found: FoundRun, title: str, summary: str) -> None:
        """Write a failure over it."""
        self._post(found.head_sha, {"context": found.context, "state": "failure", "description": _description(title)})

    def _write(self, run: CheckRun) -> FoundRun:
        said = {"context": run.context, "state": _state(run), "description": _description(run.title)}
        made = self._post(run.head_sha, said | ({"target_url": run.details_url} if run.details_url else {}))
        return _found(made, run.head_sha, annotated=len(run.annotations))

    def _post(self, sha: str, said: Mapping[str, str]) -> Mapping[str, Any]:
        made: Mapping[str, Any] = self._connection.request(
            "POST", f"/repos/{self._full_name}/statuses/{sha}", said
        ).data
        return made


def _state(run: CheckRun) -> str:
    """Green is an explicit success alone; what LEAD accepted is not, and statuses know no neutral."""
    if run.status != "completed" or run.conclusion == "action_required":
        return "pending"
    return "success" if run.conclusion == "success" else "failure"


def _description(title: str) -> str:
    return f"{NOT_SEPARATED} · {title}"[:DESCRIPTION]


def _found(row: Mapping[str, Any], sha: str, *, annotated: int = 0) -> FoundRun:
    said = str(row["state"])
    conclusion = said if said in {"success", "failure"} else ""
    return FoundRun(
        int(row["id"]), str(row["context"]), "", said, conclusion, str(row["description"] or ""), annotated, sha
    )
