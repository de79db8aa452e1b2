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
from tests.support.github.exchange import Refusal
from tests.support.github.queues import build, leave
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
def queued(github: GitHub, portal_folder: Any, settings: Any, live_server: Any, request: Any) -> OnGitHub:
    """Governed with a merge queue, by `leo repo govern`; groups are asked about by webhook, the rest is found by looking.

    With a parameter the queue squashes.
    """
    is_linear = hasattr(request, "param")
    made = OnGitHub.on(github, portal_folder, settings, is_proved=True, has_queue=True, is_linear=is_linear)
    made.enforcer_app.events[:] = ["merge_group"]
    made.enforcer_app.webhook_url = f"{live_server.url}/github/webhook/enforcer/"
    return made


def land_by_queue(on_github: OnGitHub, *numbers: int) -> str:
    """Somebody puts them into the queue, GitHub asks about the group, leo-gate answers, and GitHub lands it."""
    pulls = [on_github.remote.pulls[number] for number in numbers]
    (group,) = on_github.remote.enqueue(*pulls, by=on_github.user("mallory"), together=True)
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


@pytest.mark.threat("GATE-06")
def test_two_pull_requests_in_one_group_land_as_both_were_judged_whatever_github_names_as_their_commit(
    queued: OnGitHub, github: GitHub
):
    github.queue_names_group = True  # each is told as merged by the group's last commit
    heads = [released(queued), released(queued, DOCS, branch="staging/codex-docs", task="Document the fees")]
    group = land_by_queue(queued, *(pull.number for pull in queued.repository.pull_requests.order_by("number")))
    assert look(queued) == [("PASS", ""), ("PASS", "")]
    landed = LandedCommit.objects.filter(is_brought=False, kind="PASS").order_by("pk")
    assert [row.head_sha for row in landed] == heads
    assert [row.pull_request.head_sha for row in landed if row.pull_request] == heads
    assert (landed[1].commit, landed[1].base_sha) == (group, landed[0].commit)
    assert {row.status for row in queued.repository.pull_requests.all()} == {PullStatus.MERGED}
    sign_log()
    assert by_both(make_pack(queued.settings)) == (0, [], "4 PASS, 1 PRE-ENROLMENT")


@pytest.mark.threat("GATE-06")
@pytest.mark.parametrize("queued", ["squash"], indirect=True)
def test_a_group_with_one_that_nobody_passed_is_refused_and_squashed_and_proved_once_both_are(queued: OnGitHub):
    released(queued)
    queued.hand_over(DOCS, branch="staging/codex-docs", task="Document the fees")
    queued.run_workflows()
    queued.sweep()
    queued.sweep()
    before, mallory = queued.remote.sha(), queued.user("mallory")
    first, second = (queued.remote.pulls[pull.number] for pull in queued.repository.pull_requests.order_by("number"))
    with pytest.raises(Refusal, match="cannot be queued"):
        queued.remote.enqueue(first, second, by=mallory, together=True)
    queued.remote.queue.extend((first, second))  # as if GitHub had taken them
    group = build([first, second], mallory)
    queued.enforce()
    queued.publish()
    assert {run.conclusion for run in queued.checks(group.head_sha).values()} == {"failure"}
    assert second not in queued.remote.queue
    assert queued.remote.sha() == before, "nothing landed"
    leave(first, mallory, "dequeued")  # alone it would land now

    queued.verdict(VerdictKind.PASS)
    settle_log()
    queued.publish()
    land_by_queue(queued, first.number, second.number)
    assert look(queued) == [("PASS", ""), ("PASS", "")]
    landed = LandedCommit.objects.filter(is_brought=False, kind="PASS").order_by("pk")
    assert [list(queued.remote.git.commit(row.commit).parents) for row in landed] == [[before], [landed[0].commit]]
    assert first.merged
    assert second.merged
    sign_log()
    assert by_both(make_pack(queued.settings)) == (0, [], "2 PASS, 1 PRE-ENROLMENT")


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
