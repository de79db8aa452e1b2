"""A repository itself, its branches and contents."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import quote

from tests.support.github import show, show_git
from tests.support.github.exchange import Answer, Call, Page, Refusal, invalid, not_found
from tests.support.github.guarding import against_update, against_workflows
from tests.support.github.plumbing import NOBODY, GitError
from tests.support.github.pushes import refs_moved
from tests.support.github.repositories import Repository
from tests.support.github.routing import route


@route("GET", "/repos/{owner}/{repo}", "metadata:read")
def get_repository(call: Call) -> Any:
    return show.full_repository(call.repository, call.actor)


@route("PATCH", "/repos/{owner}/{repo}", "administration:write")
def update_repository(call: Call) -> Any:
    one, body = call.repository, call.body
    by = call.actor.account or call.github.ghost
    if (name := body.get("name")) and name != one.name:
        call.github.rename(one, name, by)
    for switch, method in (
        ("allow_merge_commit", "merge"),
        ("allow_squash_merge", "squash"),
        ("allow_rebase_merge", "rebase"),
    ):
        if switch in body:
            (one.merge_methods.add if body[switch] else one.merge_methods.discard)(method)
    if "default_branch" in body:
        if not one.git.resolve(f"refs/heads/{body['default_branch']}"):
            raise invalid("Validation Failed", resource="Repository", code="invalid", field="default_branch")
        one.default_branch = body["default_branch"]
        one.git.run("symbolic-ref", "HEAD", f"refs/heads/{one.default_branch}")
    one.private = body.get("private", one.private)
    one.archived = body.get("archived", one.archived)
    one.description = body.get("description") or one.description
    one.delete_branch_on_merge = body.get("delete_branch_on_merge", one.delete_branch_on_merge)
    return show.full_repository(one, call.actor)


@route("POST", "/repos/{owner}/{repo}/transfer", "administration:write")
def transfer(call: Call) -> Any:
    owner = call.github.account(call.wanted("new_owner"))
    call.github.transfer(call.repository, owner, call.actor.account or call.github.ghost)
    return Answer(202, show.minimal_repository(call.repository))


@route("POST", "/repos/{owner}/{repo}/forks", "administration:write", role="pull")
def fork(call: Call) -> Any:
    owner = call.github.account(call.body.get("organization") or (call.actor.account or call.github.ghost).login)
    return Answer(
        202, show.full_repository(call.github.fork(call.repository, owner, call.body.get("name", "")), call.actor)
    )


@route("GET", "/repos/{owner}/{repo}/forks", "metadata:read")
def list_forks(call: Call) -> Any:
    return Page(call.github.forks_of(call.repository), show.minimal_repository)


# --- branches ---


@route("GET", "/repos/{owner}/{repo}/branches", "contents:read")
def list_branches(call: Call) -> Any:
    one = call.repository
    found = [(name[11:], sha) for name, (sha, _) in one.git.refs("refs/heads/").items()]
    if (wanted := call.query.get("protected")) is not None:
        found = [pair for pair in found if show_git.branch(one, *pair)["protected"] is (wanted == "true")]
    return Page(found, lambda pair: show_git.branch(one, *pair))


@route("GET", "/repos/{owner}/{repo}/branches/{branch}", "contents:read")
def get_branch(call: Call) -> Any:
    name = call.params["branch"]
    sha = call.repository.git.resolve(f"refs/heads/{name}")
    if not sha:
        raise Refusal(404, "Branch not found")
    return show_git.full_branch(call.repository, name, sha)


# --- contents ---


def file(one: Repository, path: str, sha: str, kind: str, size: int, ref: str) -> dict[str, Any]:
    url = f"{one.url}/contents/{quote(path)}?ref={ref}"
    of = "trees" if kind == "dir" else "blobs"
    git_url, html = (
        f"{one.url}/git/{of}/{sha}",
        f"{one.html_url}/{'tree' if kind == 'dir' else 'blob'}/{ref}/{quote(path)}",
    )
    return {
        "name": path.rpartition("/")[2], "path": path, "sha": sha, "size": max(size, 0), "url": url, "html_url": html,
        "git_url": git_url, "download_url": None if kind == "dir" else f"{one.html_url}/raw/{ref}/{quote(path)}",
        "type": kind, "_links": {"self": url, "git": git_url, "html": html},
    }  # fmt: skip


KINDS = {"tree": "dir", "blob": "file", "commit": "submodule"}


@route("GET", "/repos/{owner}/{repo}/contents/{path}", "contents:read")
def get_contents(call: Call) -> Any:
    one, path = call.repository, call.params["path"].strip("/")
    ref = call.query.get("ref") or one.default_branch
    sha = one.git.find_commit(ref)
    if not sha:
        raise Refusal(404, f"No commit found for the ref {ref}")
    if tree := one.git.resolve(f"{sha}:{path}", "tree"):
        prefix = f"{path}/" if path else ""
        return [file(one, prefix + name, at, KINDS[kind], size, ref) for _, kind, at, name, size in one.git.tree(tree)]
    raw = one.git.read(sha, path)
    if raw is None:
        raise not_found()
    blob = one.git.run("rev-parse", f"{sha}:{path}")
    body = {"content": base64.encodebytes(raw).decode(), "encoding": "base64"}
    return file(one, path, blob, "file", len(raw), ref) | body


@route("PUT", "/repos/{owner}/{repo}/contents/{path}", "contents:write")
def put_contents(call: Call) -> Any:
    try:
        raw = base64.b64decode(call.wanted("content"))
    except binascii.Error:
        raise invalid("content is not valid Base64") from None
    return write(call, raw)


@route("DELETE", "/repos/{owner}/{repo}/contents/{path}", "contents:write")
def delete_contents(call: Call) -> Any:
    return write(call, None)


def write(call: Call, raw: bytes | None) -> Answer:
    one, path, by = call.repository, call.params["path"], call.actor.account or call.github.ghost
    branch = call.body.get("branch") or call.query.get("branch") or one.default_branch
    old = one.git.resolve(f"refs/heads/{branch}")
    if not old and one.git.refs("refs/heads/"):
        raise Refusal(404, f"Branch {branch} not found")
    known = one.git.run("rev-parse", "-q", "--verify", f"{old}:{path}", ok=(0, 1, 128)) if old else ""
    given = call.body.get("sha") or call.query.get("sha")
    if raw is None and not known:
        raise not_found()
    if known and not given:
        raise invalid('Invalid request.\n\n"sha" wasn\'t supplied.')
    if known and given != known:
        raise Refusal(409, f"{path} does not match {given}")
    who = one.person(by)
    tree = one.git.write_tree(old, {path: raw})
    message = call.body.get("message") or call.query.get("message") or ""
    new = one.git.write_commit(tree, [old] if old else [], message, who, who)
    update(call, f"refs/heads/{branch}", old or NOBODY, new)
    shown = None
    if raw is not None:
        shown = file(one, path, one.git.run("rev-parse", f"{new}:{path}"), "file", len(raw), branch)
    body = {"content": shown, "commit": show_git.git_commit(one, one.git.commit(new))}
    return Answer(200 if known else 201, body)


def update(call: Call, ref: str, old: str, new: str) -> None:
    """Move a ref as the caller, if the rules let it. Raises: Refusal 403, 409 or 422."""
    one = call.repository
    if against_workflows(one.git, old, new, call.actor):
        kind = "integration" if call.actor.installation else "personal access token"
        raise Refusal(403, f"Resource not accessible by {kind}")
    if found := against_update(one, one.git, ref, old, new, call.actor):
        raise Refusal(422, "Repository rule violations found\n\n" + "\n\n".join(found) + "\n\n")
    try:
        one.git.update_ref(ref, new, old)
    except GitError:
        raise Refusal(409, "Reference cannot be updated") from None
    refs_moved(one, [(old, new, ref)], call.actor.account or call.github.ghost)
