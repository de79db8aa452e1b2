"""One handoff on GitHub from a builder's push to a merge, over HTTP, on real git and real PostgreSQL."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from audit import events
from audit.models import LogEntry
from handoffs.models import PullStatus, RemotePull, Status
from leoportal.words import word_of
from tests.support.github import GitHub
from tests.support.log import settle_log
from tests.support.on_github import OnGitHub, contexts
from tests.support.portal import git
from verdicts.comparing import find_changed_rows
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedCommit
from verdicts.merging import merge_pull_request


@pytest.fixture(params=["webhooks", "looking alone"])
def portal_on_github(request, github: GitHub, portal_folder: Path, settings: Any) -> OnGitHub:
    """With webhooks nobody looks without one; without them everything is found by looking."""
    url = request.getfixturevalue("live_server").url if request.param == "webhooks" else ""
    return OnGitHub.on(github, portal_folder, settings, portal_url=url, is_proved=True)


def page(on_github: OnGitHub, address: str = "") -> str:
    """What PLAN sees; of the pull request, if no address is given."""
    client = Client()
    client.force_login(User.objects.get(username="plan"), backend=on_github.settings.AUTHENTICATION_BACKENDS[-1])
    answer = client.get(address or f"/prs/acme/payments/{on_github.pull().number}/")
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def assert_page_shows_what_github_shows(on_github: OnGitHub) -> None:
    """Each check run and each workflow run is linked by its number, in the state it has there, and nothing else is."""
    home = f"{on_github.github.url}/acme/payments"
    runs = {f"{home}/runs/{run.id}": run for run in on_github.checks(on_github.pull().head_sha).values()}
    asked = {f"{home}/actions/runs/{run.id}/attempts/{run.attempt}": run for run in on_github.runs().values()}
    rows = [row for row in re.split(r"<tr>", page(on_github)) if f'href="{home}/' in row.partition("</tr>")[0]]
    linked = {re.findall(r'href="([^"]+)"', row)[0]: row for row in rows}
    assert set(linked) == set(runs) | set(asked)
    for url, run in (runs | asked).items():
        assert f"{word_of(run.conclusion or run.status).text}</span>" in linked[url]


@pytest.mark.threat("MRK-04")
def test_one_handoff_from_a_push_to_a_merge(portal_on_github: OnGitHub):
    on_github = portal_on_github
    handoff = on_github.hand_over()
    assert handoff.status == Status.TRIGGERED, (handoff.error, handoff.refusal_code)
    pull, remote = on_github.pull(), on_github.remote_pull()
    assert (pull.number, remote.head_sha, remote.base) == (remote.number, pull.head_sha, "main")
    assert handoff.digest in (remote.body or "")
    assert remote.user.login == "leo-enforcer[bot]"
    theirs = git(on_github.source, "rev-parse", "HEAD")
    for branch in ("staging/codex-other", "feature/other", "main"):
        with pytest.raises(subprocess.CalledProcessError, match=r"Command"):
            on_github.push(theirs, branch, by="mallory")
        assert on_github.remote.sha(branch) != theirs
    branch, handed_over = handoff.staging_branch, handoff.staging_commit
    with pytest.raises(subprocess.CalledProcessError, match=r"Command"):
        on_github.push(theirs, branch, old=handed_over)  # by the builder, whose branch it is
    assert on_github.remote.sha(branch) == handed_over
    on_github.enforce()
    assert set(on_github.runs()) == {"leo-slsa", "leo-policy", "leo-story", "leo-agents"}
    on_github.run_workflows()
    on_github.sweep()
    on_github.sweep()
    assert not remote.mergeable
    assert_page_shows_what_github_shows(on_github)
    assert on_github.verdict(VerdictKind.PASS).confidence >= 85
    settle_log()
    merge_pull_request(pull.pk, on_github.tools(), by=on_github.actor("plan"))
    on_github.enforce()
    assert RemotePull.objects.get().merge_refusal  # GitHub's own rules want leo-gate's Gate 3 first
    assert on_github.pull().status == PullStatus.READY_TO_MERGE
    on_github.publish()
    published = {run.name: run.conclusion for run in on_github.checks(pull.head_sha).values()}
    assert published == dict.fromkeys(contexts(), "success")
    assert_page_shows_what_github_shows(on_github)
    # The answer to the merge is lost, as if the worker had died after it: it is found, and made once.
    on_github.github.chaos.plant("reset", method="PUT", path=r"/merge$", after=True)
    on_github.enforce()
    assert on_github.pull().status == PullStatus.READY_TO_MERGE
    on_github.sweep()
    assert on_github.pull().status == PullStatus.MERGED
    message = on_github.remote.git.commit(on_github.remote.sha()).message
    said = f"Verdict-By: principal {on_github.actor('plan').principal_id}"
    assert {"PLAN-SUPERVISOR: PASS", said} <= set(message.splitlines())
    landed = LandedCommit.objects.get(commit=on_github.remote.sha())
    assert (landed.kind, landed.pull_request_id) == ("PASS", pull.pk)
    assert f'href="{on_github.github.url}/acme/payments/commit/{landed.commit}"' in page(on_github)
    assert "Landed: </span>" in page(on_github, "/prs/")
    assert not LogEntry.objects.filter(kind=events.BYPASS_DETECTED).exists()
    merged = LogEntry.objects.get(kind=events.PULL_MERGED)
    assert (merged.role, merged.principal) == ("PLAN", on_github.actor("plan").principal_id)
    assert find_changed_rows() == []
    with connection.cursor() as owner:
        for table, change in (("leo_landed_commit", "base_sha = tree"), ("leo_workflow_evidence", "document = '{}'")):
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            owner.execute(f"UPDATE {table} SET {change}")
    assert {row.partition(" ")[0] for row in find_changed_rows()} == {"LandedCommit", "WorkflowEvidence"}
    gate_key_users = {one.actor for one in on_github.github.requests if "/check-runs" in one.path}
    assert gate_key_users == {"leo-gate[bot]"}
