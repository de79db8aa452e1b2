"""Issues as far as pull requests are some, and labels."""

from __future__ import annotations

from typing import Any

from tests.support.github import issues, show_pulls
from tests.support.github.exchange import Answer, Call, Page, Refusal, invalid, not_found
from tests.support.github.issues import Issue, Label
from tests.support.github.pulls import Pull
from tests.support.github.routing import route

READ, WRITE = ("issues:read", "pull_requests:read"), ("issues:write", "pull_requests:write")
ISSUE = "/repos/{owner}/{repo}/issues/{issue_number}"


def one_issue(call: Call) -> Issue | Pull:
    found = issues.find(call.repository, call.number("issue_number"))
    if found is None:
        raise not_found()
    return found


@route("GET", "/repos/{owner}/{repo}/issues", *READ)
def list_issues(call: Call) -> Any:
    found: list[Issue | Pull] = [*call.repository.pulls.values(), *call.repository.issues.values()]
    state = call.query.get("state", "open")
    found = [one for one in found if state in {"all", one.state}]
    for name in filter(None, call.query.get("labels", "").split(",")):
        found = [one for one in found if name in {label.name for label in one.labels}]
    return Page(sorted(found, key=lambda one: -one.number), show_pulls.issue)


@route("POST", "/repos/{owner}/{repo}/issues", "issues:write", role="pull")
def create_issue(call: Call) -> Any:
    one, now = call.repository, call.github.clock.now()
    by = call.actor.account or call.github.ghost
    issue = Issue(
        one,
        call.github.new_id(),
        one.number(),
        call.wanted("title", str, int),
        call.body.get("body"),
        by,
        now,
        now,
        performed_via=call.actor.acting_app,
    )
    one.issues[issue.number] = issue
    return Answer(201, show_pulls.issue(issue))


@route("GET", ISSUE, *READ)
def get_issue(call: Call) -> Any:
    return show_pulls.issue(one_issue(call))


@route("PATCH", ISSUE, *WRITE)
def update_issue(call: Call) -> Any:
    one, by = one_issue(call), call.actor.account or call.github.ghost
    if "labels" in call.body:
        issues.set_labels(one, [name if isinstance(name, str) else name["name"] for name in call.body["labels"]], by)
    if isinstance(one, Pull):
        one.change(by, title=call.body.get("title", ""), body=call.body.get("body"))
        if call.body.get("state") == "closed":
            one.close(by)
    else:
        one.title, one.body = call.body.get("title", one.title), call.body.get("body", one.body)
        one.state = call.body.get("state", one.state)
    return show_pulls.issue(one)


# --- labels ---


def named(call: Call) -> list[str]:
    read = call.incoming.json()
    given = read.get("labels", []) if isinstance(read, dict) else read
    return [one if isinstance(one, str) else one["name"] for one in given]


def by(call: Call) -> Any:
    return call.actor.account or call.github.ghost


@route("GET", f"{ISSUE}/labels", *READ)
def list_labels_of(call: Call) -> Any:
    return Page(one_issue(call).labels, show_pulls.label)


@route("POST", f"{ISSUE}/labels", *WRITE, role="triage")
def add_labels(call: Call) -> Any:
    one = one_issue(call)
    issues.set_labels(one, [label.name for label in one.labels] + named(call), by(call))
    return [show_pulls.label(label) for label in one.labels]


@route("PUT", f"{ISSUE}/labels", *WRITE, role="triage")
def replace_labels(call: Call) -> Any:
    one = one_issue(call)
    issues.set_labels(one, named(call), by(call))
    return [show_pulls.label(label) for label in one.labels]


@route("DELETE", f"{ISSUE}/labels", *WRITE, role="triage")
def remove_labels(call: Call) -> Any:
    issues.set_labels(one_issue(call), [], by(call))
    return Answer(204)


@route("DELETE", f"{ISSUE}/labels/{{name}}", *WRITE, role="triage")
def remove_label(call: Call) -> Any:
    one, name = one_issue(call), call.params["name"].lower()
    rest = [label.name for label in one.labels if label.name.lower() != name]
    if len(rest) == len(one.labels):
        raise Refusal(404, "Label does not exist")
    issues.set_labels(one, rest, by(call))
    return [show_pulls.label(label) for label in one.labels]


@route("GET", "/repos/{owner}/{repo}/labels", *READ)
def list_labels(call: Call) -> Any:
    return Page(call.repository.labels, show_pulls.label)


def one_label(call: Call) -> Label:
    for label in call.repository.labels:
        if label.name.lower() == call.params["name"].lower():
            return label
    raise not_found()


@route("GET", "/repos/{owner}/{repo}/labels/{name}", *READ)
def get_label(call: Call) -> Any:
    return show_pulls.label(one_label(call))


@route("POST", "/repos/{owner}/{repo}/labels", *WRITE)
def create_label(call: Call) -> Any:
    name = call.wanted("name")
    if any(label.name.lower() == name.lower() for label in call.repository.labels):
        raise invalid(resource="Label", code="already_exists", field="name")
    label = issues.label_named(call.repository, name)
    label.color, label.description = call.body.get("color") or label.color, call.body.get("description")
    return Answer(201, show_pulls.label(label))


@route("PATCH", "/repos/{owner}/{repo}/labels/{name}", *WRITE)
def update_label(call: Call) -> Any:
    label = one_label(call)
    label.name, label.color = call.body.get("new_name", label.name), call.body.get("color", label.color)
    label.description = call.body.get("description", label.description)
    return show_pulls.label(label)


@route("DELETE", "/repos/{owner}/{repo}/labels/{name}", *WRITE)
def delete_label(call: Call) -> Any:
    label = one_label(call)
    call.repository.labels.remove(label)
    every: list[Issue | Pull] = [*call.repository.pulls.values(), *call.repository.issues.values()]
    for one in every:
        if label in one.labels:
            one.labels.remove(label)
    return Answer(204)
