"""GitHub Actions: workflows as they lie in the repository, and runs that a test drives to their end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from handoffs.strict_yaml import YamlError, parse_yaml_text
from tests.support.github.accounts import GITHUB_ACTIONS, App
from tests.support.github.checks import CheckRun, CheckSuite
from tests.support.github.rules import fits

if TYPE_CHECKING:
    from tests.support.github.accounts import Account
    from tests.support.github.pulls import Pull
    from tests.support.github.repositories import Repository

FOLDER = ".github/workflows"


@dataclass(frozen=True)
class Definition:
    """A workflow file at one commit. Shape: `triggers` event to its settings, `jobs` key to (name, permissions)."""

    path: str
    name: str
    triggers: dict[str, dict[str, Any]]
    jobs: dict[str, str]
    run_name: str = ""

    def title(self, inputs: Mapping[str, Any]) -> str:
        """What a dispatched run is called: its `run-name`, with its inputs in it, or the workflow's name."""
        return (
            re.sub(r"\$\{\{ *inputs\.(\w+) *\}\}", lambda one: str(inputs.get(one[1], "")), self.run_name) or self.name
        )


@dataclass(eq=False)
class Workflow:
    repository: Repository
    id: int
    path: str
    name: str
    created_at: datetime
    state: str = "active"
    runs: int = 0


@dataclass(eq=False)
class Job:
    run: WorkflowRun
    id: int
    name: str
    check_run: CheckRun
    attempt: int


@dataclass(eq=False)
class WorkflowRun:
    """`status` queued, in_progress or completed. A re-run is the same run with the next attempt."""

    repository: Repository
    id: int
    workflow: Workflow
    event: str
    head_sha: str
    head_branch: str
    head_repository: Repository
    actor: Account
    number: int
    suite: CheckSuite
    created_at: datetime
    updated_at: datetime
    ref: str
    title: str
    pull: Pull | None = None
    attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    visible: bool = True

    @property
    def workflow_ref(self) -> str:
        return f"{self.repository.full_name}/{self.workflow.path}@{self.ref}"

    def add_job(self, name: str) -> Job:
        github = self.repository.github
        now = github.clock.now()
        check = CheckRun(self.suite, github.new_id(), name, self.head_sha, "queued", None, now, None)
        self.repository.check_runs.append(check)
        job = Job(self, check.id, name, check, self.attempt)
        self.jobs.append(job)
        github.notify.check_run(check, "created", github.actions_bot)
        github.notify.workflow_job(job, "queued", self.actor)
        return job

    def start(self) -> WorkflowRun:
        """A runner took it."""
        github = self.repository.github
        with github.lock:
            self.status, self.updated_at = "in_progress", github.clock.now()
            github.notify.workflow_run(self, "in_progress", self.actor)
            for job in self.current_jobs():
                job.check_run.status = "in_progress"
                github.notify.workflow_job(job, "in_progress", self.actor)
        return self

    def finish(self, conclusion: str = "success", *, jobs: Mapping[str, str] | None = None) -> WorkflowRun:
        """It is done. Shape: `jobs` name to conclusion, for those that differ; unknown names are added."""
        github = self.repository.github
        with github.lock:
            if self.status == "queued":
                self.start()
            for name in jobs or {}:
                if name not in {job.name for job in self.current_jobs()}:
                    self.add_job(name)
            self.status, self.conclusion, self.updated_at = "completed", conclusion, github.clock.now()
            for job in self.current_jobs():
                check = job.check_run
                check.status, check.completed_at = "completed", self.updated_at
                check.conclusion = (jobs or {}).get(job.name, conclusion)
                github.notify.workflow_job(job, "completed", self.actor)
                github.notify.check_run(check, "completed", github.actions_bot)
            github.notify.workflow_run(self, "completed", self.actor)
            github.notify.check_suite(self.suite, "completed", github.actions_bot)
            github.follow.results(self.repository, self.head_sha)
        return self

    def rerun(self) -> WorkflowRun:
        """The same run once more, on the same commit."""
        names = [job.name for job in self.current_jobs()]
        self.attempt += 1
        self.status, self.conclusion = "queued", None
        self.updated_at = self.repository.github.clock.now()
        for name in names:
            self.add_job(name)
        self.repository.github.notify.workflow_run(self, "requested", self.actor)
        return self

    def cancel(self) -> None:
        self.finish("cancelled")

    def current_jobs(self) -> list[Job]:
        return [job for job in self.jobs if job.attempt == self.attempt]

    def token(self, **permissions: str) -> str:
        """Its GITHUB_TOKEN; what is not named it does not have (contents: read when nothing is)."""
        return self.repository.actions_token(**(permissions or {"contents": "read"}))

    def id_token(self, audience: str, **claims: Any) -> str:
        """An OIDC token as a job with ``id-token: write`` gets it; `claims` overrides, to forge."""
        return self.repository.github.oidc.token_for(self, audience, **claims)


def definitions(repository: Repository, sha: str) -> list[Definition]:
    """Every workflow file at a commit that can be read; a broken one never runs."""
    git = repository.git
    folder = git.resolve(f"{sha}:{FOLDER}", "tree") if sha else ""
    names = [name for _, of, _, name, _ in git.tree(folder) if of == "blob"] if folder else []
    found = [
        definition(f"{FOLDER}/{name}", git.read(sha, f"{FOLDER}/{name}") or b"")
        for name in names
        if name.endswith((".yml", ".yaml"))
    ]
    return [one for one in found if one]


def definition(path: str, raw: bytes) -> Definition | None:
    try:
        tree = parse_yaml_text(raw, max_bytes=1_000_000)
    except YamlError:
        return None
    if not isinstance(tree, dict):
        return None
    on, jobs = tree.get("on", {}), tree.get("jobs", {})
    if isinstance(on, str):
        on = {str(on): {}}
    elif isinstance(on, list):
        on = {str(one): {} for one in on}
    triggers = {name: value if isinstance(value, dict) else {} for name, value in on.items()}
    names = {
        key: str(job.get("name", key)) if isinstance(job, dict) else key
        for key, job in (jobs.items() if isinstance(jobs, dict) else ())
    }
    return Definition(path, str(tree.get("name") or path), triggers, names, str(tree.get("run-name") or ""))


def workflow_at(repository: Repository, path: str, name: str) -> Workflow:
    for one in repository.workflows:
        if one.path == path:
            one.name = name
            return one
    one = Workflow(repository, repository.github.new_id(), path, name, repository.github.clock.now())
    repository.workflows.append(one)
    return one


def is_wanted(event: str, settings: dict[str, Any], branch: str) -> bool:
    """Whether the filters of a trigger let an event on this branch through."""
    wanted, ignored = settings.get("branches"), settings.get("branches-ignore")
    if isinstance(wanted, list) and not any(fits(str(one), branch, "") for one in wanted):
        return False
    return not (isinstance(ignored, list) and any(fits(str(one), branch, "") for one in ignored))


def start_workflows(
    repository: Repository, event: str, sha: str, branch: str, sender: Account, pull: Pull | None = None
) -> list[WorkflowRun]:
    """The runs an event starts, of the files at the commit it is about."""
    if not repository.actions_permissions["enabled"]:
        return []
    started = []
    for one in definitions(repository, sha):
        target = pull.base if pull else branch.split("/")[1] if event == "merge_group" else branch
        if event in one.triggers and is_wanted(event, one.triggers[event], target):
            workflow = workflow_at(repository, one.path, one.name)
            if workflow.state == "active":
                ref = f"refs/pull/{pull.number}/merge" if pull else f"refs/heads/{branch}"
                started.append(start_run(workflow, one, event, sha, branch, sender, ref=ref, pull=pull))
    return started


def start_run(
    workflow: Workflow,
    of: Definition,
    event: str,
    sha: str,
    branch: str,
    sender: Account,
    *,
    ref: str,
    pull: Pull | None = None,
    inputs: dict[str, Any] | None = None,
    visible: bool = True,
) -> WorkflowRun:
    repository = workflow.repository
    github, app = repository.github, actions_app(repository)
    now = github.clock.now()
    suite = CheckSuite(repository, github.new_id(), app, sha, branch, "0" * 40, now, now)
    repository.check_suites.append(suite)
    workflow.runs += 1
    title = (
        pull.title
        if pull
        else of.title(inputs or {})
        if event == "workflow_dispatch"
        else repository.git.commit(sha).message.split("\n")[0]
    )
    head = (pull.head_repository if pull else None) or repository
    run = WorkflowRun(
        repository, github.new_id(), workflow, event, sha, branch, head, sender, workflow.runs, suite, now, now, ref, title,
        pull=pull, inputs=inputs or {}, visible=visible,
    )  # fmt: skip
    repository.runs.append(run)
    if visible:
        appear(run, of.jobs)
    else:
        github.hidden_runs.append((run, of.jobs))
    return run


def appear(run: WorkflowRun, jobs: Mapping[str, str]) -> None:
    run.visible = True
    run.repository.github.notify.workflow_run(run, "requested", run.actor)
    for name in jobs.values():
        run.add_job(name)


def actions_app(repository: Repository) -> App:
    return next(one for one in repository.github.apps if one.id == GITHUB_ACTIONS)
