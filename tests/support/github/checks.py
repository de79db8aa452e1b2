"""Check suites, check runs and commit statuses, and which of them is the latest."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, App
    from tests.support.github.repositories import Repository

# "neutral" and "skipped" satisfy a required check: About status checks, "Check statuses and conclusions".
SATISFYING = {"success", "neutral", "skipped"}
CONCLUSIONS = {"success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required", "stale"}
# What a suite is said to have come to: the worst of its runs.
ORDER = ("failure", "timed_out", "cancelled", "action_required", "stale", "success", "neutral", "skipped")


@dataclass(eq=False)
class CheckSuite:
    """One App's checks on one commit."""

    repository: Repository
    id: int
    app: App
    head_sha: str
    head_branch: str | None
    before: str
    created_at: datetime
    updated_at: datetime
    rerequestable: bool = True

    @property
    def runs(self) -> list[CheckRun]:
        return [run for run in self.repository.check_runs if run.suite is self]

    @property
    def status(self) -> str:
        runs = latest(self.runs)
        if not runs:
            return "queued"
        if all(run.status == "completed" for run in runs):
            return "completed"
        return "in_progress" if any(run.status != "queued" for run in runs) else "queued"

    @property
    def conclusion(self) -> str | None:
        if self.status != "completed":
            return None
        found = {run.conclusion for run in latest(self.runs)}
        return next(one for one in ORDER if one in found)


@dataclass(eq=False)
class CheckRun:
    suite: CheckSuite
    id: int
    name: str
    head_sha: str
    status: str
    conclusion: str | None
    started_at: datetime | None
    completed_at: datetime | None
    external_id: str = ""
    details_url: str = ""
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[dict[str, Any]] = field(default_factory=list)
    actions: list[dict[str, str]] = field(default_factory=list)

    @property
    def app(self) -> App:
        return self.suite.app

    @property
    def repository(self) -> Repository:
        return self.suite.repository

    def press(self, identifier: str, by: Account) -> None:
        """A person presses one of its buttons: a check_run event with action requested_action."""
        assert identifier in {one["identifier"] for one in self.actions}, f"{self.name} has no button {identifier}"
        self.repository.github.notify.check_run(self, "requested_action", by, identifier=identifier)

    def rerequest(self, by: Account) -> None:
        """A person presses "Re-run": the App is asked to run it again; nothing else changes."""
        self.repository.github.notify.check_run(self, "rerequested", by)


@dataclass(eq=False)
class CommitStatus:
    repository: Repository
    id: int
    sha: str
    state: str
    context: str
    creator: Account
    app: App | None
    description: str | None
    target_url: str | None
    created_at: datetime


def latest(runs: list[CheckRun]) -> list[CheckRun]:
    """``filter=latest``: of each App and name the run that was made last, newest first."""
    newest: dict[tuple[int, str], CheckRun] = {}
    for run in sorted(runs, key=lambda one: one.id):
        newest[run.app.id, run.name] = run
    return sorted(newest.values(), key=lambda one: -one.id)


def runs_on(repository: Repository, sha: str) -> list[CheckRun]:
    return [run for run in repository.check_runs if run.head_sha == sha]


def statuses_on(repository: Repository, sha: str) -> list[CommitStatus]:
    """Newest first."""
    return [one for one in reversed(repository.statuses) if one.sha == sha]


def latest_statuses(repository: Repository, sha: str) -> list[CommitStatus]:
    """The newest of each context."""
    newest: dict[str, CommitStatus] = {}
    for one in statuses_on(repository, sha):
        newest.setdefault(one.context, one)
    return list(newest.values())


def suite_for(repository: Repository, app: App, sha: str, *, branch: str | None = None, before: str = "") -> CheckSuite:
    """The App's suite on a commit; made when it is not there."""
    for suite in repository.check_suites:
        if suite.app is app and suite.head_sha == sha:
            return suite
    now = repository.github.clock.now()
    if branch is None:
        heads = repository.git.refs("refs/heads/")
        branch = next((name.removeprefix("refs/heads/") for name, (at, _) in heads.items() if at == sha), None)
    number = repository.github.new_id()
    suite = CheckSuite(repository, number, app, sha, branch, before or "0" * 40, now, now)
    repository.check_suites.append(suite)
    return suite


def is_satisfied(repository: Repository, sha: str, context: str, app_id: int | None) -> bool:
    """Whether a required context has what it needs on a commit, from the App it is pinned to.

    A check run and a status of one name both count: each that is there has to be good.
    """
    runs = [run for run in latest(runs_on(repository, sha)) if run.name == context]
    if not repository.github.bare_checks_count:
        runs = [run for run in runs if run.suite.head_branch]
    if app_id is None:
        newest = [one for one in latest_statuses(repository, sha) if one.context == context]
    else:
        runs = [run for run in runs if run.app.id == app_id]
        every = [one for one in statuses_on(repository, sha) if one.context == context]
        newest = [one for one in every if one.app and one.app.id == app_id][:1]
    results = [run.conclusion in SATISFYING and run.status == "completed" for run in runs]
    results += [one.state == "success" for one in newest]
    return bool(results) and all(results)
