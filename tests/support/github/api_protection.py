"""Classic branch protection. Shape: kept as PUT takes it, with ``checks`` in place of ``contexts``."""

from __future__ import annotations

from typing import Any

from tests.support.github import show
from tests.support.github.exchange import Answer, Call, Refusal, invalid
from tests.support.github.routing import route
from tests.support.github.show import Json, stamp

WHERE = "/repos/{owner}/{repo}/branches/{branch}/protection"
REQUIRED = ("required_status_checks", "enforce_admins", "required_pull_request_reviews", "restrictions")
SWITCHES = (
    "required_linear_history", "allow_force_pushes", "allow_deletions", "block_creations",
    "required_conversation_resolution", "lock_branch", "allow_fork_syncing",
)  # fmt: skip


def one_protection(call: Call) -> dict[str, Any]:
    found = call.repository.protections.get(call.params["branch"])
    if found is None:
        raise Refusal(404, "Branch not protected")
    return found


def address(call: Call) -> str:
    return f"{call.repository.url}/branches/{call.params['branch']}/protection"


def checks(call: Call, one: Json) -> Json:
    url = f"{address(call)}/required_status_checks"
    return {
        "url": url, "strict": one["strict"], "contexts": [each["context"] for each in one["checks"]],
        "contexts_url": f"{url}/contexts",
        "checks": [{"context": each["context"], "app_id": each.get("app_id")} for each in one["checks"]],
    }  # fmt: skip


def reviews(call: Call, one: Json) -> Json:
    shown = {"url": f"{address(call)}/required_pull_request_reviews"}
    defaults = {
        "dismiss_stale_reviews": False,
        "require_code_owner_reviews": False,
        "require_last_push_approval": False,
    }
    known = {name: one[name] for name in (*defaults, "required_approving_review_count") if name in one}
    return shown | defaults | known


def restrictions(call: Call, one: Json) -> Json:
    url = f"{address(call)}/restrictions"
    users = [show.user(call.github.account(login)) for login in one.get("users", [])]
    apps = [show.app(app) for app in call.github.apps if app.slug in one.get("apps", [])]
    return {
        "url": url, "users_url": f"{url}/users", "teams_url": f"{url}/teams", "apps_url": f"{url}/apps",
        "users": users, "teams": [], "apps": apps,
    }  # fmt: skip


def protection(call: Call, one: Json) -> Json:
    shown: Json = {"url": address(call)}
    if one["required_status_checks"] is not None:
        shown["required_status_checks"] = checks(call, one["required_status_checks"])
    if one["required_pull_request_reviews"] is not None:
        shown["required_pull_request_reviews"] = reviews(call, one["required_pull_request_reviews"])
    if one["restrictions"] is not None:
        shown["restrictions"] = restrictions(call, one["restrictions"])
    shown["enforce_admins"] = {"url": f"{address(call)}/enforce_admins", "enabled": one["enforce_admins"]}
    shown["required_signatures"] = {"url": f"{address(call)}/required_signatures", "enabled": False}
    return shown | {name: {"enabled": bool(one.get(name))} for name in SWITCHES}


@route("GET", WHERE, "administration:read")
def get_protection(call: Call) -> Any:
    return protection(call, one_protection(call))


@route("PUT", WHERE, "administration:write")
def put_protection(call: Call) -> Any:
    branch, body = call.params["branch"], dict(call.body)
    if not call.repository.git.resolve(f"refs/heads/{branch}"):
        raise Refusal(404, "Branch not found")
    for name in REQUIRED:
        if name not in body:
            raise invalid(f'Invalid request.\n\n"{name}" wasn\'t supplied.')
    if (given := body["required_status_checks"]) is not None:
        if "checks" not in given and "contexts" not in given:
            raise invalid('Invalid request.\n\nNo subschema in "anyOf" matched.')
        body["required_status_checks"] = {"strict": bool(given.get("strict")), "checks": normal(given)}
    body["enforce_admins"] = bool(body["enforce_admins"])
    earlier = call.repository.protections.get(branch)
    call.repository.protections[branch] = body
    notify(call, "edited" if earlier else "created", body)
    return protection(call, body)


def normal(given: Json) -> list[Json]:
    """A context without an App means any App; -1 says so, too."""
    if "checks" in given:
        return [{"context": one["context"], "app_id": one.get("app_id")} for one in given["checks"]]
    return [{"context": name, "app_id": None} for name in given["contexts"]]


@route("DELETE", WHERE, "administration:write")
def delete_protection(call: Call) -> Any:
    notify(call, "deleted", one_protection(call))
    del call.repository.protections[call.params["branch"]]
    return Answer(204)


@route("GET", f"{WHERE}/required_status_checks", "administration:read")
def get_checks(call: Call) -> Any:
    found = one_protection(call)["required_status_checks"]
    if found is None:
        raise Refusal(404, "Required status checks not enabled")
    return checks(call, found)


@route("PATCH", f"{WHERE}/required_status_checks", "administration:write")
def patch_checks(call: Call) -> Any:
    one, body = one_protection(call), call.body
    found = one["required_status_checks"] or {"strict": False, "checks": []}
    if "checks" in body or "contexts" in body:
        found["checks"] = normal(body)
    found["strict"] = body.get("strict", found["strict"])
    one["required_status_checks"] = found
    notify(call, "edited", one)
    return checks(call, found)


@route("GET", f"{WHERE}/enforce_admins", "administration:read")
def get_admins(call: Call) -> Any:
    return {"url": f"{address(call)}/enforce_admins", "enabled": one_protection(call)["enforce_admins"]}


@route("POST", f"{WHERE}/enforce_admins", "administration:write")
def set_admins(call: Call) -> Any:
    one_protection(call)["enforce_admins"] = True
    notify(call, "edited", one_protection(call))
    return get_admins(call)


@route("DELETE", f"{WHERE}/enforce_admins", "administration:write")
def unset_admins(call: Call) -> Any:
    one_protection(call)["enforce_admins"] = False
    notify(call, "edited", one_protection(call))
    return Answer(204)


def notify(call: Call, action: str, one: Json) -> None:
    """The event's rule has the flat words of the web interface."""
    required = one["required_status_checks"] or {"strict": False, "checks": []}
    when, home = stamp(call.github.clock.now()), call.repository
    level = {True: "everyone", False: "off"}
    rule = {
        "id": abs(hash((home.id, call.params["branch"]))) % 10**8, "repository_id": home.id, "name": call.params["branch"],
        "created_at": when, "updated_at": when,
        "pull_request_reviews_enforcement_level": level[one["required_pull_request_reviews"] is not None],
        "required_approving_review_count": (one["required_pull_request_reviews"] or {}).get("required_approving_review_count", 0),
        "dismiss_stale_reviews_on_push": False, "require_code_owner_review": False,
        "authorized_dismissal_actors_only": False, "ignore_approvals_from_contributors": False,
        "required_status_checks": [each["context"] for each in required["checks"]],
        "required_status_checks_enforcement_level": level[bool(required["checks"])],
        "strict_required_status_checks_policy": required["strict"],
        "signature_requirement_enforcement_level": "off",
        "linear_history_requirement_enforcement_level": level[bool(one.get("required_linear_history"))],
        "admin_enforced": one["enforce_admins"], "create_protected": False,
        "allow_force_pushes_enforcement_level": level[bool(one.get("allow_force_pushes"))],
        "allow_deletions_enforcement_level": level[bool(one.get("allow_deletions"))],
        "merge_queue_enforcement_level": "off", "required_deployments_enforcement_level": "off",
        "required_conversation_resolution_level": level[bool(one.get("required_conversation_resolution"))],
        "authorized_actors_only": one["restrictions"] is not None, "authorized_actor_names": [],
        "require_last_push_approval": False,
    }  # fmt: skip
    call.github.notify.protection(home, action, call.actor.account or call.github.ghost, rule, {})
