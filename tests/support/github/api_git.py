"""Blobs, trees, commits and tags by the Git database API."""

from __future__ import annotations

import base64
from typing import Any

from tests.support.github import show_git
from tests.support.github.exchange import Answer, Call, invalid, not_found
from tests.support.github.plumbing import Person
from tests.support.github.repositories import Repository
from tests.support.github.routing import route
from tests.support.github.show import node


@route("GET", "/repos/{owner}/{repo}/git/blobs/{file_sha}", "contents:read")
def get_blob(call: Call) -> Any:
    one, sha = call.repository, call.params["file_sha"]
    if not one.git.resolve(sha, "blob"):
        raise not_found()
    raw = one.git.raw("cat-file", "blob", sha)
    return {
        "sha": sha, "node_id": node("Blob", sha), "url": f"{one.url}/git/blobs/{sha}", "size": len(raw),
        "content": base64.encodebytes(raw).decode(), "encoding": "base64",
    }  # fmt: skip


@route("POST", "/repos/{owner}/{repo}/git/blobs", "contents:write")
def create_blob(call: Call) -> Any:
    text = call.wanted("content")
    raw = base64.b64decode(text) if call.body.get("encoding") == "base64" else text.encode()
    sha = call.repository.git.run("hash-object", "-w", "--stdin", stdin=raw)
    return Answer(201, {"sha": sha, "url": f"{call.repository.url}/git/blobs/{sha}"})


def tree(one: Repository, sha: str, *, recursive: bool) -> dict[str, Any]:
    entries = []
    for mode, kind, at, path, size in one.git.tree(sha, recursive=recursive):
        shown: dict[str, Any] = {"path": path, "mode": mode, "type": kind, "sha": at}
        if kind != "commit":
            shown["url"] = f"{one.url}/git/{kind}s/{at}"
        if size >= 0:
            shown["size"] = size
        entries.append(shown)
    return {"sha": sha, "url": f"{one.url}/git/trees/{sha}", "truncated": False, "tree": entries}


@route("GET", "/repos/{owner}/{repo}/git/trees/{tree_sha}", "contents:read")
def get_tree(call: Call) -> Any:
    one, name = call.repository, call.params["tree_sha"]
    sha = one.git.resolve(one.git.find_commit(name) or name, "tree")
    if not sha:
        raise not_found()
    return tree(one, sha, recursive="recursive" in call.query)


@route("POST", "/repos/{owner}/{repo}/git/trees", "contents:write")
def create_tree(call: Call) -> Any:
    one, base = call.repository, call.body.get("base_tree", "")
    entries = call.wanted("tree", list)
    if base and not (base := one.git.resolve(base, "tree")):
        raise invalid("base_tree is not a valid tree oid")
    changes: dict[str, bytes | None] = {}
    for entry in entries:
        if entry.get("sha", "") is None:
            changes[entry["path"]] = None
        elif "content" in entry:
            changes[entry["path"]] = entry["content"].encode()
        elif entry.get("type") == "blob" and one.git.resolve(entry["sha"], "blob"):
            changes[entry["path"]] = one.git.raw("cat-file", "blob", entry["sha"])
        else:
            raise invalid("tree.sha is not a valid blob")
    return Answer(201, tree(one, one.git.write_tree(base, changes), recursive=False))


@route("GET", "/repos/{owner}/{repo}/git/commits/{commit_sha}", "contents:read")
def get_commit(call: Call) -> Any:
    sha = call.repository.git.resolve(call.params["commit_sha"])
    if not sha or sha != call.params["commit_sha"]:
        raise not_found()
    return show_git.git_commit(call.repository, call.repository.git.commit(sha))


@route("POST", "/repos/{owner}/{repo}/git/commits", "contents:write")
def create_commit(call: Call) -> Any:
    one, body = call.repository, call.body
    message, at = call.wanted("message"), call.wanted("tree")
    if not one.git.resolve(at, "tree"):
        raise invalid("Tree SHA does not exist")
    if not all(one.git.resolve(sha) for sha in body.get("parents", [])):
        raise invalid("Parent SHA does not exist or is not a commit object")
    by = one.person(call.actor.account or call.github.ghost)
    author, committer = person(body.get("author"), by), person(body.get("committer") or body.get("author"), by)
    sha = one.git.write_commit(at, list(body.get("parents", [])), message, author, committer)
    return Answer(201, show_git.git_commit(one, one.git.commit(sha)))


def person(given: dict[str, str] | None, by: Person) -> Person:
    return Person(given["name"], given["email"], given.get("date", by.date)) if given else by


@route("GET", "/repos/{owner}/{repo}/git/tags/{tag_sha}", "contents:read")
def get_tag(call: Call) -> Any:
    one, sha = call.repository, call.params["tag_sha"]
    if not one.git.resolve(sha, "tag"):
        raise not_found()
    head, _, message = one.git.run("cat-file", "tag", sha).partition("\n\n")
    said = dict(line.split(" ", 1) for line in head.splitlines())
    name, _, rest = said["tagger"].partition(" <")
    return {
        "node_id": node("Tag", sha), "tag": said["tag"], "sha": sha, "url": f"{one.url}/git/tags/{sha}",
        "message": message, "tagger": {"name": name, "email": rest.partition(">")[0], "date": "2026-01-01T00:00:00Z"},
        "object": {"sha": said["object"], "type": said["type"], "url": f"{one.url}/git/{said['type']}s/{said['object']}"},
        "verification": show_git.UNSIGNED,
    }  # fmt: skip
