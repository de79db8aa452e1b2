"""What GitHub shows of a pull request, and that nothing of it is state: whatever is done to it is put back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import ProgrammingError
from django.utils import timezone

from audit.models import LogEntry
from handoffs.github.comments import STATUS
from handoffs.hosting import Side
from handoffs.models import GitHubCircuit, GitHubRepository, Notice, Projection, PullRequest, Tampering
from leoportal.lanes.switching import acting_in
from tests.support.github.issues import Comment
from tests.support.on_github import OnGitHub
from tests.support.portal import GOOD_CHANGE
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import DecisionKind, VerificationWork, WorkStatus
from verdicts.projecting import STATES, is_owned
from verdicts.tasks_composing import compose_projections
from verdicts.tasks_projecting import sweep_projections


@pytest.fixture
def shown(on_github: OnGitHub) -> OnGitHub:
    """A pull request whose gates wait, shown on GitHub."""
    hand_over(on_github)
    look(on_github)
    return on_github


def hand_over(hosted: OnGitHub, *, is_verified: bool = False) -> None:
    """A change from the builder to where the enforcer's duty ends; `is_verified`: everything that is to run ran.

    Without, the rows say that nothing is left to run: sub-agents take seconds, and few tests are about them.
    """
    hosted.push_bundle(hosted.bundle(GOOD_CHANGE))
    hosted.enforce()
    if is_verified:
        hosted.sweep()
        hosted.enforce()
        hosted.run_workflows()
        hosted.enforce()
        VerificationWork.objects.update(next_try_at=None)
        hosted.verify()
    VerificationWork.objects.update(status=WorkStatus.DONE)


def look(hosted: OnGitHub, *, later: bool = True) -> None:
    """What both lanes' beats do; `later`: after as long as GitHub is not compared again by itself."""
    if later:
        Projection.objects.update(looked_at=timezone.now() - timedelta(seconds=61))
    compose_projections()
    with hosted.lane(Side.ENFORCER):
        sweep_projections()


def labels(hosted: OnGitHub) -> list[str]:
    return sorted(label.name for label in hosted.remote_pull().labels)


def comments(hosted: OnGitHub) -> list[Comment]:
    return [one for one in hosted.remote.comments if one.app is hosted.enforcer_app]


def status_comment(hosted: OnGitHub) -> Comment:
    (found,) = [one for one in comments(hosted) if one.body.startswith(STATUS)]
    return found


def writes(hosted: OnGitHub) -> int:
    reads = ("/access_tokens", "/git-upload-pack")
    return sum(one.method != "GET" and not one.path.endswith(reads) for one in hosted.github.requests)


def state(hosted: OnGitHub) -> tuple[object, ...]:
    """Everything of a pull request that means something."""
    pull = hosted.pull()
    return (
        pull.status, pull.head_sha, pull.base_sha, pull.merge_tree, pull.triggered_at, pull.verdicts.count(),
        pull.decisions.count(), pull.gate_executions.count(), pull.merge_intents.count(), pull.merged_at,
    )  # fmt: skip


def test_labels_and_one_comment_follow_the_rows(on_github: OnGitHub):
    shown = on_github
    hand_over(shown, is_verified=True)
    look(shown)
    assert labels(shown) == ["gates-passing", "priority:p3"]
    first = status_comment(shown)
    assert "the turn of PLAN" in first.body, first.body.split("Gates:")[1][:300]
    shown.verdict(VerdictKind.ESCALATE, question="May this go live on a Friday?")
    look(shown)
    assert labels(shown) == ["lead-review", "priority:p2"]
    assert status_comment(shown) is first, "edited in place"
    shown.decide(DecisionKind.APPROVE)
    look(shown)
    assert labels(shown) == ["priority:p3", "ready-to-merge"]
    said = [one.body.split("\n")[1] for one in comments(shown) if one is not first]
    assert [line.split(".")[0].split(" on ")[0] for line in said] == [
        "PLAN, your verdict is needed: every gate",
        "`PLAN-SUPERVISOR: ESCALATE`",
        f"`LEAD-APPROVED: {shown.pull().decisions.get().justification.digest}`",
    ]
    names = {"plan", "lead", "codex", "ada", "opal", "stella"}
    assert not names & set(" ".join(said).replace(",", " ").lower().split()) - {"plan", "lead"}


def test_what_is_as_it_should_be_is_not_written_again(shown: OnGitHub):
    before = writes(shown)
    for _ in range(3):
        look(shown)
    assert writes(shown) == before
    reads = len(shown.github.requests)
    shown.settings.GITHUB_POLL_SECONDS = 60.0
    look(shown, later=False)
    assert len(shown.github.requests) == reads, "not even asked before a minute is over"


@pytest.mark.threat("GATE-15")
def test_labels_and_comments_changed_by_hand_are_put_back_and_are_no_state(shown: OnGitHub):
    before, mallory = state(shown), shown.user("mallory")
    shown.remote_pull().label("ready-to-merge", "leo:override", "priority:p0", "wontfix", by=mallory)
    shown.remote_pull().unlabel("gates-passing", by=mallory)
    status_comment(shown).edit(f"{STATUS}\nPASS\n\nPLAN-SUPERVISOR: PASS", mallory)
    look(shown)
    assert state(shown) == before
    assert labels(shown) == ["gates-passing", "priority:p3", "wontfix"], "a label of theirs stays"
    assert "PASS\n\nPLAN" not in status_comment(shown).body
    entries = LogEntry.objects.filter(kind="projection.repaired").order_by("pk")
    edited, labelled = (entry.open() for entry in entries)
    assert (edited["what"], edited["did"]) == ("comment", "edited")
    assert labelled["github_id"] == mallory.id
    assert labelled["added"] == ["leo:override", "priority:p0", "ready-to-merge"]
    assert labelled["removed"] == ["gates-passing"]
    assert "mallory" not in str(labelled)
    assert Notice.objects.filter(key__startswith="repaired ").count() == 1, "one comment about it all"
    look(shown)
    assert entries.count() == 2, "once"


@pytest.mark.threat("GATE-15")
def test_a_deleted_status_comment_comes_back(shown: OnGitHub):
    shown.remote.comments.remove(status_comment(shown))
    look(shown)
    assert status_comment(shown).body.startswith(STATUS)
    assert Tampering.objects.get().key.startswith("deleted ")


@pytest.mark.threat("GATE-15")
def test_a_comment_of_somebody_else_with_our_marker_is_nothing(on_github: OnGitHub):
    hand_over(on_github)
    theirs = on_github.remote_pull().comment(f"{STATUS}\nReady to merge", on_github.user("mallory"))
    by_gate = on_github.remote_pull().comment(f"{STATUS}\nReady to merge", on_github.gate_app.bot)
    look(on_github)
    assert theirs.body == by_gate.body == f"{STATUS}\nReady to merge"
    assert status_comment(on_github) not in {theirs, by_gate}


def test_what_a_dead_worker_wrote_is_found_again(on_github: OnGitHub):
    """The comment and the labels are on GitHub, and nothing of it is in the rows."""
    hand_over(on_github)
    on_github.github.chaos.plant("reset", method="POST", path="/comments", times=1, after=True)
    look(on_github)
    assert len(comments(on_github)) == 1
    assert Projection.objects.get().comment_id == 0
    on_github.github.chaos.plant("reset", method="POST", path="/labels", times=1, after=True)
    for _ in range(2):
        Projection.objects.update(next_try_at=None)
        look(on_github)
    assert len(comments(on_github)) == 1
    assert labels(on_github) == ["gates-passing", "priority:p3"]
    PullRequest.objects.update(status="lead-review", moved_at=timezone.now())
    on_github.github.chaos.plant("reset", method="DELETE", path="/labels/", times=1)
    for wanted in (["gates-passing", "lead-review", "priority:p2", "priority:p3"], ["lead-review", "priority:p2"]):
        Projection.objects.update(next_try_at=None)
        look(on_github)
        assert labels(on_github) == wanted
    assert not Tampering.objects.exists(), "what we began ourselves is nobody's tampering"


def test_with_a_token_for_trying_out_its_users_comments_are_ours(on_github: OnGitHub, settings: Any):
    hand_over(on_github)
    olivia = on_github.user("olivia")
    none = {"enforcer_installation": 0, "gate_installation": 0, "gate_app": 0}
    GitHubRepository.objects.update(**none)
    settings.GITHUB_TOKEN = olivia.token()
    on_github.remote_pull().comment(f"{STATUS}\nnot theirs", on_github.user("mallory"))
    for _ in range(2):
        look(on_github)
    (ours,) = [one for one in on_github.remote.comments if one.user is olivia]
    assert ours.body.startswith(STATUS)
    assert labels(on_github) == ["gates-passing", "priority:p3"]


def test_an_outage_uses_nothing_up(on_github: OnGitHub):
    hand_over(on_github)
    on_github.github.chaos.outage()
    for _ in range(8):
        Projection.objects.update(next_try_at=None)
        look(on_github)
    assert not comments(on_github)
    on_github.github.chaos.end()
    GitHubCircuit.objects.update(next_try_at=timezone.now())
    Projection.objects.update(next_try_at=None)
    look(on_github)
    assert len(comments(on_github)) == 1


def test_an_ended_pull_request_is_shown_once_more_and_then_left_alone(shown: OnGitHub):
    PullRequest.objects.update(status="closed", moved_at=timezone.now())
    look(shown)
    assert labels(shown) == ["needs-revision", "priority:p3"]
    asked = len(shown.github.requests)
    look(shown)
    assert len(shown.github.requests) == asked


def test_each_lane_writes_its_own_half_only(shown: OnGitHub):
    for lane, column in (("enforcer", "body"), ("enforcer", "labels"), ("verifier", "comment_id"), ("plan", "body")):
        with acting_in(lane), pytest.raises(ProgrammingError, match="permission denied"):
            Projection.objects.update(**{column: "0"})


def test_the_portals_labels_are_known_by_name():
    assert all(is_owned(label) for label in (*STATES, "Ready-To-Merge", "priority:p9", "LEO:anything"))
    assert not any(is_owned(label) for label in ("bug", "ready", "lead-review-please"))
