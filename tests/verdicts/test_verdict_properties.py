"""Properties of the verdict that no change may break."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import parse_json, write_json
from handoffs.scope.control_plane import Raised, RaisedKind
from tests.support.judging import (
    ALL_PASSED,
    GATES,
    GOOD,
    HEAD,
    NOT_APPLICABLE,
    OTHER_HEAD,
    PASSED,
    POLICY,
    with_one,
)
from verdicts.policy import (
    STRICTNESS,
    GateInput,
    Verdict,
    decide,
    inputs_from_json,
    inputs_to_json,
    is_at_least_as_strict,
    judgement_to_json,
    policy_from_json,
    policy_to_json,
)
from verdicts.results import (
    AgentKind,
    AgentOutcome,
    AgentResult,
    Finding,
    GateOutcome,
    Grade,
    Severity,
)

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))  # what PostgreSQL can hold
findings = st.builds(
    Finding,
    rule=st.just("rule"),
    severity=st.sampled_from(Severity),
    file=st.sampled_from(["", "a.py", "b.py"]),
    line=st.integers(0, 9),
    message=st.just("something"),
)
results = st.builds(
    AgentResult,
    kind=st.sampled_from(AgentKind),
    outcome=st.sampled_from([*AgentOutcome, PASSED, PASSED, PASSED]),
    confidence=st.decimals(60, 100, places=2) | st.just(Decimal(100)),
    findings=st.lists(findings, max_size=2).map(tuple),
    head_sha=st.sampled_from([HEAD, HEAD, HEAD, OTHER_HEAD]),
    tools=st.just(()),
    input_digest=st.just("c" * 64),
    subjects=st.sampled_from([(), ("a.py",), ("a.py", "b.py")]),
    grade=st.sampled_from([Grade.VERIFIED, Grade.VERIFIED, Grade.CLAIMED]),
)
cases = st.builds(
    replace,
    st.just(GOOD),
    results=st.just(ALL_PASSED)
    | st.lists(results, max_size=8).map(lambda more: (*more, *ALL_PASSED))
    | st.lists(results, max_size=8).map(tuple),
    gates=st.just(GATES)
    | st.lists(
        st.builds(GateInput, st.sampled_from(["slsa", "gate-3", "other"]), st.sampled_from(GateOutcome)), max_size=4
    ).map(tuple),
    rounds_used=st.integers(0, 4),
    is_deadline_passed=st.booleans(),
    other_findings=st.lists(findings, max_size=1).map(tuple),
    raised=st.just(()) | st.lists(st.builds(Raised, st.sampled_from(RaisedKind), WORDS, WORDS), max_size=2).map(tuple),
)


def worse_versions(inputs, extra, lower):
    """Every way to take evidence away from a case, or to add something against it."""
    yield replace(inputs, other_findings=(*inputs.other_findings, extra))
    yield replace(inputs, is_deadline_passed=True)
    yield replace(inputs, unknown_contributors=("somebody",))
    yield replace(inputs, raised=(*inputs.raised, Raised("control_plane", "Makefile", "run by build tools")))
    for outcome in GateOutcome:
        if outcome is not GateOutcome.SUCCESS:
            yield replace(inputs, gates=(*inputs.gates, GateInput("slsa", outcome)))
    for number, item in enumerate(inputs.results):
        withdrawn = replace(item, outcome=AgentOutcome.MISSING, confidence=Decimal(0), findings=(), grade=Grade.MISSING)
        variants = [
            replace(item, findings=(*item.findings, extra)),
            replace(item, head_sha="9" * 40),
            replace(item, outcome=AgentOutcome.STALE),
            replace(item, confidence=min(item.confidence, lower)),
            replace(item, grade=Grade.CLAIMED),
        ]
        for variant in variants:
            yield replace(inputs, results=(*inputs.results[:number], variant, *inputs.results[number + 1 :]))
        rest = (*inputs.results[:number], withdrawn, *inputs.results[number + 1 :])
        yield replace(inputs, results=rest, other_findings=(*inputs.other_findings, *item.findings))


@settings(max_examples=150, deadline=None)
@given(cases, findings, st.decimals(0, 100, places=2))
def test_losing_evidence_or_gaining_a_finding_never_improves_the_verdict(inputs, extra, lower):
    before = decide(inputs)
    for worse in worse_versions(inputs, extra, lower):
        after = decide(worse)
        assert STRICTNESS.index(after.verdict) >= STRICTNESS.index(before.verdict)
        assert after.confidence <= before.confidence


@settings(max_examples=150, deadline=None)
@given(cases)
def test_a_kind_without_any_result_never_passes(inputs):
    for kind in AgentKind:
        rest = tuple(item for item in inputs.results if item.kind is not kind)
        assert decide(replace(inputs, results=rest)).verdict in {None, Verdict.ESCALATE, Verdict.FAIL}


@settings(max_examples=150, deadline=None)
@given(cases)
def test_stored_inputs_replay_to_the_same_judgement(inputs):
    stored = write_json(inputs_to_json(inputs))
    again = inputs_from_json(parse_json(stored))
    assert again == inputs
    assert write_json(judgement_to_json(decide(again))) == write_json(judgement_to_json(decide(inputs)))


@settings(max_examples=300, deadline=None)
@given(cases)
def test_pass_implies_everything_the_sop_asks_for(inputs):
    judgement = decide(inputs)
    if judgement.verdict is Verdict.PASS:
        assert judgement.confidence >= 85
        assert not any(
            item.is_open and item.severity is not Severity.INFO for one in inputs.results for item in one.findings
        )
        assert {one.outcome for one in inputs.results} <= {PASSED, NOT_APPLICABLE}
        assert all(gate.outcome is GateOutcome.SUCCESS for gate in inputs.gates)
        assert not inputs.raised
    else:
        assert judgement.reasons
        assert judgement.reasons[0].calls_for is judgement.verdict


def test_a_changed_policy_changes_only_what_it_says():
    stricter = policy_from_json({**policy_to_json(POLICY), "threshold": "99.00"})
    inputs = with_one(AgentKind.DESIGN, confidence=Decimal(80))
    assert decide(inputs).verdict is Verdict.PASS
    assert decide(replace(inputs, policy=stricter)).verdict is Verdict.FAIL


def test_only_the_computed_verdict_or_a_stricter_one_may_be_recorded():
    order = [Verdict.PASS, Verdict.CONDITIONAL_PASS, Verdict.ESCALATE, Verdict.FAIL]
    for recorded, computed in product(order, order):
        assert is_at_least_as_strict(recorded, computed) == (order.index(recorded) >= order.index(computed))
    assert [verdict for verdict in order if is_at_least_as_strict(verdict, None)] == [Verdict.ESCALATE, Verdict.FAIL]
