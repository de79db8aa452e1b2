"""Check runs and suites: written by Apps only, each its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.github import show_checks
from tests.support.github.checks import CONCLUSIONS, CheckRun, CheckSuite, latest, runs_on, suite_for
from tests.support.github.exchange import Answer, Call, Page, Refusal, invalid, not_found
from tests.support.github.routing import route

STATUSES = {"queued", "in_progress", "completed"}
BUTTON = {"label": 20, "description": 40, "identifier": 20}


def one_run(call: Call) -> CheckRun:
    number = call.number("check_run_id")
    for run in call.repository.check_runs:
        if run.id == number:
            return run
    raise not_found()


def one_suite(call: Call) -> CheckSuite:
    number = call.number("check_suite_id")
    for suite in call.repository.check_suites:
        if suite.id == number:
            return suite
    raise not_found()


def moment(call: Call, name: str, otherwise: datetime | None) -> datetime | None:
    given = call.body.get(name)
    return datetime.fromisoformat(given).astimezone(UTC) if given else otherwise


def apply(call: Call, run: CheckRun) -> None:
    """What create and update have in common. Raises: Refusal 422."""
    body, now = call.body, call.github.clock.now()
    status, conclusion = body.get("status"), body.get("conclusion")
    if conclusion is not None and conclusion not in CONCLUSIONS - {"stale"}:
        raise invalid(f"Invalid request.\n\n{conclusion} is not a member of the conclusions.")
    if status is not None and status not in STATUSES:
        raise invalid(f"Invalid request.\n\n{status} is not a member of the statuses.")
    if status == "completed" and conclusion is None:
        raise invalid('Invalid request.\n\nMissing required key "conclusion" when status is completed.')
    if conclusion:
        run.status, run.conclusion = "completed", conclusion
        run.completed_at = moment(call, "completed_at", now)
    elif status:
        run.status, run.conclusion, run.completed_at = status, None, None
    run.started_at = moment(call, "started_at", run.started_at or now)
    run.external_id = body.get("external_id", run.external_id)
    run.details_url = body.get("details_url", run.details_url)
    if (output := body.get("output")) is not None:
        put_output(run, output)
    if "actions" in body:
        run.actions = buttons(body["actions"])


def put_output(run: CheckRun, output: dict[str, Any]) -> None:
    added = output.get("annotations", [])
    if len(added) > 50:
        raise invalid("Invalid request.\n\nNo more than 50 annotations are allowed in one request.")
    for name in ("summary", "text"):
        if len((output.get(name) or "").encode()) > 65535:
            raise invalid(f"Invalid request.\n\n{name} exceeds 65535 characters")
    if "summary" not in output:
        raise invalid('Invalid request.\n\n"summary" wasn\'t supplied.')
    run.title = output.get("title", run.title)
    run.summary, run.text = output["summary"], output.get("text", run.text)
    run.annotations += added


def buttons(given: list[dict[str, str]]) -> list[dict[str, str]]:
    if len(given) > 3:
        raise invalid("Invalid request.\n\nNo more than 3 actions are allowed.")
    for one in given:
        for name, most in BUTTON.items():
            if not 0 < len(one.get(name, "")) <= most:
                raise invalid(f"Invalid request.\n\nactions: {name} has 1 to {most} characters.")
    return given


@route("POST", "/repos/{owner}/{repo}/check-runs", "checks:write", role="pull", app_only=True)
def create_check_run(call: Call) -> Any:
    one, app = call.repository, call.actor.acting_app
    assert app is not None
    name, sha = call.wanted("name"), call.wanted("head_sha")
    if one.git.resolve(sha) != sha:
        raise invalid(f"No commit found for SHA: {sha}")
    suite = suite_for(one, app, sha)
    run = CheckRun(suite, call.github.new_id(), name, sha, "queued", None, None, None)
    apply(call, run)
    one.check_runs.append(run)
    by = call.actor.account or call.github.ghost
    call.github.notify.check_run(run, "created", by)
    told(call, run)
    return Answer(201, show_checks.check_run(run))


@route("PATCH", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "checks:write", role="pull", app_only=True)
def update_check_run(call: Call) -> Any:
    run = one_run(call)
    if run.app is not call.actor.acting_app:
        raise Refusal(
            403,
            "Invalid app_id `{}` - check run can only be modified by the GitHub App that created it.".format(
                call.actor.acting_app.id if call.actor.acting_app else ""
            ),
        )
    apply(call, run)
    run.name = call.body.get("name", run.name)
    told(call, run)
    return show_checks.check_run(run)


def told(call: Call, run: CheckRun) -> None:
    run.suite.updated_at = call.github.clock.now()
    if run.status == "completed":
        call.github.notify.check_run(run, "completed", call.actor.account or call.github.ghost)
        if run.suite.status == "completed":
            call.github.notify.check_suite(run.suite, "completed", call.actor.account or call.github.ghost)
    call.github.follow.results(run.repository, run.head_sha)


@route("GET", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "checks:read")
def get_check_run(call: Call) -> Any:
    return show_checks.check_run(one_run(call))


@route("GET", "/repos/{owner}/{repo}/check-runs/{check_run_id}/annotations", "checks:read")
def list_annotations(call: Call) -> Any:
    run = one_run(call)
    home = run.repository

    def shown(one: dict[str, Any]) -> dict[str, Any]:
        empty = dict.fromkeys(("start_column", "end_column", "title", "raw_details"))
        return empty | one | {"blob_href": f"{home.html_url}/blob/{run.head_sha}/{one['path']}"}

    return Page(run.annotations, shown)


@route("POST", "/repos/{owner}/{repo}/check-runs/{check_run_id}/rerequest", "checks:write", role="pull", app_only=True)
def rerequest(call: Call) -> Any:
    one_run(call).rerequest(call.actor.account or call.github.ghost)
    return Answer(201, {})


def chosen(call: Call, runs: list[CheckRun]) -> Page:
    asked = call.query
    if asked.get("filter", "latest") == "latest":
        runs = latest(runs)
    for name, of in (("check_name", "name"), ("status", "status")):
        if name in asked:
            runs = [run for run in runs if getattr(run, of) == asked[name]]
    if "app_id" in asked:
        runs = [run for run in runs if str(run.app.id) == asked["app_id"]]
    return Page(runs, show_checks.check_run, "check_runs")


@route("GET", "/repos/{owner}/{repo}/commits/{ref}/check-runs", "checks:read")
def list_check_runs(call: Call) -> Any:
    sha = call.repository.git.find_commit(call.params["ref"])
    if not sha:
        raise invalid(f"No commit found for SHA: {call.params['ref']}")
    return chosen(call, runs_on(call.repository, sha))


@route("GET", "/repos/{owner}/{repo}/check-suites/{check_suite_id}/check-runs", "checks:read")
def list_runs_of_suite(call: Call) -> Any:
    return chosen(call, one_suite(call).runs)


@route("GET", "/repos/{owner}/{repo}/commits/{ref}/check-suites", "checks:read")
def list_suites(call: Call) -> Any:
    sha = call.repository.git.find_commit(call.params["ref"])
    found = [one for one in call.repository.check_suites if one.head_sha == sha]
    if "app_id" in call.query:
        found = [one for one in found if str(one.app.id) == call.query["app_id"]]
    return Page(found, show_checks.check_suite, "check_suites")


@route("GET", "/repos/{owner}/{repo}/check-suites/{check_suite_id}", "checks:read")
def get_suite(call: Call) -> Any:
    return show_checks.check_suite(one_suite(call))


@route("POST", "/repos/{owner}/{repo}/check-suites", "checks:write", role="pull", app_only=True)
def create_suite(call: Call) -> Any:
    assert call.actor.acting_app is not None
    sha = call.wanted("head_sha")
    if call.repository.git.resolve(sha) != sha:
        raise invalid(f"No commit found for SHA: {sha}")
    known = len(call.repository.check_suites)
    suite = suite_for(call.repository, call.actor.acting_app, sha)
    return Answer(201 if len(call.repository.check_suites) > known else 200, show_checks.check_suite(suite))


@route(
    "POST", "/repos/{owner}/{repo}/check-suites/{check_suite_id}/rerequest", "checks:write", role="pull", app_only=True
)
def rerequest_suite(call: Call) -> Any:
    call.github.notify.check_suite(one_suite(call), "rerequested", call.actor.account or call.github.ghost)
    return Answer(201, {})
