"""How GitHub writes suites, check runs, statuses, workflow runs and jobs in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.github.checks import CheckRun, CheckSuite, CommitStatus, latest
from tests.support.github.show import Json, app, minimal_repository, node, stamp, stamp_or_none, user
from tests.support.github.show_git import simple_commit
from tests.support.github.show_pulls import minimal_pull

if TYPE_CHECKING:
    from tests.support.github.repositories import Repository
    from tests.support.github.runs import Job, Workflow, WorkflowRun


def pulls_at(repository: Repository, sha: str) -> list[Json]:
    """The open pull requests of this repository whose head this is; those of forks are left out."""
    return [
        minimal_pull(one)
        for one in repository.pulls.values()
        if one.head_sha == sha and one.state == "open" and one.head_repository is repository
    ]


def check_run(one: CheckRun) -> Json:
    url = f"{one.repository.url}/check-runs/{one.id}"
    html = f"{one.repository.html_url}/runs/{one.id}"
    return {
        "id": one.id, "head_sha": one.head_sha, "node_id": node("CheckRun", one.id), "external_id": one.external_id,
        "url": url, "html_url": html, "details_url": one.details_url or one.app.external_url, "status": one.status,
        "conclusion": one.conclusion, "started_at": stamp_or_none(one.started_at),
        "completed_at": stamp_or_none(one.completed_at),
        "output": {
            "title": one.title, "summary": one.summary, "text": one.text, "annotations_count": len(one.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "name": one.name, "check_suite": {"id": one.suite.id}, "app": app(one.app),
        "pull_requests": pulls_at(one.repository, one.head_sha),
    }  # fmt: skip


def check_suite(one: CheckSuite) -> Json:
    url = f"{one.repository.url}/check-suites/{one.id}"
    return {
        "id": one.id, "node_id": node("CheckSuite", one.id), "head_branch": one.head_branch, "head_sha": one.head_sha,
        "status": one.status, "conclusion": one.conclusion, "url": url, "before": one.before, "after": one.head_sha,
        "pull_requests": pulls_at(one.repository, one.head_sha), "app": app(one.app),
        "created_at": stamp(one.created_at), "updated_at": stamp(one.updated_at),
        "rerequestable": one.rerequestable, "runs_rerequestable": True,
        "latest_check_runs_count": len(latest(one.runs)), "check_runs_url": f"{url}/check-runs",
        "head_commit": simple_commit(one.repository, one.head_sha), "repository": minimal_repository(one.repository),
    }  # fmt: skip


def status(one: CommitStatus) -> Json:
    return simple_status(one) | {"creator": user(one.creator)}


def simple_status(one: CommitStatus) -> Json:
    """As the combined status carries it."""
    return {
        "url": f"{one.repository.url}/statuses/{one.sha}",
        "avatar_url": f"{one.repository.github.url}/avatars/u/{one.creator.id}", "id": one.id,
        "node_id": node("StatusContext", one.id), "state": one.state, "description": one.description,
        "target_url": one.target_url, "context": one.context, "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
    }  # fmt: skip


def workflow(one: Workflow) -> Json:
    home = one.repository
    return {
        "id": one.id, "node_id": node("Workflow", one.id), "name": one.name, "path": one.path, "state": one.state,
        "created_at": stamp(one.created_at), "updated_at": stamp(one.created_at),
        "url": f"{home.url}/actions/workflows/{one.id}",
        "html_url": f"{home.html_url}/blob/{home.default_branch}/{one.path}",
        "badge_url": f"{home.html_url}/workflows/{one.id}/badge.svg",
    }  # fmt: skip


def workflow_run(one: WorkflowRun) -> Json:
    home, url = one.repository, f"{one.repository.url}/actions/runs/{one.id}"
    suite = f"{home.url}/check-suites/{one.suite.id}"
    return {
        "id": one.id, "name": one.workflow.name, "node_id": node("WorkflowRun", one.id), "head_branch": one.head_branch,
        "head_sha": one.head_sha, "path": one.workflow.path, "display_title": one.title, "run_number": one.number,
        "event": one.event, "status": one.status, "conclusion": one.conclusion, "workflow_id": one.workflow.id,
        "check_suite_id": one.suite.id, "check_suite_node_id": node("CheckSuite", one.suite.id), "url": url,
        "html_url": f"{home.html_url}/actions/runs/{one.id}", "pull_requests": pulls_at(home, one.head_sha),
        "created_at": stamp(one.created_at), "updated_at": stamp(one.updated_at), "actor": user(one.actor),
        "run_attempt": one.attempt, "referenced_workflows": [], "run_started_at": stamp(one.created_at),
        "triggering_actor": user(one.actor), "jobs_url": f"{url}/jobs", "logs_url": f"{url}/logs",
        "check_suite_url": suite, "artifacts_url": f"{url}/artifacts", "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": f"{url}/attempts/{one.attempt - 1}" if one.attempt > 1 else None,
        "workflow_url": f"{home.url}/actions/workflows/{one.workflow.id}",
        "head_commit": simple_commit(one.head_repository, one.head_sha), "repository": minimal_repository(home),
        "head_repository": minimal_repository(one.head_repository),
    }  # fmt: skip


def job(one: Job) -> Json:
    check, home = one.check_run, one.run.repository
    is_taken = check.status != "queued"
    return {
        "id": one.id, "run_id": one.run.id, "workflow_name": one.run.workflow.name, "head_branch": one.run.head_branch,
        "run_url": f"{home.url}/actions/runs/{one.run.id}", "run_attempt": one.attempt,
        "node_id": node("CheckRun", one.id), "head_sha": one.run.head_sha, "url": f"{home.url}/actions/jobs/{one.id}",
        "html_url": f"{home.html_url}/actions/runs/{one.run.id}/job/{one.id}", "status": check.status,
        "conclusion": check.conclusion, "created_at": stamp(one.run.created_at),
        "started_at": stamp(check.started_at or one.run.created_at), "completed_at": stamp_or_none(check.completed_at),
        "name": one.name, "steps": [], "check_run_url": f"{home.url}/check-runs/{check.id}",
        "labels": ["ubuntu-latest"], "runner_id": 1 if is_taken else None,
        "runner_name": "GitHub Actions 1" if is_taken else None, "runner_group_id": 1 if is_taken else None,
        "runner_group_name": "GitHub Actions" if is_taken else None,
    }  # fmt: skip
