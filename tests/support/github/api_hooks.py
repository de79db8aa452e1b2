"""A repository's own webhooks."""

from __future__ import annotations

from typing import Any

from tests.support.github.exchange import Answer, Call, Page, not_found
from tests.support.github.hooks import Hook
from tests.support.github.routing import route
from tests.support.github.show import stamp

HOOK = "/repos/{owner}/{repo}/hooks/{hook_id}"


def one_hook(call: Call) -> Hook:
    number = call.number("hook_id")
    for hook in call.repository.hooks:
        if hook.id == number:
            return hook
    raise not_found()


def hook(one: Hook) -> dict[str, Any]:
    url, when = f"{one.repository.url}/hooks/{one.id}", stamp(one.created_at)
    return {
        "type": "Repository", "id": one.id, "name": "web", "active": one.active, "events": one.events,
        "config": {"content_type": "json", "insecure_ssl": "0", "url": one.url} | ({"secret": "********"} if one.secret else {}),
        "updated_at": when, "created_at": when, "url": url, "test_url": f"{url}/test", "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries", "last_response": {"code": None, "status": "unused", "message": None},
    }  # fmt: skip


@route("GET", "/repos/{owner}/{repo}/hooks", "repository_hooks:read")
def list_hooks(call: Call) -> Any:
    return Page(call.repository.hooks, hook)


@route("POST", "/repos/{owner}/{repo}/hooks", "repository_hooks:write")
def create_hook(call: Call) -> Any:
    config = call.wanted("config", dict)
    one = call.github.add_hook(
        call.repository, config["url"], secret=config.get("secret", ""), events=call.body.get("events") or ["push"]
    )
    return Answer(201, hook(one))


@route("GET", HOOK, "repository_hooks:read")
def get_hook(call: Call) -> Any:
    return hook(one_hook(call))


@route("DELETE", HOOK, "repository_hooks:write")
def delete_hook(call: Call) -> Any:
    call.repository.hooks.remove(one_hook(call))
    return Answer(204)
