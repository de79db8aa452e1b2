"""What lands on a protected branch on GitHub is classed by tree, parents and rows, whatever GitHub's rules let through."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.db.models.functions import Now
from django.test import Client

from audit import events
from audit.models import LogEntry
from handoffs import tasks_github
from handoffs.hosting import Side
from handoffs.models import GitHubRepository, PullRequest, PullStatus, RemotePull
from leoportal.lanes.switching import acting_in
from tests.support.github.merging import merge
from tests.support.on_github import OnGitHub
from tests.support.portal_packs import by_command, make_pack, sign_log
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedCommit
from verdicts.merging_github import refusal_to_merge
from verdicts.models import Verdict, VerificationWork
from verdicts.tasks_landing import sweep_landed


def look(on_github: OnGitHub) -> list[tuple[str, str]]:
    """The enforcer reads, the verifier judges; the classes of what landed, in order, without where it began."""
    on_github.enforce()
    sweep_landed()
    rows = LandedCommit.objects.filter(is_brought=False).exclude(kind="PRE-ENROLMENT").order_by("pk")
    return list(rows.values_list("kind", "code"))


def may_merge(pull_id: int) -> str:
    """What the enforcer is told."""
    with acting_in("enforcer"):
        return refusal_to_merge(pull_id)


def merge_past_the_rules(on_github: OnGitHub, number: int) -> str:
    """An administrator switches the rule set off, merges, and switches it on again, all within half a minute."""
    olivia = on_github.user("olivia")
    ruleset = on_github.remote.rulesets[0]
    ruleset.enforcement = "disabled"
    new = merge(on_github.remote.pulls[number], on_github.remote.actor(olivia))
    ruleset.enforcement = "active"
    return new


@pytest.mark.threat("GATE-08")
@pytest.mark.threat("GATE-14")
@pytest.mark.threat("MRK-01")
def test_pushes_foreign_merges_and_rewritten_history_are_bypasses(on_github: OnGitHub):
    remote = on_github.remote
    assert look(on_github) == []
    began = LandedCommit.objects.get()
    assert (began.kind, began.commit) == ("PRE-ENROLMENT", on_github.hosted.enrolled_sha)

    pushed = remote.commit({"x.txt": "x"}, by=on_github.user("olivia"))
    assert look(on_github) == [("BYPASS", "landed.no_pull")]

    fork = on_github.github.fork(remote, on_github.user("mallory"))
    fork.commit({"y.txt": "y"}, branch="topic", by=on_github.user("mallory"))
    words = f"[CODEX-READY:{'0' * 64}] PLAN-SUPERVISOR: PASS\nLEAD-APPROVED: me"
    foreign = remote.open_pull("topic", by=on_github.user("mallory"), source=fork, title="Hello", body=words)
    on_github.enforce()
    seen = RemotePull.objects.get(number=foreign.number)
    assert (seen.head_repository, seen.author, seen.has_marker) == (fork.id, on_github.user("mallory").id, True)
    on_github.enforce()
    said = [entry.open() for entry in LogEntry.objects.filter(kind=events.MARKER_FORGED)]
    expected = ["PLAN-SUPERVISOR", "LEAD-APPROVED", "CODEX-READY"]
    assert [(one["pull"], one["markers"]) for one in said] == [(foreign.number, expected)]
    merge_past_the_rules(on_github, foreign.number)
    assert look(on_github)[1:] == [("BYPASS", "landed.no_handoff")]
    brought = LandedCommit.objects.get(is_brought=True)
    assert (brought.commit, brought.kind) == (foreign.head_sha, "BYPASS")

    remote.move("refs/heads/main", pushed, by=on_github.user("olivia"))
    assert look(on_github)[2:] == [("BYPASS", "landed.rewound")]
    assert look(on_github)[3:] == []
    found = LogEntry.objects.filter(kind=events.BYPASS_DETECTED).order_by("pk")
    assert [entry.open()["code"] for entry in found] == ["landed.no_pull", "landed.no_handoff", "landed.rewound"]


@pytest.mark.threat("GATE-08")
def test_one_look_of_each_lane_finds_a_bypass_and_both_look_within_120_seconds(on_github: OnGitHub, monkeypatch):
    """No webhook arrives. What is left of the 120 s is the looks' own time."""
    look(on_github)
    woken: list[str] = []
    monkeypatch.setattr(tasks_github, "nudge", lambda task, *_: woken.append(task))
    poll = on_github.settings.GITHUB_POLL_SECONDS = float(os.environ.get("GITHUB_POLL_SECONDS", "60"))
    on_github.remote.commit({"x.txt": "x"}, branch="topic", by=on_github.user("mallory"))
    pull = on_github.remote.open_pull("topic", by=on_github.user("mallory"))
    assert tasks_github.sweep_github() == 0  # somebody has just looked
    merge_past_the_rules(on_github, pull.number)
    GitHubRepository.objects.update(enforcer_looked_at=Now() - timedelta(seconds=poll))
    assert tasks_github.sweep_github() == 1
    assert "handoffs.tasks_github.reconcile" in woken
    with on_github.lane(Side.ENFORCER):
        assert tasks_github.reconcile(on_github.repository.pk) == "done"
    assert sweep_landed() == 1
    assert LogEntry.objects.filter(kind=events.BYPASS_DETECTED).count() == 1
    beat = {one["task"]: one["schedule"] for one in on_github.settings.CELERY_BEAT_SCHEDULE.values()}
    waits = beat["handoffs.tasks_github.sweep_github"] + beat["verdicts.tasks_landing.sweep_landed"]
    assert poll + waits <= 120


@pytest.mark.threat("GATE-08")
def test_a_pull_request_merged_without_a_release_is_a_bypass_also_if_the_verdict_comes_later(on_github: OnGitHub):
    on_github.hand_over()
    on_github.enforce()
    on_github.run_workflows()
    on_github.sweep()
    on_github.sweep()
    on_github.github.clock.ahead -= timedelta(seconds=60)
    merge_past_the_rules(on_github, on_github.pull().number)
    on_github.verdict(VerdictKind.PASS)  # nobody looked yet: the portal takes it
    assert look(on_github) == [("BYPASS", "landed.no_release")]
    on_github.enforce()
    pull = on_github.pull()
    assert (pull.status, pull.merge_sha) == (PullStatus.MERGED, on_github.remote.sha())
    assert not LogEntry.objects.filter(kind=events.PULL_MERGED).exists()


@pytest.mark.threat("GATE-08")
def test_what_a_person_merges_with_the_button_after_pass_is_no_bypass_in_the_portal_nor_in_a_pack(on_github: OnGitHub):
    mallory, remote = on_github.user("mallory"), on_github.remote
    remote.commit({"x.txt": "x"}, branch="decoy", by=mallory)
    decoy = remote.open_pull("decoy", by=mallory)
    on_github.verified()
    on_github.verdict(VerdictKind.PASS)
    pull = on_github.pull()
    on_github.make_green(pull.head_sha)
    remote.move("refs/heads/decoy", pull.head_sha, by=mallory)  # merged with it; nobody handed that one over
    assert decoy.number < pull.number
    merge(on_github.remote_pull(), on_github.remote.actor(on_github.user("mallory")))
    assert look(on_github) == [("PASS", "")]
    on_github.enforce()
    assert on_github.pull().status == PullStatus.MERGED
    merged = LogEntry.objects.get(kind=events.PULL_MERGED)
    assert (merged.role, merged.open()["commit"]) == ("ENFORCER", on_github.remote.sha())

    pushed = on_github.remote.commit({"pushed.txt": "x"}, by=on_github.user("olivia"))
    assert look(on_github)[-1] == ("BYPASS", "landed.no_pull")
    sign_log()
    status, said = by_command(make_pack(on_github.settings))
    assert status == 1
    assert said["bypass"] == ("BROKEN", f"1 commits landed without the portal: {pushed[:12]}")
    assert said["commits"][1].startswith("1 BYPASS, 2 PASS, 1 PRE-ENROLMENT")


@pytest.mark.threat("GATE-05")
@pytest.mark.threat("GATE-07")
def test_a_verdict_holds_for_one_commit_on_one_base_and_for_nothing_else(on_github: OnGitHub):
    on_github.verified()
    on_github.verdict(VerdictKind.PASS)
    pull, remote = on_github.pull(), on_github.remote
    mallory, judged = on_github.user("mallory"), pull.head_sha
    assert pull.status == PullStatus.READY_TO_MERGE
    sign_log()
    assert may_merge(pull.pk) == ""

    same = remote.commit({}, branch=pull.head_ref, parent=pull.base_sha, force=True, by=mallory)
    amended = remote.git.write_commit(
        remote.git.resolve(judged, "tree"),
        [pull.base_sha],
        "The same change",
        remote.person(mallory),
        remote.person(mallory),
    )
    remote.move(f"refs/heads/{pull.head_ref}", amended, by=mallory)
    assert same != amended
    on_github.enforce()
    now = on_github.pull()
    assert (now.head_sha, now.status) == (amended, PullStatus.GATES_PASSING)  # the same tree, another commit

    remote.move(f"refs/heads/{pull.head_ref}", judged, by=mallory)
    on_github.enforce()
    now = on_github.pull()
    assert (now.head_sha, now.status) == (judged, PullStatus.GATES_PASSING)  # back, and the old PASS is superseded
    assert may_merge(pull.pk) == "merge.no_pass"
    with acting_in("enforcer"), pytest.raises(DatabaseError), transaction.atomic():
        Verdict.objects.first()  # the enforcer is told no more than that

    remote.commit({}, branch="release", by=mallory)
    on_github.remote_pull().edit(mallory, base="release")
    on_github.enforce()
    assert (on_github.pull().base_ref, on_github.pull().status) == ("release", PullStatus.NEEDS_REVISION)
    on_github.remote_pull().edit(mallory, base="main")
    on_github.enforce()
    assert on_github.pull().status == PullStatus.GATES_PASSING

    on_github.remote_pull().close(mallory)
    on_github.enforce()
    assert on_github.pull().status == PullStatus.CLOSED
    on_github.remote_pull().reopen(mallory)
    on_github.enforce()
    assert on_github.pull().status == PullStatus.GATES_PASSING
    whys = [entry.open().get("why") for entry in LogEntry.objects.filter(kind=events.VERDICT_STALE).order_by("pk")]
    assert whys.count("the head moved") == 2
    assert whys.count("the base branch was changed") == 2


def test_the_portals_block_is_mended_and_nobody_elses_words_are_touched(on_github: OnGitHub):
    on_github.hand_over()
    remote = on_github.remote_pull()
    block = on_github.pull().body
    mine = f"Please look at this first.\n\n{(remote.body or '').replace('Bundle:', 'Forged:')}\nThanks!"
    remote.edit(on_github.user("mallory"), body=mine, title="My title")
    on_github.enforce()
    body = remote.body or ""
    assert block.strip() in body
    assert body.startswith("Please look at this first.")
    assert body.endswith("Thanks!")
    assert remote.title == "My title"
    asked = len([one for one in on_github.github.requests if one.method == "PATCH"])
    on_github.enforce()
    assert len([one for one in on_github.github.requests if one.method == "PATCH"]) == asked


def test_a_bypass_stands_on_the_pages_of_its_pull_request_and_its_repository(on_github: OnGitHub):
    on_github.hand_over()
    merge_past_the_rules(on_github, on_github.pull().number)
    look(on_github)
    on_github.sweep()
    assert not VerificationWork.objects.open().exists()  # nobody waits for the workflows of what has ended
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    for page in ("/prs/acme/payments/1/", "/repositories/acme/payments/"):
        text = client.get(page).content.decode()
        assert "past the portal" in text
        assert "landed.no_release" in text


@pytest.mark.threat("GATE-08")
@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        ("another tree", "landed.tree_mismatch"),
        ("taken back", "landed.taken_back"),
        ("another base", "landed.other_base"),
    ],
)
def test_a_release_covers_what_was_judged_and_while_it_holds(on_github: OnGitHub, spoilt: str, code: str):
    on_github.verified({"notes.md": "x\n"})
    on_github.verdict(VerdictKind.PASS)
    pull, remote, olivia = on_github.pull(), on_github.remote, on_github.user("olivia")
    if spoilt == "taken back":
        PullRequest.objects.filter(pk=pull.pk).update(status=PullStatus.GATES_PASSING, moved_at=Now())
        on_github.github.clock.advance(30)
        merge_past_the_rules(on_github, pull.number)
    elif spoilt == "another base":
        remote.commit({"pushed.txt": "x"}, by=olivia)
        merge_past_the_rules(on_github, pull.number)
    else:
        who = remote.person(olivia)
        tree = remote.git.write_tree(pull.head_sha, {"evil.txt": b"x"})
        remote.move(
            "refs/heads/main",
            remote.git.write_commit(tree, [pull.base_sha, pull.head_sha], "Merge", who, who),
            by=olivia,
        )
    assert look(on_github)[-1] == ("BYPASS", code)
