"""Ways round the verdict that an attack found, each closed: by reporters, by LEAD, by late news."""

from __future__ import annotations

from decimal import Decimal

import pytest

from handoffs.models import PullStatus
from tests.support.portal import Portal
from verdicts import actions, evidence, rounds
from verdicts.actions import GateReport
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import DecisionKind, VerdictError, VerificationWork, WorkStatus
from verdicts.results import AgentKind, AgentOutcome, AgentResult, Finding, GateOutcome, Grade, Severity, Tool

UNTESTED_CHANGE = {"payments/rates.py": '"""Rates."""\n\n\ndef double(cents: int) -> int:\n    return 2 * cents\n'}


def outside(kind: AgentKind, head: str, *findings: Finding, confidence: int = 100) -> AgentResult:
    """An authenticated reviewer's result."""
    severe = any(finding.severity in {Severity.CRITICAL, Severity.HIGH} for finding in findings)
    return AgentResult(
        kind=kind,
        outcome=AgentOutcome.FAILED if severe else AgentOutcome.PASSED,
        confidence=Decimal(confidence),
        findings=findings,
        head_sha=head,
        tools=(Tool("outside", "1"),),
        input_digest="ab" * 32,
        subjects=(),
        grade=Grade.VERIFIED,
    )


def finding(severity: Severity) -> Finding:
    """One open finding."""
    return Finding("outside:rule", severity, "payments/fees.py", 1, "look here")


def report(portal: Portal, result: AgentResult, by: str = "story-gate") -> None:
    """Send it."""
    actions.report_agent(portal.pull().pk, result, by=portal.actor(by))


def test_outside_results_do_not_stand_in_for_sub_agents_that_have_not_run(portal: Portal):
    portal.hand_over()
    head = portal.pull().head_sha
    for kind in AgentKind:
        report(portal, outside(kind, head))
    VerificationWork.objects.filter(kind="agent").update(status=WorkStatus.DONE)
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    found = evidence.gather(portal.pull(), tree=portal.pull().handoff.result_tree)
    assert found.judgement.verdict is VerdictKind.FAIL
    with pytest.raises(VerdictError, match=r"verdict\.confidence_too_low"):
        portal.verdict(VerdictKind.PASS)


def test_lead_who_approves_after_the_news_got_bad_has_to_override(portal: Portal):
    portal.verified(UNTESTED_CHANGE)
    portal.verdict(VerdictKind.CONDITIONAL_PASS)
    report(portal, outside(AgentKind.SECURITY, portal.pull().head_sha, finding(Severity.CRITICAL)))
    with pytest.raises(VerdictError, match=r"decision\.reason_class"):
        portal.decide(DecisionKind.APPROVE)
    assert portal.pull().status == PullStatus.LEAD_REVIEW


@pytest.mark.parametrize("released", ["plan", "lead"])
@pytest.mark.parametrize("severity", [Severity.CRITICAL, Severity.MEDIUM])
def test_a_result_that_is_called_passed_takes_a_release_back_all_the_same(
    portal: Portal, released: str, severity: Severity
):
    pull = portal.verified()
    if released == "plan":
        portal.verdict(VerdictKind.PASS)
    else:
        portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
        portal.decide(DecisionKind.APPROVE)
    assert portal.pull().status == PullStatus.READY_TO_MERGE
    report(portal, outside(AgentKind.SECURITY, pull.head_sha, finding(severity), confidence=0))
    assert portal.pull().status == PullStatus.GATES_PASSING
    with pytest.raises(VerdictError, match=r"merge\.no_pass"):
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan" if released == "plan" else "lead"))


def test_news_that_is_no_worse_leaves_the_release_alone(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    report(portal, outside(AgentKind.SECURITY, pull.head_sha))
    assert portal.pull().status == PullStatus.READY_TO_MERGE


def test_a_reviewer_cannot_take_a_finding_back(portal: Portal):
    portal.verified()
    head = portal.pull().head_sha
    report(portal, outside(AgentKind.SECURITY, head, finding(Severity.CRITICAL)))
    report(portal, outside(AgentKind.SECURITY, head))
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)


def test_a_built_in_gate_that_fails_when_it_runs_again_takes_the_release_back(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    rounds.verify_again(pull.pk, by=portal.actor("plan"))
    work = VerificationWork.objects.filter(kind="gate", name="slsa").latest("pk")
    failed = GateReport("slsa", GateOutcome.FAILURE, "again", pull.head_sha, {})
    actions.finish_gate_work(work, failed, by=portal.actor("leoportal-verifier"))
    assert portal.pull().status == PullStatus.GATES_PASSING
