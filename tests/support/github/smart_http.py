"""git over HTTP: ``git http-backend`` on the real repository, with GitHub's permissions and rules in its hooks."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.github.accounts import Actor, is_at_least
from tests.support.github.authentication import authenticate
from tests.support.github.exchange import Answer, Incoming, Refusal
from tests.support.github.guarding import against_update, against_workflows
from tests.support.github.plumbing import QUIET, Git
from tests.support.github.pushes import refs_moved

if TYPE_CHECKING:
    from tests.support.github.repositories import Repository
    from tests.support.github.world import GitHub

CHALLENGE = {"WWW-Authenticate": 'Basic realm="GitHub"'}
HOOK_PATH = "/_receive"
# Asks this server what GitHub would say; what it answers is shown to the pusher and refuses the push.
HOOK = """import json, os, socket, sys
host, port = os.environ["STAND_IN"].rsplit(":", 1)
keep = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
asked = json.dumps({
    "push": os.environ["STAND_IN_PUSH"], "hook": sys.argv[1],
    "moves": [line.split() for line in sys.stdin.read().splitlines()],
    "env": {name: os.environ[name] for name in keep if name in os.environ},
}).encode()
line = socket.create_connection((host, int(port)))
line.sendall(b"POST %s HTTP/1.0\\r\\nContent-Length: %d\\r\\n\\r\\n" % (os.environ["STAND_IN_PATH"].encode(), len(asked)) + asked)
answer = b"".join(iter(lambda: line.recv(65536), b"")).partition(b"\\r\\n\\r\\n")
sys.stderr.write(answer[2].decode())
sys.exit(0 if b" 200 " in answer[0].split(b"\\r\\n")[0] else 1)
"""


@dataclass(frozen=True)
class Push:
    repository: Repository
    actor: Actor


def install_hooks(git: Git, folder: Path) -> None:
    script = folder / "hook.py"
    if not script.exists():
        script.write_text(HOOK)
    for name in ("pre-receive", "post-receive"):
        path = git.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{script}" {name}\n')
        path.chmod(0o755)
    git.run("config", "receive.hideRefs", "refs/pull")
    git.run("config", "http.receivepack", "true")
    git.run("config", "uploadpack.allowAnySHA1InWant", "true")
    git.run("config", "gc.auto", "0")


def serve(github: GitHub, incoming: Incoming, full_name: str, rest: str) -> Answer:
    """One request of a git client."""
    service = "git-receive-pack" if "git-receive-pack" in f"{rest}?{incoming.query}" else "git-upload-pack"
    writes = service == "git-receive-pack"
    try:
        actor = authenticate(github, incoming.headers.get("authorization", ""))
    except Refusal:
        return Answer(401, b"remote: Invalid username or password.\n", CHALLENGE)
    repository, moved = github.find_repository(full_name)
    if repository is None or actor.app or not actor.sees(repository):
        if actor.account is None:
            return Answer(401, b"remote: Repository not found.\n", CHALLENGE)
        return Answer(404, b"remote: Repository not found.\n")
    if moved and incoming.method == "GET":
        return Answer(301, b"", {"Location": f"{repository.clone_url}{rest}?{incoming.query}"})
    if refused := refusal(actor, repository, writes=writes):
        return refused
    push = secrets.token_hex(12)
    github.pushing[push] = Push(repository, actor)
    try:
        return backend(github, incoming, repository, rest, push, actor)
    finally:
        del github.pushing[push]


def refusal(actor: Actor, repository: Repository, *, writes: bool) -> Answer | None:
    level = "write" if writes else "read"
    if actor.token is None:
        return Answer(401, b"", CHALLENGE) if writes else None
    if actor.installation or actor.token.permissions is not None:
        held = actor.may(repository, f"contents:{level}") or (not writes and not repository.private)
    else:
        held = True
    if actor.user:
        role = repository.role_of(actor.user) or ("" if repository.private else "pull")
        held = held and is_at_least(role, "push" if writes else "pull")
    if held and not (writes and repository.archived):
        return None
    text = f"remote: Permission to {repository.full_name}.git denied to {actor.name}.\n"
    return Answer(403, text.encode())


def backend(github: GitHub, incoming: Incoming, repository: Repository, rest: str, push: str, actor: Actor) -> Answer:
    env = {
        "PATH": os.environ.get("PATH", ""), **QUIET, "GIT_PROJECT_ROOT": str(repository.git.path.parent),
        "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": f"/{repository.git.path.name}{rest}", "REQUEST_METHOD": incoming.method,
        "QUERY_STRING": incoming.query, "CONTENT_TYPE": incoming.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(incoming.body)), "REMOTE_USER": actor.name, "REMOTE_ADDR": "127.0.0.1",
        "HTTP_CONTENT_ENCODING": incoming.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": incoming.headers.get("git-protocol", ""), "STAND_IN": github.address, "STAND_IN_PUSH": push,
        "STAND_IN_PATH": HOOK_PATH,
    }  # fmt: skip
    done = subprocess.run(["git", "http-backend"], input=incoming.body, capture_output=True, env=env, check=False)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    status, headers = 200, {}
    for line in head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "status":
            status = int(value.split()[0])
        elif name:
            headers[name] = value
    return Answer(status, body, headers)


def received(github: GitHub, asked: dict[str, Any]) -> Answer:
    """What a hook of the repository asks: may these refs move, and afterwards: they have."""
    push = github.pushing.get(asked["push"])
    if push is None:
        return Answer(403, b"no such push\n")
    with github.lock:
        if asked["hook"] == "post-receive":
            account = push.actor.account or github.ghost
            refs_moved(push.repository, [(old, new, ref) for old, new, ref in asked["moves"]], account)
            return Answer(200, b"")
        git = push.repository.git.within(asked["env"])
        lines: list[str] = []
        for old, new, ref in asked["moves"]:
            lines += verdict(push, git, old, new, ref)
        return Answer(422 if lines else 200, "".join(f"error: {line}\n" for line in lines).encode())


def verdict(push: Push, git: Git, old: str, new: str, ref: str) -> list[str]:
    if text := against_workflows(git, old, new, push.actor):
        return [text]
    found = against_update(push.repository, git, ref, old, new, push.actor)
    if not found:
        return []
    is_classic = ref.removeprefix("refs/heads/") in push.repository.protections
    first = "GH006: Protected branch update failed" if is_classic else "GH013: Repository rule violations found"
    return [f"{first} for {ref}.", *found]
