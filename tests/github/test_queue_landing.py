"""Pull requests that land by GitHub's merge queue or by a squash: classed by what released them, provable in a pack."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from audit import events
from audit.models import LogEntry
from handoffs.models import PullStatus
from tests.support.github import GitHub
from tests.support.log import settle_log
from tests.support.on_github import OnGitHub, contexts
from tests.support.portal_packs import by_both, make_pack, sign_log
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedCommit
from verdicts.merging import merge_pull_request

DOCS: dict[str, str | None] = {"docs/fees.md": "# Fees\n\nOne percent, rounded down.\n"}


def released(on_github: OnGitHub, files: dict[str, str | None] | None = None, **names: str) -> str:
    """A pull request that PLAN passed and leo-gate shows as passed; its head."""
    on_github.hand_over(files, **names)
    on_github.run_workflows()
    on_github.sweep()
    on_github.sweep()
    on_github.verdict(VerdictKind.PASS)
    settle_log()
    on_github.publish()
    head = on_github.pull().head_sha
    assert {run.conclusion for run in on_github.checks(head).values()} == {"success"}
    return head


def look(on_github: OnGitHub) -> list[tuple[str, str]]:
    """Every lane looks; the classes of what landed, in order."""
    on_github.enforce()
    on_github.verify()
    on_github.enforce()
    rows = LandedCommit.objects.filter(is_brought=False).exclude(kind="PRE-ENROLMENT").order_by("pk")
    return list(rows.values_list("kind", "code"))


@pytest.fixture
def queued(github: GitHub, portal_folder: Any, settings: Any, live_server: Any) -> OnGitHub:
    """Governed with a merge queue, by `leo repo govern`; groups are asked about by webhook, the rest is found by looking."""
    made = OnGitHub.on(github, portal_folder, settings, is_proved=True, has_queue=True)
    made.enforcer_app.events[:] = ["merge_group"]
    made.enforcer_app.webhook_url = f"{live_server.url}/github/webhook/enforcer/"
    return made


def land_by_queue(on_github: OnGitHub, number: int) -> str:
    """Somebody puts it into the queue, GitHub asks about the group, leo-gate answers, and GitHub lands it."""
    (group,) = on_github.remote.enqueue(on_github.remote.pulls[number], by=on_github.user("mallory"))
    assert on_github.checks(group.head_sha) == {}
    on_github.enforce()
    on_github.publish()
    said = on_github.checks(group.head_sha)
    assert (set(said), {run.conclusion for run in said.values()}) == (set(contexts()), {"success"})
    assert on_github.remote.sha() == group.head_sha
    return group.head_sha


@pytest.mark.threat("GATE-06")
def test_two_pull_requests_land_through_the_queue_and_their_pack_proves_it(queued: OnGitHub):
    """The second one was judged on the base before the first, and looked at after it: its turn comes all the same."""
    on_github = queued
    heads = [released(on_github), released(on_github, DOCS, branch="staging/codex-docs", task="Document the fees")]
    first, second = on_github.repository.pull_requests.order_by("number")
    groups = [land_by_queue(on_github, first.number)]
    assert look(on_github) == [("PASS", "")]
    assert on_github.pull().status == PullStatus.READY_TO_MERGE
    groups.append(land_by_queue(on_github, second.number))
    assert look(on_github) == [("PASS", ""), ("PASS", "")]
    landed = LandedCommit.objects.filter(is_brought=False, kind="PASS").order_by("pk")
    assert [(row.commit, row.head_sha) for row in landed] == list(zip(groups, heads, strict=True))
    assert {row.status for row in on_github.repository.pull_requests.all()} == {PullStatus.MERGED}
    assert not LogEntry.objects.filter(kind=events.BYPASS_DETECTED).exists()
    told = [entry.open() for entry in LogEntry.objects.filter(kind=events.COMMIT_LANDED).order_by("pk")]
    assert [(one["class"], one["head"]) for one in told if one["head"]] == [("PASS", head) for head in heads]
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    page = client.get("/repositories/acme/payments/").content.decode()
    assert [group[:12] in page for group in groups] == [True, True]
    assert "past the portal" not in page
    sign_log()
    assert by_both(make_pack(on_github.settings)) == (0, [], "4 PASS, 1 PRE-ENROLMENT")
    assert by_both(make_pack(on_github.settings, pull="acme/payments#3")) == (0, [], "2 PASS")


@pytest.mark.threat("GATE-04")
def test_the_portal_squashes_where_history_is_linear_and_the_pack_proves_it(
    github: GitHub, portal_folder: Any, settings: Any
):
    on_github = OnGitHub.on(github, portal_folder, settings, is_proved=True, is_linear=True)
    before, head = on_github.remote.sha(), released(on_github)
    merge_pull_request(on_github.pull().pk, on_github.tools(), by=on_github.actor("plan"))
    on_github.enforce()
    assert look(on_github) == [("PASS", "")]
    (asked,) = [
        one for one in github.requests if one.method == "PUT" and one.path.endswith("/merge") and one.status == 200
    ]
    assert (asked.json()["merge_method"], asked.json()["sha"]) == ("squash", head)
    commit = on_github.remote.git.commit(on_github.remote.sha())
    assert (list(commit.parents), commit.tree) == ([before], on_github.pull().merge_tree)
    assert "PLAN-SUPERVISOR: PASS" in commit.message
    assert on_github.pull().status == PullStatus.MERGED
    assert LogEntry.objects.get(kind=events.PULL_MERGED).role == "PLAN"
    sign_log()
    assert by_both(make_pack(settings)) == (0, [], "1 PASS, 1 PRE-ENROLMENT")
    assert by_both(make_pack(settings, pull="acme/payments#2"))[:2] == (0, [])
