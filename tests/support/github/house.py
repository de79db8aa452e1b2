"""A small household in the stand-in: an organisation, its repository, two people and the two Apps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from tests.support.github.accounts import Account, App, Installation
from tests.support.github.repositories import Repository
from tests.support.github.world import GitHub

ENFORCER = {"contents": "write", "pull_requests": "write", "actions": "write", "issues": "write"}
GATE = {"checks": "write", "statuses": "write", "pull_requests": "read"}


@dataclass
class House:
    """A repository with a change in it, the two Apps, and their tokens."""

    github: GitHub
    repo: Repository
    boss: Account
    dev: Account
    enforcer: App
    gate: App
    enforcing: Installation
    gating: Installation

    def ask(self, token: str, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """One request of the API. Shape: `path` below /repos/acme/widgets, or absolute with a slash before it."""
        whole = path if path.startswith("/") else f"/repos/{self.repo.full_name}/{path}".rstrip("/")
        given = {"Authorization": f"Bearer {token}", **headers} if token else headers
        return requests.request(
            method, self.github.api + whole, json=body, headers=given, timeout=20, allow_redirects=False
        )


def make_house(github: GitHub) -> House:
    boss, dev = github.create_user("boss"), github.create_user("dev")
    github.create_organization("acme", owners=(boss,))
    repo = github.create_repository("acme/widgets", seed={"README.md": "hello\n"})
    repo.add(dev, "push")
    enforcer, gate = github.create_app("leo-enforcer", ENFORCER), github.create_app("leo-gate", GATE)
    return House(github, repo, boss, dev, enforcer, gate, github.install(enforcer, repo), github.install(gate, repo))
