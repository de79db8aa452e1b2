"""Each single defect has its reason; what does not count, disagreement."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from handoffs.scope.control_plane import Raised
from tests.support.judging import (
    ALL_PASSED,
    FAILED,
    GOOD,
    NOT_APPLICABLE,
    OTHER_HEAD,
    POLICY,
    codes,
    finding,
    result,
    with_one,
)
from verdicts.policy import (
    Verdict,
    decide,
    disagreements,
)
from verdicts.results import (
    AgentKind,
    Disposition,
    Grade,
    Severity,
)


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [
        ({"sod_violations": ("ann built it and judges it",)}, "sod.violation", "FAIL"),
        ({"is_bundle_verified": False}, "bundle.unverified", "FAIL"),
        ({"is_bundle_signed": False}, "bundle.unsigned", "FAIL"),
        ({"observed_tree": "0" * 40}, "tree.differs", "FAIL"),
        ({"observed_tree": "", "expected_tree": ""}, "tree.differs", "FAIL"),
        ({"results": ()}, "confidence.low", "FAIL"),
        ({"other_findings": (finding(Severity.CRITICAL),)}, "finding.critical", "FAIL"),
        ({"other_findings": (finding(Severity.HIGH),)}, "finding.high", "ESCALATE"),
        ({"unknown_contributors": ("x@example.org",)}, "contributor.unknown", "ESCALATE"),
        ({"raised": (Raised("unreviewable", "a.bin", "binary"),)}, "approval.unreviewable", "ESCALATE"),
        ({"other_findings": (finding(Severity.MEDIUM),)}, "finding.minor", "CONDITIONAL_PASS"),
        ({"other_findings": (finding(Severity.LOW),)}, "finding.minor", "CONDITIONAL_PASS"),
    ],
)
def test_each_single_defect_has_its_reason(change, code, verdict):
    judgement = decide(replace(GOOD, **change))
    assert code in {reason.code for reason in judgement.reasons}
    assert judgement.verdict == verdict


def test_information_and_findings_that_were_there_before_do_not_count():
    old = finding(Severity.CRITICAL, is_new=False, disposition=Disposition.PRE_EXISTING)
    assert decide(replace(GOOD, other_findings=(finding(Severity.INFO), old))).verdict is Verdict.PASS


def test_a_result_about_another_head_is_stale():
    inputs = with_one(AgentKind.DESIGN, head_sha=OTHER_HEAD)
    assert decide(inputs).verdict is Verdict.ESCALATE
    assert codes(inputs) == {"agent.stale"}


def test_a_stale_not_applicable_is_not_left_out():
    inputs = with_one(AgentKind.DESIGN, outcome=NOT_APPLICABLE, head_sha=OTHER_HEAD)
    assert decide(inputs).verdict is Verdict.ESCALATE
    assert decide(with_one(AgentKind.DESIGN, outcome=NOT_APPLICABLE)).verdict is Verdict.PASS


def test_not_applicable_counts_only_from_the_portal_itself():
    inputs = with_one(AgentKind.DESIGN, outcome=NOT_APPLICABLE, grade=Grade.CLAIMED)
    assert decide(inputs).verdict is Verdict.ESCALATE


def test_a_claim_alone_is_a_missing_result_and_can_still_lower_a_verified_one():
    assert codes(with_one(AgentKind.DESIGN, grade=Grade.CLAIMED)) == {"agent.missing"}
    claim = result(AgentKind.DESIGN, FAILED, "10", findings=(finding(Severity.HIGH),), grade=Grade.CLAIMED)
    judgement = decide(replace(GOOD, results=(*ALL_PASSED, claim)))
    assert judgement.verdict is Verdict.ESCALATE
    assert judgement.confidence == Decimal("91.00")


def test_nothing_applicable_never_passes():
    judgement = decide(replace(GOOD, results=tuple(result(kind, NOT_APPLICABLE) for kind in AgentKind)))
    assert (judgement.verdict, judgement.confidence, judgement.weight_used) == (
        Verdict.FAIL,
        Decimal("0.00"),
        Decimal(0),
    )


def test_a_second_result_cannot_raise_a_kind():
    low = tuple(result(kind, confidence="80") for kind in AgentKind)
    assert decide(replace(GOOD, results=(*low, *ALL_PASSED))).confidence == Decimal("80.00")


def test_a_reviewer_cannot_add_weight_to_a_kind_that_does_not_apply():
    low = tuple(result(kind, confidence="80") for kind in AgentKind if kind is not AgentKind.DESIGN)
    inputs = replace(GOOD, results=(*low, result(AgentKind.DESIGN, NOT_APPLICABLE), result(AgentKind.DESIGN)))
    assert decide(inputs).confidence == Decimal("80.00")


@pytest.mark.parametrize(
    ("confidence", "shown", "verdict"),
    [
        ("85", "85.00", Verdict.PASS),
        ("85.00", "85.00", Verdict.PASS),
        ("84.99", "84.99", Verdict.FAIL),
        ("84.999", "84.99", Verdict.FAIL),
        ("84." + "9" * 60, "84.99", Verdict.FAIL),
        ("85." + "0" * 60 + "1", "85.00", Verdict.PASS),
    ],
)
def test_the_line_is_exact_and_nothing_is_rounded_up(confidence, shown, verdict):
    judgement = decide(replace(GOOD, results=tuple(result(kind, confidence=confidence) for kind in AgentKind)))
    assert (judgement.confidence, judgement.verdict) == (Decimal(shown), verdict)


@pytest.mark.parametrize("confidence", ["NaN", "sNaN", "Infinity", "-Infinity", "-0.01", "100.01"])
def test_an_impossible_confidence_is_an_error_and_counts_nothing(confidence):
    judgement = decide(with_one(AgentKind.DESIGN, confidence=Decimal(confidence)))
    assert judgement.verdict is Verdict.ESCALATE
    assert judgement.confidence == Decimal("90.00")


def test_the_terms_add_up_to_the_confidence():
    chosen = {"SECURITY": "94", "DATABASE": "78", "TESTING": "91", "PERFORMANCE": "88"}
    results = [result(AgentKind(kind), confidence=value) for kind, value in chosen.items()]
    judgement = decide(replace(GOOD, results=(*results, result(AgentKind.DESIGN, NOT_APPLICABLE))))
    assert judgement.weight_used == Decimal("0.90")
    assert sum(term.product for term in judgement.terms) == Decimal("79.10")
    assert judgement.confidence == Decimal("87.88")  # 79.10 / 0.90 = 87.888...


def _dispute(**changes):
    failed = result(AgentKind.SECURITY, FAILED, "90", findings=(finding(Severity.HIGH),), subjects=("a.py", "b.py"))
    passed = result(AgentKind.TESTING, subjects=("a.py",))
    rest = [item for item in ALL_PASSED if item.kind not in {AgentKind.SECURITY, AgentKind.TESTING}]
    return replace(GOOD, results=(replace(failed, **changes), passed, *rest))


def test_sure_results_that_contradict_each_other_on_a_file_disagree():
    found = disagreements(_dispute().results, POLICY)
    assert [(item.passed, item.failed, item.subjects) for item in found] == [("TESTING", "SECURITY", ("a.py",))]
    assert not disagreements(_dispute(confidence=Decimal("69.99")).results, POLICY)
    elsewhere = (finding(Severity.HIGH, file="b.py"),)
    assert not disagreements(_dispute(findings=elsewhere).results, POLICY)


def test_disagreement_escalates_and_says_when_the_rounds_are_over():
    assert "agents.disagree" in codes(_dispute())
    over = replace(_dispute(), rounds_used=3)
    assert "agents.rounds_exhausted" in codes(over)
    assert decide(_dispute()).verdict is decide(over).verdict is Verdict.ESCALATE
