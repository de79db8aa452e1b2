"""Workflow runs and their jobs."""

from __future__ import annotations

from typing import Any

from tests.support.github import show_checks
from tests.support.github.api_actions import HOME, one_workflow
from tests.support.github.exchange import Answer, Call, Page, Refusal, not_found
from tests.support.github.routing import route
from tests.support.github.runs import WorkflowRun
from tests.support.github.show import stamp

RUN = f"{HOME}/runs/{{run_id}}"


def one_run(call: Call) -> WorkflowRun:
    number = call.number("run_id")
    for run in call.repository.runs:
        if run.id == number and run.visible:
            return run
    raise not_found()


def chosen(call: Call, runs: list[WorkflowRun]) -> Page:
    """Newest first. `status` is a status or a conclusion."""
    asked = call.query
    found = [run for run in reversed(runs) if run.visible]
    for name, of in (("event", "event"), ("head_sha", "head_sha"), ("branch", "head_branch")):
        if name in asked:
            found = [run for run in found if getattr(run, of) == asked[name]]
    if "actor" in asked:
        found = [run for run in found if run.actor.login == asked["actor"]]
    if "status" in asked:
        found = [run for run in found if asked["status"] in {run.status, run.conclusion}]
    if "check_suite_id" in asked:
        found = [run for run in found if str(run.suite.id) == asked["check_suite_id"]]
    if created := asked.get("created"):
        found = [run for run in found if is_within(stamp(run.created_at), created)]
    return Page(found, show_checks.workflow_run, "workflow_runs")


def is_within(when: str, asked: str) -> bool:
    """Shape: >=T, >T, <=T, <T, T..T, or the beginning of one moment."""
    if ".." in asked:
        start, _, end = asked.partition("..")
        return (start == "*" or when >= start) and (end == "*" or when <= end)
    for sign, holds in ((">=", when.__ge__), ("<=", when.__le__), (">", when.__gt__), ("<", when.__lt__)):
        if asked.startswith(sign):
            return bool(holds(asked.removeprefix(sign)))
    return when.startswith(asked)


@route("GET", f"{HOME}/runs", "actions:read")
def list_runs(call: Call) -> Any:
    return chosen(call, call.repository.runs)


@route("GET", f"{HOME}/workflows/{{workflow_id}}/runs", "actions:read")
def list_runs_of(call: Call) -> Any:
    workflow = one_workflow(call)
    return chosen(call, [run for run in call.repository.runs if run.workflow is workflow])


@route("GET", RUN, "actions:read")
def get_run(call: Call) -> Any:
    return show_checks.workflow_run(one_run(call))


@route("GET", f"{RUN}/attempts/{{attempt_number}}", "actions:read")
def get_attempt(call: Call) -> Any:
    """Only the newest attempt still has its own state here."""
    run, number = one_run(call), call.number("attempt_number")
    if not 1 <= number <= run.attempt:
        raise not_found()
    shown = show_checks.workflow_run(run) | {"run_attempt": number}
    earlier = [job.check_run.conclusion for job in run.jobs if job.attempt == number]
    if number < run.attempt:
        shown |= {"status": "completed", "conclusion": next((one for one in earlier if one != "success"), "success")}
    return shown


@route("GET", f"{RUN}/jobs", "actions:read")
def list_jobs(call: Call) -> Any:
    run = one_run(call)
    every = call.query.get("filter", "latest") == "all"
    return Page(run.jobs if every else run.current_jobs(), show_checks.job, "jobs")


@route("GET", f"{RUN}/attempts/{{attempt_number}}/jobs", "actions:read")
def list_jobs_of_attempt(call: Call) -> Any:
    run, number = one_run(call), call.number("attempt_number")
    return Page([job for job in run.jobs if job.attempt == number], show_checks.job, "jobs")


@route("GET", f"{HOME}/jobs/{{job_id}}", "actions:read")
def get_job(call: Call) -> Any:
    number = call.number("job_id")
    for run in call.repository.runs:
        for job in run.jobs:
            if job.id == number and run.visible:
                return show_checks.job(job)
    raise not_found()


@route("GET", f"{RUN}/artifacts", "actions:read")
def list_artifacts(call: Call) -> Any:
    """No run leaves any here."""
    one_run(call)
    return Page([], lambda one: one, "artifacts")


@route("POST", f"{RUN}/rerun", "actions:write")
def rerun(call: Call) -> Any:
    run = one_run(call)
    if run.status != "completed":
        raise Refusal(403, "This workflow run cannot be rerun because it is not completed")
    run.rerun()
    return Answer(201, {})


@route("POST", f"{RUN}/rerun-failed-jobs", "actions:write")
def rerun_failed(call: Call) -> Any:
    return rerun(call)


@route("POST", f"{RUN}/cancel", "actions:write")
def cancel(call: Call) -> Any:
    run = one_run(call)
    if run.status == "completed":
        raise Refusal(409, "Cannot cancel a workflow run that is completed.")
    run.cancel()
    return Answer(202, {})
