"""An organisation at the stand-in that is ready to be governed: both Apps made from the portal's own manifests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from handoffs.github.connection import Connection, Token
from handoffs.github.live import Bypass
from handoffs.github.manifests import EVENTS, PERMISSIONS
from leoportal import governing
from leoportal.governing import Governed, Wish
from leoportal.lanes.switching import acting_in
from tests.support.github import GitHub
from tests.support.github.accounts import Account, App
from tests.support.github.repositories import Repository

PORTAL = "https://portal.example"
CODEOWNERS = {"README.md": "hello\n", ".github/CODEOWNERS": "/.github/ @acme/owners\n"}


@dataclass
class Town:
    """`boss` owns the organisation, `dev` pushes, `builder` is who hands over."""

    github: GitHub
    repo: Repository
    boss: Account
    dev: Account
    builder: Account
    enforcer: App
    gate: App
    said: list[str] = field(default_factory=list)

    def connect(self, who: Account | None = None) -> Connection:
        return Connection(self.github.api, Token((who or self.boss).token()))

    def wish(self, **changes) -> Wish:
        return Wish(self.repo.full_name, **{"builders": Bypass("User", self.builder.id), **changes})

    def govern(self, **changes) -> Governed:
        with acting_in("operator"):
            return governing.govern(self.wish(**changes), self.connect(), say=self.said.append, pause=lambda: None)

    def ask(self, token: str, method: str, path: str, body: Any = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.github.api}/repos/{self.repo.full_name}/{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=20)

    def ruleset(self, part: str):
        return next(one for one in self.repo.rulesets if part in one.name)


def make_town(github: GitHub, settings, folder: Path) -> Town:
    boss, dev, builder = (github.create_user(name) for name in ("boss", "dev", "codex"))
    github.create_organization("acme", owners=(boss,))
    repo = github.create_repository("acme/payments", seed=CODEOWNERS)
    repo.token_permissions |= {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    repo.add(dev, "push")
    repo.add(builder, "push")
    apps = {side: github.create_app(f"leo-{side}", dict(PERMISSIONS[side]), events=EVENTS[side]) for side in EVENTS}
    for app in apps.values():
        github.install(app, repo)
    settings.GITHUB_API_URL, settings.GITHUB_URL = github.api, github.url
    settings.GITHUB_ENFORCER_APP_ID, settings.GITHUB_GATE_APP_ID = apps["enforcer"].id, apps["gate"].id
    settings.GITHUB_GATE_KEY = apps["gate"].private_key()
    settings.FORGE_ROOT = folder / "forge"
    settings.VAR = folder / "var"
    (settings.VAR / "github").mkdir(parents=True)
    for side in EVENTS:
        (settings.VAR / "github" / f"leo-{side}.webhook-secret").write_text("x")
    return Town(github, repo, boss, dev, builder, apps["enforcer"], apps["gate"])
