"""Users, organisations, limits, and GitHub itself."""

from __future__ import annotations

from typing import Any

from tests.support.github import show
from tests.support.github.accounts import GITHUB_ACTIONS, Account, Team, is_at_least
from tests.support.github.exchange import Answer, Call, Page, Refusal, not_found
from tests.support.github.repositories import Repository
from tests.support.github.routing import route

WORDS = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
OLD_WORDS = {"pull": "read", "triage": "read", "push": "write", "maintain": "write", "admin": "admin", "": "none"}


def account(call: Call, login: str) -> Account:
    for one in call.github.accounts:
        if one.login.lower() == login.lower():
            return one
    raise not_found()


@route("GET", "/user")
def get_self(call: Call) -> Any:
    if call.actor.user is None:
        if call.actor.token is None:
            raise Refusal(401, "Requires authentication")
        raise Refusal(403, "Resource not accessible by integration")
    answer = Answer(200, show.private_user(call.actor.user))
    token = call.actor.token
    if token and token.permissions is None:
        answer.headers |= {"X-OAuth-Scopes": token.scopes, "X-Accepted-OAuth-Scopes": ""}
    return answer


@route("GET", "/users/{username}")
def get_user(call: Call) -> Any:
    return show.public_user(account(call, call.params["username"]))


@route("GET", "/user/{account_id}")
def get_user_by_id(call: Call) -> Any:
    for one in call.github.accounts:
        if str(one.id) == call.params["account_id"]:
            return show.public_user(one)
    raise not_found()


@route("GET", "/orgs/{org}")
def get_organization(call: Call) -> Any:
    one = account(call, call.params["org"])
    if one.type != "Organization":
        raise not_found()
    born = show.stamp(call.github.started)
    return show.organization(one) | {
        "has_organization_projects": True, "has_repository_projects": True, "public_repos": 0, "public_gists": 0,
        "followers": 0, "following": 0, "html_url": f"{call.github.url}/{one.login}", "created_at": born,
        "updated_at": born, "archived_at": None, "type": "Organization",
    }  # fmt: skip


@route("GET", "/orgs/{org}/memberships/{username}")
def get_membership(call: Call) -> Any:
    one, member = account(call, call.params["org"]), account(call, call.params["username"])
    role = one.members.get(member.id)
    if role is None:
        raise not_found()
    shown = show.organization(one)
    return {
        "url": f"{shown['url']}/memberships/{member.login}", "state": "active", "role": role,
        "organization_url": shown["url"], "organization": shown, "user": show.user(member),
    }  # fmt: skip


def team(of: Account, one: Team) -> dict[str, Any]:
    """The short form; `permission` is the one without a repository."""
    url = f"{of.github.api}/organizations/{of.id}/team/{one.id}"
    return {
        "id": one.id, "node_id": show.node("Team", one.id), "url": url, "name": one.slug, "slug": one.slug,
        "html_url": f"{of.github.url}/orgs/{of.login}/teams/{one.slug}", "description": "", "privacy": "closed",
        "notification_setting": "notifications_enabled", "permission": "pull", "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos", "parent": None, "type": "organization", "organization_id": of.id,
    }  # fmt: skip


def sees_members(call: Call, one: Account) -> None:
    """Raises: Refusal 403 or 404 for whoever is neither a member nor an App that may read them."""
    actor = call.actor
    if actor.installation and "members" not in ((actor.token and actor.token.permissions) or {}):
        raise Refusal(403, "Resource not accessible by integration")
    if actor.installation is None and not (actor.user and actor.user.id in one.members):
        raise not_found()


@route("GET", "/orgs/{org}/teams")
def list_teams(call: Call) -> Any:
    one = account(call, call.params["org"])
    sees_members(call, one)
    return Page(one.teams, lambda each: team(one, each))


@route("GET", "/orgs/{org}/teams/{team_slug}")
def get_team(call: Call) -> Any:
    one, born = account(call, call.params["org"]), show.stamp(call.github.started)
    sees_members(call, one)
    for each in one.teams:
        if each.slug == call.params["team_slug"]:
            counts = {"members_count": len(each.members), "repos_count": 0, "created_at": born, "updated_at": born}
            return team(one, each) | counts | {"organization": get_organization(call)}
    raise not_found()


@route("GET", "/orgs/{org}/installations")
def list_installations(call: Call) -> Any:
    """Every App in an organisation: for its owners, and Apps that may read its administration."""
    one, actor = account(call, call.params["org"]), call.actor
    if one.type != "Organization":
        raise not_found()
    if actor.installation:
        granted = (actor.token and actor.token.permissions) or {}
        held = actor.installation.account is one and "organization_administration" in granted
    else:
        held = actor.user is not None and one.members.get(actor.user.id) == "admin"
    if not held:
        raise Refusal(
            403, "Resource not accessible by integration" if actor.installation else "You must be an organization owner"
        )
    found = [each for each in call.github.installations if each.account is one and each.app.id != GITHUB_ACTIONS]
    return Page(found, show.installation, "installations")


@route("GET", "/rate_limit")
def get_rate_limit(call: Call) -> Any:
    budget = call.github.limits.of(call.actor)
    budget.used -= 1  # asking costs nothing
    one = {
        "limit": budget.limit,
        "used": budget.used + 1,
        "remaining": max(0, budget.limit - budget.used - 1),
        "reset": budget.reset,
    }
    return {"resources": {"core": one, "search": one, "graphql": one}, "rate": one}


@route("GET", "/meta")
def get_meta(_: Call) -> Any:
    return {"verifiable_password_authentication": True, "installed_version": "3.19.0"}


@route("GET", "/zen")
def get_zen(_: Call) -> Any:
    return Answer(200, b"Responsive is better than fast.", {"Content-Type": "text/plain;charset=utf-8"})


# --- collaborators ---


def roles(repository: Repository) -> dict[int, str]:
    every = dict(repository.roles) | {
        number: "admin" for number, role in repository.owner.members.items() if role == "admin"
    }
    return every | ({repository.owner.id: "admin"} if repository.owner.type == "User" else {})


def collaborator(repository: Repository, one: Account) -> dict[str, Any]:
    role = repository.role_of(one)
    held = {name: is_at_least(role, name) for name in WORDS}
    return show.user(one) | {"permissions": held, "role_name": WORDS.get(role, "none")}


@route("GET", "/repos/{owner}/{repo}/collaborators", "metadata:read", role="push")
def list_collaborators(call: Call) -> Any:
    numbers = roles(call.repository)
    found = [one for one in call.github.accounts if one.id in numbers]
    if wanted := call.query.get("permission"):
        found = [one for one in found if is_at_least(call.repository.role_of(one), wanted)]
    return Page(found, lambda one: collaborator(call.repository, one))


@route("GET", "/repos/{owner}/{repo}/collaborators/{username}", "metadata:read", role="push")
def check_collaborator(call: Call) -> Any:
    if account(call, call.params["username"]).id not in roles(call.repository):
        raise not_found()
    return Answer(204)


@route("PUT", "/repos/{owner}/{repo}/collaborators/{username}", "administration:write")
def add_collaborator(call: Call) -> Any:
    asked = str(call.body.get("permission", "push"))
    call.repository.add(
        account(call, call.params["username"]), {new: old for old, new in WORDS.items()}.get(asked, asked)
    )
    return Answer(204)


@route("DELETE", "/repos/{owner}/{repo}/collaborators/{username}", "administration:write")
def remove_collaborator(call: Call) -> Any:
    call.repository.roles.pop(account(call, call.params["username"]).id, None)
    return Answer(204)


@route("GET", "/repos/{owner}/{repo}/collaborators/{username}/permission", "metadata:read", role="pull")
def get_permission(call: Call) -> Any:
    one = account(call, call.params["username"])
    role = call.repository.role_of(one) or ("" if call.repository.private else "pull")
    shown = collaborator(call.repository, one)
    return {
        "permission": OLD_WORDS[role],
        "role_name": WORDS.get(role, "none"),
        "user": shown | {"role_name": WORDS.get(role, "none")},
    }
