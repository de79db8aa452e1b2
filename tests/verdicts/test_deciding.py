"""PLAN's verdicts and LEAD's decisions on real rows: what is recorded, what is refused, and that refusals are kept."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from audit.actions import add_identity
from audit.events import AuditError, Role
from audit.models import LogEntry, Principal
from handoffs.git.repository import Git
from handoffs.models import PullRequest, PullStatus, Status
from handoffs.tasks import advance, sweep_staging
from leoportal.setup import OPERATOR
from tests.support.portal import GOOD_CHANGE, START, Portal
from verdicts import evidence
from verdicts.actions import time_out
from verdicts.deciding import VerdictRequest, record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import Decision, DecisionKind, GateExecution, Verdict, VerdictError
from verdicts.policy import decide, inputs_from_json
from verdicts.results import GateOutcome
from verdicts.rounds import verify_again
from verdicts.tasks import sweep_verification

UNTESTED_CHANGE = {"payments/fees.py": START["payments/fees.py"] + "\n\ndef double(cents):\n    return 2 * cents\n"}
MIGRATION = {
    "payments/migrations/0001_initial.py": "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
    "    dependencies = []\n    operations = [migrations.RunSQL('DROP TABLE payments_fee')]\n",
    **GOOD_CHANGE,
}


def refused(kind: str) -> list[str]:
    """Codes of the refusals of one kind in the trail."""
    return [str(entry.open()["code"]) for entry in LogEntry.objects.filter(kind=kind).order_by("pk")]


def test_a_pass_below_85_is_refused_and_kept_in_the_trail(portal: Portal):
    portal.hand_over()
    with pytest.raises(VerdictError, match=r"verdict\.confidence_too_low"):
        portal.verdict(VerdictKind.PASS)
    assert refused("verdict.refused") == ["verdict.confidence_too_low"]
    assert not Verdict.objects.exists()
    assert portal.pull().status == PullStatus.GATES_PASSING


def test_a_pass_with_a_gate_missing_or_failed_is_refused(portal: Portal):
    portal.hand_over()
    portal.run_work()
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)
    portal.report("story-release", GateOutcome.SKIPPED)
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)
    portal.report("story-release", GateOutcome.SUCCESS, run_id="run-2")
    assert portal.verdict(VerdictKind.PASS).verdict == "PASS"


@pytest.mark.parametrize("name", ["ada", "opal", "codex", "leoportal-enforcer", "lead", "auditor", "story-gate"])
def test_a_verdict_by_anyone_but_an_uninvolved_plan_is_refused(portal: Portal, name: str):
    portal.verified()
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        portal.verdict(VerdictKind.PASS, by=name)
    assert refused("verdict.refused") == ["role.not_allowed"]


def test_a_plan_who_wrote_a_commit_of_the_change_cannot_judge_it(portal: Portal):
    add_identity(Principal.objects.get(name="plan"), "email", "plan@acme.invalid", by=OPERATOR)
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="plan@acme.invalid")
    portal.receive()
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        portal.verdict(VerdictKind.PASS)
    assert portal.verdict(VerdictKind.PASS, by="plan2").supervisor.name == "plan2"


def test_a_commit_by_somebody_unknown_is_escalated_never_passed(portal: Portal):
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="who@elsewhere.invalid")
    portal.receive()
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)
    portal.verdict(VerdictKind.ESCALATE, question="Who is who@elsewhere.invalid, and may they contribute?")
    assert portal.pull().status == PullStatus.LEAD_REVIEW


def test_lead_decides_what_plan_escalates_and_nothing_else(portal: Portal):
    pull = portal.verified()
    with pytest.raises(VerdictError, match=r"decision\.not_escalated"):
        portal.decide(DecisionKind.APPROVE)
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    with pytest.raises(VerdictError, match=r"decision\.justification"):
        portal.decide(DecisionKind.APPROVE, why="ok")
    with pytest.raises(VerdictError, match=r"decision\.justification"):
        portal.decide(DecisionKind.APPROVE, why="a" * 60)
    decision = portal.decide(DecisionKind.APPROVE)
    assert (decision.decision, decision.is_override) == ("approve", False)
    assert refused("decision.refused") == ["decision.not_escalated", "decision.justification", "decision.justification"]
    merged = merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    message = Git(portal.bare).message_of(merged.merge_sha)
    assert "PLAN-SUPERVISOR: ESCALATE" in message
    assert f"LEAD-APPROVED: {decision.justification}" in message


def test_a_plan_cannot_take_the_lead_decision_and_sending_back_blocks_the_merge(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        portal.decide(DecisionKind.APPROVE, by="plan")
    portal.decide(DecisionKind.SEND_BACK)
    assert portal.pull().status == PullStatus.NEEDS_REVISION
    with pytest.raises(VerdictError, match=r"merge\.no_pass"):
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    assert refused("merge.refused") == ["merge.no_pass"]


def test_minor_findings_are_conditional_and_go_to_lead(portal: Portal):
    portal.verified(UNTESTED_CHANGE)
    found = evidence.gather(portal.pull(), tree=evidence.observed_tree(portal.pull(), Git(portal.bare)))
    assert found.judgement.verdict is VerdictKind.CONDITIONAL_PASS, found.judgement.reasons
    verdict = portal.verdict(VerdictKind.CONDITIONAL_PASS)
    assert verdict.verdict == "CONDITIONAL_PASS"
    assert portal.decide(DecisionKind.APPROVE).is_override is False


def test_an_override_needs_class_reference_and_expiry(portal: Portal):
    portal.hand_over()
    portal.run_work()
    pull = portal.pull()
    PullRequest.objects.filter(pk=pull.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    assert time_out(pull.pk, by=portal.actor("leoportal-verifier"))
    assert portal.pull().status == PullStatus.LEAD_REVIEW
    with pytest.raises(VerdictError, match=r"decision\.reason_class"):
        portal.decide(DecisionKind.APPROVE)
    with pytest.raises(VerdictError, match=r"decision\.reference"):
        portal.decide(DecisionKind.APPROVE, reason_class="gate-outage")
    with pytest.raises(VerdictError, match=r"decision\.expiry"):
        portal.decide(DecisionKind.APPROVE, reason_class="gate-outage", reference="OPS-7")
    soon = timezone.now() + timedelta(days=1)
    decision = portal.decide(DecisionKind.APPROVE, reason_class="gate-outage", reference="OPS-7", expires_at=soon)
    assert decision.is_override
    assert decision.verdict is None
    assert merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead")).status == PullStatus.MERGED


def test_an_expired_override_does_not_merge(portal: Portal):
    portal.hand_over()
    pull = portal.pull()
    PullRequest.objects.filter(pk=pull.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    time_out(pull.pk, by=portal.actor("leoportal-verifier"))
    soon = timezone.now() + timedelta(seconds=2)
    portal.decide(DecisionKind.APPROVE, reason_class="gate-outage", reference="OPS-7", expires_at=soon)
    threading.Event().wait(2.2)
    with pytest.raises(VerdictError, match=r"merge\.no_pass: .*expired; LEAD decides again"):
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))


def test_a_forced_rerun_starts_the_gates_again_and_old_results_do_not_count(portal: Portal):
    portal.verified()
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    portal.decide(DecisionKind.RERUN)
    assert portal.pull().status == PullStatus.GATES_PASSING
    sweep_verification()
    assert evidence.gather(portal.pull(), tree=portal.pull().handoff.result_tree).executions == {}
    portal.run_work()
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)
    portal.report("story-release", GateOutcome.SUCCESS, run_id="after-the-rerun")
    second = portal.verdict(VerdictKind.PASS)
    assert second.supersedes == Verdict.objects.order_by("pk").first()


@pytest.mark.threat("GATE-03")
def test_a_new_head_makes_the_verdict_stale_at_once(portal: Portal):
    pull = portal.verified()
    verdict = portal.verdict(VerdictKind.PASS)
    assert portal.pull().status == PullStatus.READY_TO_MERGE
    more = {**GOOD_CHANGE, "README.md": "# Payments\n\nNow with net.\n"}
    portal.push_bundle(portal.bundle(more))
    sweep_staging()
    with pytest.raises(VerdictError, match=r"merge\.no_pass"):
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
    advance(portal.pull().repository.handoffs.latest("pk").pk)
    now = portal.pull()
    assert (now.pk, now.status) == (pull.pk, PullStatus.GATES_PASSING)
    assert now.head_sha != verdict.head_sha
    assert not verdict.binds(now)
    with pytest.raises(VerdictError, match=r"verdict\.head_moved"):
        request = VerdictRequest(VerdictKind.FAIL, "Too late.", pull.head_sha, "")
        record_verdict(pull.pk, request, by=portal.actor("plan"))


@pytest.mark.threat("GATE-07")
def test_a_moved_base_makes_the_verdict_stale(portal: Portal):
    first = portal.verified(branch="staging/codex-one", task="Add net")
    readme = {"README.md": "# Payments, better\n"}
    second = portal.verified(readme, branch="staging/codex-two", task="Better readme")
    portal.verdict(VerdictKind.PASS)
    tree = evidence.observed_tree(first, Git(portal.bare))
    request = VerdictRequest(VerdictKind.PASS, "Looked at all of it.", first.head_sha, tree)
    record_verdict(first.pk, request, by=portal.actor("plan"))
    merge_pull_request(second.pk, portal.tools(), by=portal.actor("plan"))
    with pytest.raises(VerdictError, match=r"merge\.base_moved"):
        merge_pull_request(first.pk, portal.tools(), by=portal.actor("plan"))
    sweep_verification()
    first.refresh_from_db()
    assert first.status == PullStatus.GATES_PASSING
    assert first.base_sha == Git(portal.bare).resolve("refs/heads/main")
    assert "payments/fees.py" in {c.path for c in Git(portal.bare).changes(first.base_sha, first.merge_tree)}


def test_evidence_that_gets_worse_after_pass_takes_the_merge_away(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    portal.report("story-release", GateOutcome.FAILURE, run_id="late")
    assert portal.pull().status == PullStatus.GATES_PASSING
    with pytest.raises(VerdictError, match=r"merge\.no_pass"):
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))


def test_a_gate_run_reported_twice_is_one_row_and_a_contradiction_is_refused(portal: Portal):
    portal.hand_over()
    first = portal.report("story-release", GateOutcome.SUCCESS)
    assert portal.report("story-release", GateOutcome.SUCCESS).pk == first.pk
    with pytest.raises(VerdictError, match=r"gate\.run_conflict"):
        portal.report("story-release", GateOutcome.FAILURE)
    with pytest.raises(VerdictError, match=r"gate\.own"):
        portal.report("gate-3", GateOutcome.SUCCESS)
    with pytest.raises(VerdictError, match=r"gate\.unknown"):
        portal.report("gate-4", GateOutcome.SUCCESS)
    assert GateExecution.objects.filter(gate="story-release").count() == 1


@pytest.mark.threat("REL-02")
def test_two_verdicts_at_once_leave_exactly_one(portal: Portal):
    pull = portal.verified()
    tree = evidence.observed_tree(pull, Git(portal.bare))
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def judge(name: str, kind: VerdictKind) -> None:
        actor = portal.actor(name)
        start.wait()
        try:
            record_verdict(pull.pk, VerdictRequest(kind, "Looked at all of it.", pull.head_sha, tree), by=actor)
            outcomes.append("recorded")
        except VerdictError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    jobs = [("plan", VerdictKind.PASS), ("plan2", VerdictKind.PASS)] * 2
    threads = [threading.Thread(target=judge, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["recorded", *["verdict.already_recorded"] * 3]
    assert Verdict.objects.count() == 1
    assert refused("verdict.refused") == ["verdict.already_recorded"] * 3


def test_the_stored_inputs_replay_to_the_stored_verdict(portal: Portal):
    portal.verified()
    verdict = portal.verdict(VerdictKind.PASS)
    again = decide(inputs_from_json(Verdict.objects.get(pk=verdict.pk).inputs))
    assert (again.verdict.value, again.confidence) == (verdict.computed, verdict.confidence)


def test_plan_verifies_again_and_only_plan(portal: Portal):
    portal.verified()
    assert verify_again(portal.pull().pk, by=portal.actor("plan")) == 7
    assert verify_again(portal.pull().pk, by=portal.actor("plan")) == 0
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        verify_again(portal.pull().pk, by=portal.actor("lead"))


def test_a_stricter_verdict_than_computed_is_recorded_and_fail_sends_back(portal: Portal):
    portal.verified()
    assert portal.verdict(VerdictKind.FAIL).computed == "PASS"
    pull = portal.pull()
    assert (pull.status, pull.handoff.status) == (PullStatus.NEEDS_REVISION, Status.TRIGGERED)
    assert not Decision.objects.exists()


def test_a_migration_is_judged_by_the_database_agent(portal: Portal):
    portal.verified(MIGRATION)
    reports = {r.agent: r.result for r in evidence.agent_reports(portal.pull())}
    assert reports["DATABASE"]["outcome"] in {"WARNED", "FAILED"}
    assert reports["DESIGN"]["outcome"] == "NOT_APPLICABLE"
    with pytest.raises(VerdictError):
        portal.verdict(VerdictKind.PASS)


def test_a_reporter_who_built_the_change_cannot_report_on_it(portal: Portal):
    portal.hand_over()
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        portal.report("story-release", GateOutcome.SUCCESS, by="codex")
    portal.add_person("rita", Role.REPORTER)
    assert portal.report("story-release", GateOutcome.SUCCESS, by="rita").reporter.name == "rita"
