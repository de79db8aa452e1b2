"""Apps: who they are, where they are installed, tokens, the manifest flow, deliveries."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from tests.support.github import show
from tests.support.github.accounts import LEVELS, Account, App, Installation
from tests.support.github.authentication import authenticate
from tests.support.github.exchange import Answer, Call, Incoming, Page, Refusal, invalid, not_found
from tests.support.github.hooks import Delivery
from tests.support.github.repositories import Repository
from tests.support.github.routing import route
from tests.support.github.show import stamp, stamp_or_none

if TYPE_CHECKING:
    from tests.support.github.world import GitHub

CODE_SECONDS = 3600


def own_app(call: Call) -> App:
    assert call.actor.app is not None
    return call.actor.app


def own_installation(call: Call) -> Installation:
    number = call.number("installation_id")
    for one in call.github.installations:
        if one.id == number and one.app is own_app(call):
            return one
    raise not_found()


@route("GET", "/app", jwt=True)
def get_app(call: Call) -> Any:
    app = own_app(call)
    count = sum(one.app is app for one in call.github.installations)
    return show.app(app) | {"installations_count": count}


@route("GET", "/apps/{app_slug}")
def get_app_by_slug(call: Call) -> Any:
    for app in call.github.apps:
        if app.slug == call.params["app_slug"]:
            return show.app(app)
    raise not_found()


@route("GET", "/app/installations", jwt=True)
def list_installations(call: Call) -> Any:
    return Page([one for one in call.github.installations if one.app is own_app(call)], show.installation)


@route("GET", "/app/installations/{installation_id}", jwt=True)
def get_installation(call: Call) -> Any:
    return show.installation(own_installation(call))


@route("DELETE", "/app/installations/{installation_id}", jwt=True)
def delete_installation(call: Call) -> Any:
    call.github.uninstall(own_installation(call))
    return Answer(204)


@route("PUT", "/app/installations/{installation_id}/suspended", jwt=True)
def suspend(call: Call) -> Any:
    call.github.suspend(own_installation(call))
    return Answer(204)


@route("DELETE", "/app/installations/{installation_id}/suspended", jwt=True)
def unsuspend(call: Call) -> Any:
    own_installation(call).suspended_at = None
    return Answer(204)


@route("GET", "/repos/{owner}/{repo}/installation", jwt=True)
def get_repository_installation(call: Call) -> Any:
    return show.installation(first(call, lambda one: one.covers(call.repository)))


@route("GET", "/orgs/{org}/installation", jwt=True)
def get_organization_installation(call: Call) -> Any:
    return show.installation(first(call, lambda one: one.account.login.lower() == call.params["org"].lower()))


@route("GET", "/users/{username}/installation", jwt=True)
def get_user_installation(call: Call) -> Any:
    return show.installation(first(call, lambda one: one.account.login.lower() == call.params["username"].lower()))


def first(call: Call, fits: Any) -> Installation:
    for one in call.github.installations:
        if one.app is own_app(call) and fits(one):
            return one
    raise not_found()


@route("POST", "/app/installations/{installation_id}/access_tokens", jwt=True)
def create_token(call: Call) -> Any:
    one = own_installation(call)
    if one.suspended_at:
        raise Refusal(403, "This installation has been suspended")
    permissions = call.body.get("permissions") or None
    for name, level in (permissions or {}).items():
        if LEVELS.get(level, 9) > LEVELS[one.permissions.get(name, "")]:
            raise invalid("The permissions requested are not granted to this installation.")
    chosen = named_repositories(call, one)
    token = call.github.keep_token(one.new_token(permissions=permissions, repositories=chosen))
    assert token.expires_at is not None
    body: dict[str, Any] = {
        "token": token.value, "expires_at": stamp(token.expires_at), "permissions": token.permissions,
        "repository_selection": "all" if token.repositories is None else "selected",
    }  # fmt: skip
    if chosen is not None:
        body["repositories"] = [show.repository(each) for each in chosen]
    return Answer(201, body)


def named_repositories(call: Call, one: Installation) -> list[Repository] | None:
    names, numbers = call.body.get("repositories"), call.body.get("repository_ids")
    if names is None and numbers is None:
        return None
    covered = call.github.covered(one)
    found = [each for each in covered if each.name in (names or []) or each.id in (numbers or [])]
    if len(found) < len(set(names or [])) + len(set(numbers or [])):
        raise invalid(
            "There is at least one repository that does not exist or is not accessible to the parent installation."
        )
    return found


@route("GET", "/installation/repositories", app_only=True)
def list_own_repositories(call: Call) -> Any:
    assert call.actor.installation is not None
    found = [one for one in call.github.covered(call.actor.installation) if call.actor.reaches(one)]
    selection = "all" if call.actor.installation.repositories is None else "selected"
    return Page(
        found, lambda one: show.repository(one, call.actor), "repositories", {"repository_selection": selection}
    )


@route("DELETE", "/installation/token", app_only=True)
def revoke_token(call: Call) -> Any:
    assert call.actor.token is not None
    call.actor.token.is_revoked = True
    return Answer(204)


# --- manifests ---


def submit_manifest(github: GitHub, incoming: Incoming, parts: list[str]) -> Answer:
    """The page a person is sent to with a manifest, as if they had already pressed the button on it.

    Raises: Refusal when the manifest cannot be an App.
    """
    if parts[-3:] != ["settings", "apps", "new"] or incoming.method != "POST":
        return not_found().answer()
    form = dict(parse_qsl(incoming.body.decode()))
    actor = authenticate(github, incoming.headers.get("authorization", ""))
    owner = github.account(parts[1]) if parts[0] == "organizations" else actor.user or github.ghost
    try:
        manifest = json.loads(form.get("manifest", ""))
        code = keep_manifest(github, manifest, owner)
    except ValueError as error:
        return Answer(422, f"Invalid GitHub App configuration: {error}".encode())
    query = {"code": code}
    if state := dict(parse_qsl(incoming.query)).get("state"):
        query["state"] = state
    return Answer(302, b"", {"Location": f"{manifest['redirect_url']}?{urlencode(query)}"})


def keep_manifest(github: GitHub, manifest: dict[str, Any], owner: Account) -> str:
    """The code a manifest is exchanged by, within an hour, once. Raises: ValueError."""
    for name in ("url", "redirect_url"):
        if not isinstance(manifest.get(name), str):
            raise ValueError(f'"{name}" wasn\'t supplied')
    for name, level in manifest.get("default_permissions", {}).items():
        if level not in {"read", "write", "admin"}:
            raise ValueError(f"{level} is no level of {name}")
    code = secrets.token_hex(20)
    github.manifests[code] = (manifest, owner, github.clock.now())
    return code


@route("POST", "/app-manifests/{code}/conversions")
def convert_manifest(call: Call) -> Any:
    """No authentication: the code is the secret."""
    github = call.github
    kept = github.manifests.pop(call.params["code"], None)
    if kept is None or (github.clock.now() - kept[2]).total_seconds() > CODE_SECONDS:
        raise not_found()
    manifest, owner, _ = kept
    name = str(manifest.get("name") or f"app-{secrets.token_hex(3)}")
    slug = "-".join(name.lower().split())
    hook = manifest.get("hook_attributes") or {}
    app = github.create_app(
        slug, manifest.get("default_permissions") or {}, events=manifest.get("default_events") or [],
        webhook_url=str(hook.get("url") or "") if hook.get("active", True) else "",
        webhook_secret=secrets.token_hex(20), owner=owner,
    )  # fmt: skip
    app.name, app.external_url = name, str(manifest["url"])
    return Answer(
        201,
        show.app(app)
        | {
            "client_secret": app.client_secret,
            "webhook_secret": app.webhook_secret if app.webhook_url else None,
            "pem": app.private_key(),
        },
    )


# --- deliveries ---


def delivery(one: Delivery) -> dict[str, Any]:
    return {
        "id": one.id, "guid": one.guid, "delivered_at": stamp(one.delivered_at or one.made_at),
        "redelivery": one.redelivery, "duration": one.duration, "status": one.status, "status_code": one.status_code,
        "event": one.event, "action": one.action, "installation_id": one.installation.id if one.installation else None,
        "repository_id": one.repository.id if one.repository else None, "throttled_at": stamp_or_none(None),
    }  # fmt: skip


def own_deliveries(call: Call) -> list[Delivery]:
    """Newest first; what is still to be tried is not there yet."""
    log = [one for one in reversed(call.github.deliveries.log) if one.target is own_app(call) and one.delivered_at]
    cursor = call.query.get("cursor")
    return [one for one in log if cursor is None or one.id < int(cursor)]


def one_delivery(call: Call) -> Delivery:
    number = call.number("delivery_id")
    for one in own_deliveries(call):
        if one.id == number:
            return one
    raise not_found()


@route("GET", "/app/hook/deliveries", jwt=True)
def list_deliveries(call: Call) -> Any:
    size = min(int(call.query.get("per_page", 30)), 100)
    found = own_deliveries(call)
    wanted = {"success": True, "failure": False}.get(call.query.get("status", ""))
    if wanted is not None:
        found = [one for one in found if (200 <= one.status_code < 300) is wanted]
    headers = {}
    if len(found) > size:
        query = urlencode({"per_page": size, "cursor": found[size - 1].id})
        headers["Link"] = f'<{call.github.api}/app/hook/deliveries?{query}>; rel="next"'
    return Answer(200, [delivery(one) for one in found[:size]], headers)


@route("GET", "/app/hook/deliveries/{delivery_id}", jwt=True)
def get_delivery(call: Call) -> Any:
    one = one_delivery(call)
    return delivery(one) | {
        "url": one.url,
        "request": {"headers": one.headers(), "payload": one.json()},
        "response": {"headers": one.answer_headers, "payload": one.answer},
    }


@route("POST", "/app/hook/deliveries/{delivery_id}/attempts", jwt=True)
def redeliver(call: Call) -> Any:
    call.github.deliveries.redeliver(one_delivery(call))
    return Answer(202, {})


@route("GET", "/app/hook/config", jwt=True)
def get_hook_config(call: Call) -> Any:
    app = own_app(call)
    hidden = {"secret": "********"} if app.webhook_secret else {}
    return {"content_type": "json", "insecure_ssl": "0", "url": app.webhook_url} | hidden


@route("PATCH", "/app/hook/config", jwt=True)
def set_hook_config(call: Call) -> Any:
    app = own_app(call)
    app.webhook_url = call.body.get("url", app.webhook_url)
    app.webhook_secret = call.body.get("secret", app.webhook_secret)
    return get_hook_config(call)
