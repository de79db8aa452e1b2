"""Refs by the Git database API."""

from __future__ import annotations

from typing import Any

from tests.support.github import show_git
from tests.support.github.api_repositories import update
from tests.support.github.exchange import Answer, Call, Page, Refusal, invalid, not_found
from tests.support.github.plumbing import NOBODY
from tests.support.github.routing import route


@route("GET", "/repos/{owner}/{repo}/git/ref/{ref}", "contents:read")
def get_ref(call: Call) -> Any:
    name = f"refs/{call.params['ref']}"
    found = call.repository.git.refs(name).get(name)
    if found is None:
        raise not_found()
    return show_git.ref(call.repository, name, *found)


@route("GET", "/repos/{owner}/{repo}/git/matching-refs/{ref}", "contents:read")
def match_refs(call: Call) -> Any:
    found = call.repository.git.refs(f"refs/{call.params['ref']}")
    return Page(list(found.items()), lambda pair: show_git.ref(call.repository, pair[0], *pair[1]))


@route("POST", "/repos/{owner}/{repo}/git/refs", "contents:write")
def create_ref(call: Call) -> Any:
    one, name, sha = call.repository, call.wanted("ref"), call.wanted("sha")
    if not name.startswith("refs/") or name.count("/") < 2:
        raise invalid("Reference name must start with 'refs/' and contain at least two slashes.")
    if name.startswith("refs/pull/"):
        raise invalid("Reference cannot be created in the hidden namespace")
    if not one.git.resolve(sha, "object"):
        raise invalid("Object does not exist")
    if name in one.git.refs(name):
        raise invalid("Reference already exists")
    update(call, name, NOBODY, sha)
    return Answer(201, show_git.ref(one, name, *one.git.refs(name)[name]))


@route("PATCH", "/repos/{owner}/{repo}/git/refs/{ref}", "contents:write")
def update_ref(call: Call) -> Any:
    one, name, sha = call.repository, f"refs/{call.params['ref']}", call.wanted("sha")
    found = one.git.refs(name).get(name)
    if found is None:
        raise invalid("Reference does not exist")
    if not one.git.resolve(sha):
        raise invalid("Object does not exist")
    if not call.body.get("force") and not one.git.is_ancestor(found[0], sha):
        raise Refusal(422, "Update is not a fast forward")
    update(call, name, found[0], sha)
    return show_git.ref(one, name, *one.git.refs(name)[name])


@route("DELETE", "/repos/{owner}/{repo}/git/refs/{ref}", "contents:write")
def delete_ref(call: Call) -> Any:
    name = f"refs/{call.params['ref']}"
    found = call.repository.git.refs(name).get(name)
    if found is None:
        raise invalid("Reference does not exist")
    update(call, name, found[0], NOBODY)
    return Answer(204)
