"""Half an hour without GitHub, by a clock that is put forward: nobody storms, nothing is lost, nothing passes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from audit import events
from audit.models import LogEntry
from handoffs.models import GitHubCircuit, GitHubRepository, GitHubRequest, Handoff, PullStatus, Status
from tests.github.beating import Beat
from tests.github.publishing import GATE_3
from tests.support.github import GitHub
from tests.support.log import settle_log
from tests.support.on_github import OnGitHub, ready
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.publication_rows import CheckPublication

BRANCH = "staging/codex-notes"


def health() -> tuple[str, str]:
    said = Client().get("/healthz/ready").json()
    return said["status"], said.get("github", "")


@pytest.mark.threat("HOK-04")
@pytest.mark.threat("GATE-12")
def test_half_an_hour_without_github(github: GitHub, portal_folder: Path, settings: Any, monkeypatch):
    on_github = OnGitHub.on(github, portal_folder, settings, is_proved=True)
    on_github.hand_over()
    on_github.run_workflows()
    on_github.sweep()
    on_github.sweep()
    pull, main = on_github.pull(), on_github.remote.sha()
    beat = Beat.of(on_github, monkeypatch)
    beat.run(90)
    assert health() == ("ok", "")

    github.chaos.outage()
    beat.asked.clear()
    on_github.verdict(VerdictKind.PASS)
    settle_log()
    merge_pull_request(pull.pk, on_github.tools(), by=on_github.actor("plan"))  # acknowledged, and waits
    raw = on_github.bundle({"notes.md": "x\n"}, branch=BRANCH)
    on_github.remote.commit({".leo/artifact.tar.gz": raw}, branch=BRANCH, message=ready(raw))
    beat.run(8 * 60)
    assert health() == ("ok", "")
    beat.run(4 * 60)
    assert health() == ("degraded", "reconcile.late")
    beat.run(18 * 60)
    asked = [beat.asked[name] for name in sorted(beat.asked, key=lambda name: int(name.split()[1]))]
    print(f"\n{sum(asked)} requests in 30 minutes: {asked}")
    # Three vain requests, then one process asks at a time: after 12 to 15 s, 24 to 30 s, then each 44 to 55 s at least.
    assert 30 <= sum(asked) <= 3 + 2 + 30 * 60 / 44
    assert max(asked[1:]) <= 2
    row, circuit = GitHubRepository.objects.get(), GitHubCircuit.objects.get()
    assert row.enforcer_error.startswith(("github.unavailable", "github.silent"))
    assert row.gate_error.startswith("github.silent")
    assert row.gate_next_try_at is not None
    left = row.gate_next_try_at - timezone.now()
    assert left <= timedelta(seconds=5), "who takes back looks at the row, not at GitHub"
    silence = Client()
    silence.force_login(User.objects.get(username="plan"), backend="leoportal.roles.SignInBackend")
    page = silence.get("/repositories/acme/payments/").content.decode()
    assert f"has not answered since {circuit.failing_since:%Y-%m-%d %H:%M:%S} UTC" in page
    assert on_github.remote.sha() == main
    assert on_github.checks(pull.head_sha)[GATE_3].conclusion != "success"
    assert not CheckPublication.objects.filter(is_own=True, conclusion="success").exists()
    assert not Handoff.objects.filter(staging_branch=BRANCH).exists()

    github.chaos.end()
    beat.run(60)
    assert GitHubCircuit.objects.get().failing_since is None
    assert health() == ("ok", "")
    assert on_github.checks(pull.head_sha)[GATE_3].conclusion == "success"
    assert Handoff.objects.get(staging_branch=BRANCH).status in {Status.TRIGGERED, Status.OPENED}
    beat.run(90)
    assert Handoff.objects.get(staging_branch=BRANCH).status == Status.TRIGGERED
    assert on_github.remote.pulls[pull.number].merged
    pull.refresh_from_db()
    assert LogEntry.objects.filter(kind=events.PULL_MERGED).count() == (pull.status == PullStatus.MERGED)
    assert not GitHubRequest.objects.exists()
