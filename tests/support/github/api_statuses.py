"""Commit statuses: anybody with write access may set one, and it says who did."""

from __future__ import annotations

from typing import Any

from tests.support.github import show, show_checks
from tests.support.github.checks import CommitStatus, latest_statuses, statuses_on
from tests.support.github.exchange import Answer, Call, Page, invalid, not_found
from tests.support.github.routing import route

STATES = {"error", "failure", "pending", "success"}


@route("POST", "/repos/{owner}/{repo}/statuses/{sha}", "statuses:write")
def create_status(call: Call) -> Any:
    one, sha, state = call.repository, call.params["sha"], call.wanted("state")
    if one.git.resolve(sha) != sha:
        raise invalid(f"No commit found for SHA: {sha}")
    if state not in STATES:
        raise invalid(resource="Status", code="custom", field="state", message="state is not included in the list")
    if len(call.body.get("description") or "") > 140:
        raise invalid(
            resource="Status",
            code="custom",
            field="description",
            message="description is too long (maximum is 140 characters)",
        )
    by = call.actor.account or call.github.ghost
    status = CommitStatus(
        one, call.github.new_id(), sha, state, call.body.get("context") or "default", by, call.actor.acting_app,
        call.body.get("description"), call.body.get("target_url"), call.github.clock.now(),
    )  # fmt: skip
    one.statuses.append(status)
    call.github.notify.status(status, by)
    call.github.follow.results(one, sha)
    return Answer(201, show_checks.status(status))


@route("GET", "/repos/{owner}/{repo}/commits/{ref}/statuses", "statuses:read")
def list_statuses(call: Call) -> Any:
    sha = call.repository.git.find_commit(call.params["ref"])
    return Page(statuses_on(call.repository, sha), show_checks.status)


@route("GET", "/repos/{owner}/{repo}/commits/{ref}/status", "statuses:read")
def combined(call: Call) -> Any:
    """failure if any is error or failure; pending if none is there or one is pending; else success."""
    one, sha = call.repository, call.repository.git.find_commit(call.params["ref"])
    if not sha:
        raise not_found()
    newest = latest_statuses(one, sha)
    states = {status.state for status in newest}
    state = "failure" if states & {"error", "failure"} else "success" if states == {"success"} else "pending"
    return {
        "state": state, "statuses": [show_checks.simple_status(each) for each in newest[:100]], "sha": sha,
        "total_count": len(newest), "repository": show.minimal_repository(one), "commit_url": f"{one.url}/commits/{sha}",
        "url": f"{one.url}/commits/{sha}/status",
    }  # fmt: skip
