"""Actions of a repository: its workflows, what their token may do, its secrets and environments."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.support.github import show_checks
from tests.support.github.exchange import Answer, Call, Page, Refusal, invalid, not_found
from tests.support.github.routing import route
from tests.support.github.runs import Definition, Workflow, definitions, start_run, workflow_at
from tests.support.github.show import node, stamp

HOME = "/repos/{owner}/{repo}/actions"


def workflows(call: Call) -> list[Workflow]:
    """Those on the default branch, and those that ran from elsewhere."""
    one = call.repository
    for found in definitions(one, one.sha()):
        workflow_at(one, found.path, found.name)
    return one.workflows


def one_workflow(call: Call) -> Workflow:
    name = call.params["workflow_id"]
    for workflow in workflows(call):
        if name in {str(workflow.id), workflow.path.rpartition("/")[2]}:
            return workflow
    raise not_found()


@route("GET", f"{HOME}/workflows", "actions:read")
def list_workflows(call: Call) -> Any:
    return Page(workflows(call), show_checks.workflow, "workflows")


@route("GET", f"{HOME}/workflows/{{workflow_id}}", "actions:read")
def get_workflow(call: Call) -> Any:
    return show_checks.workflow(one_workflow(call))


@route("PUT", f"{HOME}/workflows/{{workflow_id}}/disable", "actions:write")
def disable(call: Call) -> Any:
    one_workflow(call).state = "disabled_manually"
    return Answer(204)


@route("PUT", f"{HOME}/workflows/{{workflow_id}}/enable", "actions:write")
def enable(call: Call) -> Any:
    one_workflow(call).state = "active"
    return Answer(204)


@route("POST", f"{HOME}/workflows/{{workflow_id}}/dispatches", "actions:write")
def dispatch(call: Call) -> Any:
    """204, or 200 with the run when the request asks for its details. The run may appear later."""
    workflow, one, ref = one_workflow(call), call.repository, call.wanted("ref")
    sha = one.git.resolve(f"refs/heads/{ref}") or one.git.resolve(f"refs/tags/{ref}") or one.git.find_commit(ref)
    if not sha:
        raise invalid(f"No ref found for: {ref}")
    of = next((each for each in definitions(one, sha) if each.path == workflow.path), None)
    if of is None or "workflow_dispatch" not in of.triggers:
        raise Refusal(422, "Workflow does not have 'workflow_dispatch' trigger")
    if workflow.state != "active":
        raise Refusal(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
    given = inputs(of, call.body.get("inputs") or {})
    by = call.actor.account or call.github.ghost
    branch = ref.removeprefix("refs/heads/")
    run = start_run(
        workflow, of, "workflow_dispatch", sha, branch, by, ref=f"refs/heads/{branch}", inputs=given,
        visible=not call.github.runs_are_hidden,
    )  # fmt: skip
    if not call.body.get("return_run_details"):
        return Answer(204)
    url = f"{one.url}/actions/runs/{run.id}"
    return {"workflow_run_id": run.id, "run_url": url, "html_url": f"{one.html_url}/actions/runs/{run.id}"}


def inputs(of: Definition, given: dict[str, Any]) -> dict[str, Any]:
    """What the workflow declares, with its defaults. Raises: Refusal 422 for more, or less than it requires."""
    declared = of.triggers["workflow_dispatch"].get("inputs") or {}
    if unknown := sorted(set(given) - set(declared)):
        raise Refusal(422, f"Unexpected inputs provided: {unknown}")
    defaults = {name: one["default"] for name, one in declared.items() if isinstance(one, dict) and "default" in one}
    for name, one in declared.items():
        if isinstance(one, dict) and one.get("required") == "true" and name not in given | defaults:
            raise Refusal(422, f"Required input '{name}' not provided")
    return defaults | given


# --- what is allowed ---


@route("GET", f"{HOME}/permissions", "administration:read")
def get_permissions(call: Call) -> Any:
    return call.repository.actions_permissions | {"sha_pinning_required": False}


@route("PUT", f"{HOME}/permissions", "administration:write")
def set_permissions(call: Call) -> Any:
    call.repository.actions_permissions["enabled"] = call.wanted("enabled", bool)
    return Answer(204)


@route("GET", f"{HOME}/permissions/workflow", "administration:read")
def get_workflow_permissions(call: Call) -> Any:
    return call.repository.token_permissions


@route("PUT", f"{HOME}/permissions/workflow", "administration:write")
def set_workflow_permissions(call: Call) -> Any:
    known = call.repository.token_permissions
    known |= {name: value for name, value in call.body.items() if name in known}
    return Answer(204)


@route("GET", f"{HOME}/secrets", "secrets:read")
def list_secrets(call: Call) -> Any:
    when = stamp(call.repository.created_at)
    return Page(call.repository.secrets, lambda name: {"name": name, "created_at": when, "updated_at": when}, "secrets")


@route("GET", f"{HOME}/organization-secrets", "secrets:read")
def list_organization_secrets(_: Call) -> Any:
    return Page([], lambda one: one, "secrets")


@route("GET", f"{HOME}/variables", "variables:read")
def list_variables(call: Call) -> Any:
    when = stamp(call.repository.created_at)
    return Page(
        list(call.repository.variables.items()),
        lambda pair: {"name": pair[0], "value": pair[1], "created_at": when, "updated_at": when},
        "variables",
    )


def environment(call: Call, one: dict[str, Any]) -> dict[str, Any]:
    home, when, name = call.repository, stamp(call.repository.created_at), quote(one["name"])
    number = one.get("id", 1)
    return {
        "id": number, "node_id": node("Environment", number), "name": one["name"],
        "url": f"{home.url}/environments/{name}", "html_url": f"{home.html_url}/deployments/activity_log?environments_filter={name}",
        "created_at": when, "updated_at": when, "protection_rules": one.get("protection_rules", []),
        "deployment_branch_policy": one.get("deployment_branch_policy"),
    }  # fmt: skip


@route("GET", "/repos/{owner}/{repo}/environments", "actions:read")
def list_environments(call: Call) -> Any:
    """Shape: `repository.environments` holds {"name", "protection_rules": [{"id", "node_id", "type", …}]}."""
    return Page(call.repository.environments, lambda one: environment(call, one), "environments")


@route("GET", "/repos/{owner}/{repo}/environments/{environment_name}", "actions:read")
def get_environment(call: Call) -> Any:
    for one in call.repository.environments:
        if one["name"] == call.params["environment_name"]:
            return environment(call, one)
    raise not_found()


@route("GET", "/repos/{owner}/{repo}/environments/{environment_name}/secrets", "environments:read")
def list_environment_secrets(call: Call) -> Any:
    when = stamp(call.repository.created_at)
    for one in call.repository.environments:
        if one["name"] == call.params["environment_name"]:
            names = one.get("secrets", [])
            return Page(names, lambda name: {"name": name, "created_at": when, "updated_at": when}, "secrets")
    raise not_found()
