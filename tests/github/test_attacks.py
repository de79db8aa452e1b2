"""Attacks by who may push, open pull requests or comment on GitHub: nothing unjudged lands through the portal or as PASS."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit import events
from audit.events import Actor
from audit.models import LogEntry
from handoffs.github import pulls
from handoffs.hosting import Side
from handoffs.models import GitHubRepository, PullStatus, RemotePull, WorkflowRun
from tests.github.conftest import enrol
from tests.github.test_landing import look
from tests.support.github.merging import merge
from tests.support.github.runs import definitions, start_run
from tests.support.on_github import OnGitHub
from tests.support.portal_packs import sign_log
from verdicts import tasks_landing
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.tasks import sweep_verification

DOCS: dict[str, str | None] = {"docs/fees.md": "# Fees\n\nOne percent, rounded down.\n"}


@pytest.mark.threat("GATE-05")
@pytest.mark.threat("GATE-08")
def test_a_pushed_merge_of_a_head_whose_verdict_was_superseded_is_a_bypass(on_github: OnGitHub):
    on_github.verified()
    on_github.verdict(VerdictKind.PASS)
    pull, remote, olivia = on_github.pull(), on_github.remote, on_github.user("olivia")
    who = remote.person(olivia)
    remote.commit({"later.txt": "x"}, branch=pull.head_ref, by=on_github.user("mallory"))
    on_github.enforce()
    assert on_github.pull().status == PullStatus.GATES_PASSING
    tree = remote.git.merge_tree(pull.base_sha, pull.head_sha)
    pushed = remote.git.write_commit(tree, [pull.base_sha, pull.head_sha], "Merge", who, who)
    remote.move("refs/heads/main", pushed, by=olivia)
    (landed,) = look(on_github)
    assert landed[0] == "BYPASS"


@pytest.mark.threat("GATE-04")
@pytest.mark.threat("GATE-07")
@pytest.mark.parametrize("moved", ["tip", "base"])
def test_the_portal_merges_on_the_judged_base_alone_whatever_the_rules_let_through(on_github: OnGitHub, moved: str):
    on_github.verified()
    on_github.verdict(VerdictKind.PASS)
    sign_log()
    merge_pull_request(on_github.pull().pk, on_github.tools(), by=on_github.actor("plan"))
    remote, there = on_github.remote, on_github.remote_pull()
    remote.rulesets.clear()
    if moved == "tip":
        remote.commit({"pushed.txt": "x"}, by=on_github.user("olivia"))
    else:
        remote.commit({}, branch="release", by=on_github.user("mallory"))
        there.edit(on_github.user("mallory"), base="release")
    with on_github.lane(Side.ENFORCER):
        sweep_verification()
    assert not there.merged
    assert "judged" in RemotePull.objects.get().merge_refusal
    if moved == "base":  # somebody merges it there; it is over here
        merge(there, remote.actor(on_github.user("mallory")))
        on_github.enforce()
        assert on_github.pull().status == PullStatus.CLOSED


def test_a_merge_that_github_always_refuses_stops_no_other(on_github: OnGitHub):
    """Of two that a decider asked to merge the first one is forbidden, each time it is asked for."""
    changes: tuple[tuple[dict[str, str | None] | None, dict[str, str]], ...] = (
        (None, {}),
        (DOCS, {"branch": "staging/codex-docs", "task": "Document"}),
    )
    for files, names in changes:
        on_github.hand_over(files, **names)
        on_github.run_workflows()
        on_github.sweep()
        on_github.sweep()
        on_github.verdict(VerdictKind.PASS)
    sign_log()
    first, second = on_github.repository.pull_requests.order_by("number")
    for pull in (first, second):
        merge_pull_request(pull.pk, on_github.tools(), by=on_github.actor("plan"))
        on_github.make_green(pull.head_sha)
    on_github.github.chaos.plant(403, method="PUT", path=f"/pulls/{first.number}/merge", times=None)
    with on_github.lane(Side.ENFORCER):
        sweep_verification()
    assert [on_github.remote.pulls[pull.number].merged for pull in (first, second)] == [False, True]


@pytest.mark.threat("HOK-04")
@pytest.mark.threat("GATE-13")
def test_no_text_run_or_pull_on_github_keeps_the_rest_of_a_repository_from_being_looked_at(
    on_github: OnGitHub, monkeypatch: pytest.MonkeyPatch
):
    on_github.hand_over()
    on_github.enforce()
    remote, mallory, pull = on_github.remote, on_github.user("mallory"), on_github.pull()
    on_github.remote_pull().edit(mallory, body="x" * 65536)  # no room for the portal's block
    asked = WorkflowRun.objects.order_by("pk")[:2]
    (run, *_), both = remote.runs, " ".join(row.intent for row in asked)
    remote.runs.clear()  # who may write may delete runs, and start one that says that it is two of them
    of = next(one for one in definitions(remote, pull.head_sha) if one.path == run.workflow.path)
    start_run(
        run.workflow, of, "workflow_dispatch", pull.head_sha, pull.head_ref, mallory, ref="refs/heads/main",
        inputs={"intent": both},
    )  # fmt: skip
    on_github.enforce()
    on_github.hosted.refresh_from_db()
    assert on_github.hosted.enforcer_error == ""
    monkeypatch.setattr(pulls, "MOST_OPEN", 1)
    remote.commit({}, branch="release/" + "x" * 220, by=mallory)
    remote.commit({"x": "x"}, branch="topic", by=mallory)
    remote.open_pull("topic", by=mallory)  # newer than ours, and all that is listed
    on_github.remote_pull().edit(mallory, base="release/" + "x" * 220)
    for _ in range(2):
        on_github.enforce()
    on_github.hosted.refresh_from_db()
    assert on_github.hosted.enforcer_error == ""
    stale = [entry.open() for entry in LogEntry.objects.filter(kind=events.VERDICT_STALE)]
    assert [one["why"] for one in stale] == ["the base branch was changed"]


@pytest.mark.threat("GATE-08")
@pytest.mark.threat("HOK-04")
def test_a_branch_that_git_refuses_hides_nothing_that_lands_and_a_lost_protected_one_is_said(on_github: OnGitHub):
    remote, olivia = on_github.remote, on_github.user("olivia")
    told = remote.git.run("cat-file", "commit", remote.sha()).encode() + b"\0"
    broken = remote.git.run("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=told).strip()
    remote.move("refs/heads/staging/codex-broken", broken, by=on_github.user("codex-bot"))
    remote.commit({"pushed.txt": "x"}, by=olivia)
    assert look(on_github) == [("BYPASS", "landed.no_pull")]
    on_github.hosted.refresh_from_db()
    assert "forge.fetch_failed" in on_github.hosted.enforcer_error
    remote.delete_branch("staging/codex-broken")
    remote.rulesets.clear()
    remote.move("refs/heads/trunk", remote.sha(), by=olivia)
    remote.default_branch = "trunk"
    remote.delete_branch("main", by=olivia)
    GitHubRepository.objects.update(enforcer_next_try_at=None)
    on_github.enforce()
    on_github.hosted.refresh_from_db()
    assert "forge.no_branch" in on_github.hosted.enforcer_error


def test_one_repository_whose_landings_cannot_be_judged_hides_no_others(
    hosted: GitHubRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    enrol(tmp_path, github_id=4712, name="acme/other")
    looked: list[int] = []

    def broken(one: GitHubRepository, *, by: Actor) -> int:
        looked.append(one.github_id)
        raise ValueError(by.name)

    monkeypatch.setattr(tasks_landing, "judge_landed", broken)
    assert tasks_landing.sweep_landed() == 0
    assert sorted(looked) == [4711, 4712]
