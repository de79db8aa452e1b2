"""Workflow runs at GitHub: asking for one, and recognising the one that came of it.

GitHub shows no inputs of a run. Each workflow of ours has its input in its `run-name`, so a run says in its title which
intent it came of; what it says of itself is compared with what was asked for.
Source: GitHub REST API, "Workflow runs" and "Create a workflow dispatch event".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection

EVENT: Final = "workflow_dispatch"


@dataclass(frozen=True)
class RunFacts:
    """A run as GitHub shows it. Shape: `conclusion` empty until it is completed."""

    number: int
    attempt: int
    title: str
    path: str
    event: str
    head_sha: str
    repository: int
    head_repository: int
    status: str
    conclusion: str


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    intent: str
    path: str
    head_sha: str
    repository: int


def dispatch(connection: Connection, full_name: str, path: str, *, ref: str, intent: str) -> None:
    """Ask for a run on a branch. Look for it first: GitHub makes another one each time.

    Raises: ForgeError("github.not_found") without such a workflow on the default branch; ("github.refused").
    """
    file = path.rpartition("/")[2]
    body = {"ref": ref, "inputs": {"intent": intent}}
    connection.request("POST", f"/repos/{full_name}/actions/workflows/{file}/dispatches", body)


def runs_on(connection: Connection, full_name: str, head_sha: str) -> list[RunFacts]:
    """The runs that were asked for on a commit, the newest first, at most a hundred.

    Raises: ForgeError.
    """
    wanted = {"head_sha": head_sha, "event": EVENT, "per_page": 100}
    answer = connection.request("GET", f"/repos/{full_name}/actions/runs", parameters=wanted)
    return [_facts(raw) for raw in answer.data["workflow_runs"]]


def run_again(connection: Connection, full_name: str, number: int) -> bool:
    """Have a run that ended run once more. False if it is running, asked for by us or by somebody else.

    Raises: ForgeError.
    """
    path = f"/repos/{full_name}/actions/runs/{number}"
    if _facts(connection.request("GET", path).data).status != "completed":
        return False
    connection.request("POST", f"{path}/rerun")
    return True


def _facts(raw: dict[str, Any]) -> RunFacts:
    try:
        return RunFacts(
            number=int(raw["id"]),
            attempt=int(raw.get("run_attempt") or 1),
            title=str(raw["display_title"]),
            # "octocat/octo-repo/.github/workflows/ci.yml@main" or ".github/workflows/ci.yml"
            path=str(raw["path"]).partition("@")[0],
            event=str(raw["event"]),
            head_sha=str(raw["head_sha"]),
            repository=int(raw["repository"]["id"]),
            head_repository=int((raw.get("head_repository") or {}).get("id", 0)),
            status=str(raw["status"] or ""),
            conclusion=str(raw["conclusion"] or ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ForgeError("github.unreadable", f"got a run that cannot be read ({type(error).__name__})") from None


def run_of(asked: Asked, runs: Sequence[RunFacts]) -> RunFacts | None:
    """The run that says it came of this intent; the one asked for, if there are several that say so.

    The intent is the title's last word, so that no run says it came of two.
    """
    found = [run for run in runs if run.title.split()[-1:] == [asked.intent]]
    return min(found, key=lambda run: (bool(problem_of(asked, run)), run.number), default=None)


def problem_of(asked: Asked, run: RunFacts) -> str:
    """The code of why a run is not the one that was asked for; empty if it is.

    Not checked: what the workflow's file holds; that is compared with the protected branch's, in the mirror.
    """
    if {run.repository, run.head_repository} != {asked.repository}:
        return "run.repository"
    if run.head_sha != asked.head_sha:
        return "run.head"
    if run.event != EVENT:
        return "run.event"
    if run.path != asked.path and not run.path.endswith(f"/{asked.path}"):
        return "workflow_ref.mismatch"
    return ""
