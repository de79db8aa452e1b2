"""A verified pull request that is on the stand-in for GitHub, too, and leo-gate's worker beside it.

The flow itself runs on a repository on disk; what is published goes over HTTP. The enforcer's side has tests of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from django.db import transaction

from audit import events
from audit.actions import append_event
from handoffs.models import GitHubRepository, PullRequest
from leoportal.setup import OPERATOR
from tests.support.github import GitHub
from tests.support.github.accounts import Account, App
from tests.support.github.checks import CheckRun, latest, runs_on
from tests.support.github.pulls import Pull
from tests.support.github.repositories import Repository as Remote
from tests.support.portal import Portal
from verdicts.evidence import policy_in_force
from verdicts.policy import parse_policy
from verdicts.tasks_publishing import publish

GATE_MAY = {"checks": "write", "pull_requests": "read", "metadata": "read"}
GATE_3 = "LEO Gate Validation / Gate 3"
SATISFYING = {"success", "neutral", "skipped"}


@dataclass
class Published:
    """`portal` judges, `remote` is where it is published, `gate` is leo-gate, `dev` may push."""

    portal: Portal
    github: GitHub
    remote: Remote
    gate: App
    dev: Account
    hosted: GitHubRepository

    @classmethod
    def make(cls, portal: Portal, github: GitHub, settings: Any) -> Published:
        """`acme/payments` on the stand-in, its four checks required from leo-gate alone."""
        dev = github.create_user("dev")
        remote = github.create_repository("acme/payments", portal.bare)
        remote.add(dev)
        gate = github.create_app("leo-gate", GATE_MAY)
        for name in contexts():
            remote.require(name, app=gate)
        settings.GITHUB_URL, settings.GITHUB_API_URL = github.url, github.api
        settings.GITHUB_GATE_APP_ID, settings.GITHUB_GATE_KEY = gate.id, gate.private_key()
        with transaction.atomic():
            hosted = GitHubRepository.objects.create(
                repository=portal.repository,
                github_id=remote.id,
                full_name=remote.full_name,
                enforcer_installation=1,
                gate_installation=github.install(gate, remote).id,
                gate_app=gate.id,
                enrolled_sha=remote.sha(),
                log_entry=append_event(events.REPOSITORY_GOVERNED, OPERATOR, "", {}),
            )
        return cls(portal, github, remote, gate, dev, hosted)

    def hand_over(self, files: Mapping[str, str | None] | None = None, **names: str) -> Pull:
        """A verified pull request, here and there under one number."""
        return self.mirror(self.portal.verified(files, **names))

    def mirror(self, pull: PullRequest) -> Pull:
        """What the enforcer does on GitHub: its branch and its pull request."""
        ref = f"refs/heads/{pull.head_ref}"
        self.remote.git.run("fetch", "-q", str(self.portal.bare), f"{pull.head_sha}:refs/leo/{pull.number}")
        self.remote.move(ref, pull.head_sha, by=self.dev)
        there = self.remote.open_pull(pull.head_ref, by=self.dev)
        assert there.number == pull.number
        return there

    def publish(self) -> str:
        """leo-gate's worker does its work, in its lane."""
        said: str = publish(self.portal.repository.pk)
        return said

    def ask(self, token: str, method: str, path: str, body: Mapping[str, Any]) -> int:
        """What the API answers to a call with somebody's token."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "User-Agent": "tests"}
        url = f"{self.github.api}/repos/{self.remote.full_name}/{path}"
        return requests.request(method, url, json=dict(body), headers=headers, timeout=30).status_code

    def retry(self) -> None:
        """The wait after a trouble is over."""
        GitHubRepository.objects.update(gate_next_try_at=None)

    def runs(self, sha: str) -> dict[str, CheckRun]:
        """The check runs that count on a commit, by name."""
        return {run.name: run for run in latest(runs_on(self.remote, sha))}

    def states(self, sha: str) -> dict[str, str]:
        """What each says: its conclusion, or its status while it has none."""
        return {name: run.conclusion or run.status for name, run in self.runs(sha).items()}

    def gate_3(self, sha: str) -> str:
        """What Gate 3 says."""
        return self.states(sha).get(GATE_3, "")

    def passed(self) -> Iterator[str]:
        """The commits on which Gate 3 lets a merge pass now."""
        for run in latest_of_all(self.remote):
            if run.name == GATE_3 and run.conclusion in SATISFYING:
                yield run.head_sha


def latest_of_all(remote: Remote) -> Iterator[CheckRun]:
    """The runs that count, of every commit."""
    for sha in {run.head_sha for run in remote.check_runs}:
        yield from latest(runs_on(remote, sha))


def contexts() -> tuple[str, ...]:
    """The four checks by their names."""
    return tuple(gate.check_name for gate in parse_policy(policy_in_force().document.encode()).gates)
