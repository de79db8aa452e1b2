"""What leo-gate shows on GitHub, over HTTP, from the first look to the release and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.covering import raise_alarm
from audit.events import Role
from audit.models import LogQuorum, RoleGrant
from handoffs.forges.protocol import ForgeError
from handoffs.github.check_runs import Annotation, CheckRun
from handoffs.models import ClockReading, PullRequest
from handoffs.tasks import enforcer
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.github.publishing import GATE_3, Published, contexts
from tests.support.github import GitHub
from tests.support.github.pulls import Pull
from tests.support.portal import Portal
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass
from verdicts.comparing import find_changed_rows
from verdicts.decision import Verdict as VerdictKind
from verdicts.publication_rows import CheckPublication
from verdicts.reopening import move_base
from verdicts.results import GateOutcome
from verdicts.rounds import verify_again
from verdicts.tasks_publishing import desk_of, sweep_publishing


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    return Published.make(portal, github, settings)


def test_four_checks_from_the_first_look_to_the_release(there: Published):
    pull = there.hand_over()
    assert there.publish() == "done"
    states = there.states(pull.head_sha)
    assert set(states) == set(contexts())
    assert states[GATE_3] == "in_progress"
    assert pull.mergeable_state == "blocked"
    there.portal.verdict(VerdictKind.PASS)
    assert there.publish() == "done"
    assert set(there.states(pull.head_sha).values()) == {"success"}
    assert pull.mergeable_state == "clean"
    row = CheckPublication.objects.filter(is_own=True).latest("pk")
    assert row.is_certain
    assert row.causes == [PullRequest.objects.get().verdicts.get().log_entry_id]
    before = len(there.github.requests)
    assert there.publish() == "done"
    asked = [(one.method, one.path) for one in there.github.requests[before:]]
    assert [method for method, _ in asked if method != "GET"] == []


def released(there: Published) -> Pull:
    """A pull request with a PASS that is shown."""
    pull = there.hand_over()
    there.portal.verdict(VerdictKind.PASS)
    assert there.publish() == "done"
    assert there.gate_3(pull.head_sha) == "success"
    return pull


def failed_gate(there: Published, settings: Any) -> None:
    there.portal.report("story-release", GateOutcome.FAILURE, run_id="late")


def verified_again(there: Published, settings: Any) -> None:
    by = there.portal.actor("plan")
    with acting_in("plan"):
        verify_again(there.portal.pull().pk, by=by)


def base_moved(there: Published, settings: Any) -> None:
    with acting_in("enforcer"):
        move_base(there.portal.pull().pk, base_sha="e" * 40, merge_tree="f" * 40, by=enforcer())


def alarm(there: Published, settings: Any) -> None:
    raise_alarm("log.test", "planted")


def skew(there: Published, settings: Any) -> None:
    ClockReading.objects.create(source="elsewhere", ahead_seconds=500, read_at=timezone.now())


@transaction.atomic
def builder_gone(there: Published, settings: Any) -> None:
    """Nobody reopened the row: only judging again finds it."""
    entry = append_event(events.ROLE_ENDED, OPERATOR, "", {})
    RoleGrant.objects.filter(principal__name="codex").update(ends_at=timezone.now(), end_entry=entry)


def no_repository(there: Published, settings: Any) -> None:
    there.portal.bare.rename(there.portal.bare.with_suffix(".away"))


CHANGES = (failed_gate, verified_again, base_moved, alarm, skew, builder_gone, no_repository)


@pytest.mark.threat("GATE-03")
@pytest.mark.threat("GATE-07")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_success_is_taken_back_at_once(there: Published, settings: Any, change: Callable[[Published, Any], None]):
    pull = released(there)
    assert sweep_publishing() in {0, 1}
    change(there, settings)
    assert sweep_publishing() == 1  # without an event, and before a minute is over
    there.publish()
    assert there.gate_3(pull.head_sha) == "failure"
    assert pull.mergeable_state == "blocked"


EDITS: dict[str, object] = {
    "title": "PASS · 99 %",
    "conclusion": "neutral",
    "causes": [1],
    "is_own": False,
    "is_group": True,
    "pull_number": 2,
    "head_sha": "e" * 40,
    "digest": "e" * 64,
    "context": "LEO Gate",
}


@pytest.mark.threat("AUD-01")
def test_a_publication_that_was_edited_or_deleted_past_its_guard_is_found(there: Published):
    released(there)
    (before,) = find_changed_rows()  # this repository was governed twice, here and on the stand-in
    assert "repository.governed" in before
    row = CheckPublication.objects.get(is_own=True, conclusion="success")
    with connection.cursor() as owner:
        owner.execute("ALTER TABLE leo_check_publication DISABLE TRIGGER USER")
        for column, wrong in EDITS.items():
            mine, right = CheckPublication.objects.filter(pk=row.pk), getattr(row, column)
            mine.update(**{column: wrong})
            said = f"CheckPublication {row.pk}: {column} are not what entry {row.log_entry_id} says"
            assert find_changed_rows() == [said, before]
            mine.update(**{column: right})
        entry = row.log_entry_id
        row.delete()
    assert f"entry {entry} (check.intended) has lost its row" in find_changed_rows()


@pytest.mark.threat("GATE-01")
def test_a_pull_request_that_nobody_handed_over_is_told_so(there: Published):
    there.remote.commit({"evil.py": "import os\n"}, branch="topic", by=there.dev)
    pull = there.remote.open_pull("topic", by=there.dev)
    there.publish()
    assert set(there.states(pull.head_sha).values()) == {"failure"}
    assert there.runs(pull.head_sha)[GATE_3].title == "Not handed over through the portal"


@pytest.mark.threat("GATE-05")
def test_amended_rebased_and_back_again(there: Published):
    """Pending, pending, and the original PASS: it was not superseded."""
    pull = released(there)
    judged = pull.head_sha
    tip, git = there.remote.sha("main"), there.remote.git
    who = there.remote.person(there.dev)
    amended = git.write_commit(git.resolve(judged, "tree"), [tip], "Amended", who, who)
    there.remote.move(f"refs/heads/{pull.head}", amended, by=there.dev)
    there.publish()
    assert (there.gate_3(amended), there.gate_3(judged)) == ("queued", "failure")
    base = git.write_commit(git.resolve(tip, "tree"), [tip], "Moved on", who, who)
    rebased = git.write_commit(git.resolve(judged, "tree"), [base], "Rebased, the same patch", who, who)
    there.remote.move(f"refs/heads/{pull.head}", rebased, by=there.dev)
    there.publish()
    assert (there.gate_3(rebased), there.gate_3(judged)) == ("queued", "failure")
    there.remote.move(f"refs/heads/{pull.head}", judged, by=there.dev)
    there.publish()
    assert there.gate_3(judged) == "success"
    assert set(there.passed()) == {judged}
    there.portal.report("story-release", GateOutcome.FAILURE, run_id="late")
    there.publish()
    assert set(there.passed()) == set()


def test_a_success_waits_for_its_checkpoint(there: Published, settings: Any):
    pull = there.hand_over()
    there.publish()
    settings.LOG_WAIT_SECONDS = 0.0
    with transaction.atomic():
        LogQuorum.objects.create(witnesses=1, log_entry=append_event(events.QUORUM_SET, OPERATOR, "", {}))
    there.portal.verdict(VerdictKind.PASS)
    there.publish()
    assert there.gate_3(pull.head_sha) == "in_progress"
    assert "checkpoint" in (there.runs(pull.head_sha)[GATE_3].title or "")


def test_breaking_the_glass_is_said_in_the_title(there: Published):
    pull = there.hand_over()
    portal = there.portal
    portal.report("story-release", GateOutcome.FAILURE, run_id="late")
    portal.add_person("lead2", Role.LEAD)
    why = "Payments are down; this is the fix, and the gates' runner is down with them."
    request = BreakGlassRequest(why, "INC-7", pull.head_sha)
    with acting_in("lead"):
        glass = request_break_glass(portal.pull().pk, request, by=portal.actor("lead"))
        open_break_glass(glass.pk, by=portal.actor("lead2"))
    there.publish()
    runs = there.runs(pull.head_sha)
    assert (runs[GATE_3].title or "").startswith("BREAK-GLASS")
    assert {run.conclusion for run in runs.values()} == {"success", "neutral"}
    assert pull.mergeable_state == "clean"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pr_approval_audit DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE pr_approval_audit SET expires_at = now() - interval '1 second'")
        cursor.execute("ALTER TABLE pr_approval_audit ENABLE ALWAYS TRIGGER append_only_rows")
    assert sweep_publishing() == 1
    there.publish()
    assert set(there.passed()) == set()
    assert pull.mergeable_state == "blocked"


def test_more_than_fifty_remarks_come_in_batches_each_once_and_the_state_with_the_last(there: Published, settings: Any):
    """GitHub takes 50 in a request. The answer to the second batch is lost, as if the worker had died after it."""
    settings.GITHUB_GATE_KEY = there.gate.private_key()
    sha = there.hand_over().head_sha
    checks = desk_of(there.hosted).checks
    remarks = tuple(
        Annotation("payments/net.py", line, "warning", f"R{line}", f"remark {line}") for line in range(1, 171)
    )
    run = CheckRun(GATE_3, sha, "leo-many", "", "completed", "failure", "FAIL", "many", remarks)
    made = checks.make(replace(run, status="in_progress", conclusion=""))
    assert made.annotated == 50

    def stands() -> tuple[int, str]:
        there_now = there.runs(sha)[GATE_3]
        return len(there_now.annotations), there_now.conclusion or there_now.status

    there.github.chaos.plant("reset", method="PATCH", path="/check-runs/", after=True)
    with pytest.raises(ForgeError):
        checks.write(run, made)
    assert stands() == (100, "in_progress")
    before = len(there.github.requests)
    assert checks.write(run, checks.runs_on(sha)[GATE_3]).annotated == 170
    assert [one.method for one in there.github.requests[before:]].count("PATCH") == 2
    assert stands() == (170, "failure")
    assert [one["start_line"] for one in there.runs(sha)[GATE_3].annotations] == list(range(1, 171))
    assert checks.write(run, checks.runs_on(sha)[GATE_3]).annotated == 170
    assert stands() == (170, "failure")
