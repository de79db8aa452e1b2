"""The verdict: an oracle in another style, every combination, and the properties that no change may break."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import parse_json, write_json
from handoffs.scope.control_plane import Raised, RaisedKind
from verdicts.policy import (
    SOP_GATES,
    STRICTNESS,
    GateInput,
    Inputs,
    PolicyError,
    Verdict,
    decide,
    default_policy_yaml,
    disagreements,
    inputs_from_json,
    inputs_to_json,
    is_at_least_as_strict,
    judgement_to_json,
    parse_policy,
    policy_from_json,
    policy_to_json,
)
from verdicts.results import (
    AgentKind,
    AgentOutcome,
    AgentResult,
    Disposition,
    Finding,
    GateOutcome,
    Grade,
    ResultError,
    Severity,
)

POLICY = parse_policy(default_policy_yaml())
HEAD, OTHER_HEAD = "a" * 40, "b" * 40
PASSED, FAILED, NOT_APPLICABLE = AgentOutcome.PASSED, AgentOutcome.FAILED, AgentOutcome.NOT_APPLICABLE


def result(kind, outcome=PASSED, confidence="100", *, findings=(), head=HEAD, grade=Grade.VERIFIED, subjects=()):
    return AgentResult(kind, outcome, Decimal(confidence), findings, head, (), "c" * 64, subjects, grade)


def finding(severity, **changes):
    return replace(Finding("rule", severity, "a.py", 1, "something"), **changes)


ALL_PASSED = tuple(result(kind) for kind in AgentKind)
GATES = tuple(GateInput(gate.key, GateOutcome.SUCCESS) for gate in POLICY.gates)
GOOD = Inputs(
    policy=POLICY,
    repository="acme/payments",
    pull_request=481,
    base_sha="d" * 40,
    head_sha=HEAD,
    bundle_digest="e" * 64,
    expected_tree="f" * 40,
    observed_tree="f" * 40,
    is_bundle_verified=True,
    is_bundle_signed=True,
    results=ALL_PASSED,
    gates=GATES,
    rounds_used=0,
    is_deadline_passed=False,
)


def with_one(kind, **changes):
    """GOOD, but one sub-agent's result is different."""
    return replace(GOOD, results=tuple(replace(item, **changes) if item.kind is kind else item for item in ALL_PASSED))


def codes(inputs):
    return {reason.code for reason in decide(inputs).reasons}


# --- the oracle: strings, integers and early returns instead of rules, fractions and reasons -----------------------


def oracle(outcomes, gates, *, late, confidence=100, raised=()):
    points = dict(zip(("SECURITY", "DATABASE", "TESTING", "PERFORMANCE", "DESIGN"), (30, 25, 20, 15, 10), strict=True))
    heard = {kind: word for kind, word in zip(points, outcomes, strict=True) if word != "NOT_APPLICABLE"}
    words = list(heard.values())
    silent = {"ERROR", "MISSING", "STALE"}
    if [word for word in gates if word not in ("success", "missing")]:
        return "FAIL"
    if words.count("FAILED") and words.count("FAILED") + sum(word in silent for word in words) == len(words):
        return "FAIL"
    got = sum(points[kind] * confidence for kind in heard if heard[kind] not in silent)
    if not heard or got < 85 * sum(points[kind] for kind in heard):
        return "FAIL"
    if {"BLOCKED", "FAILED", *silent} & set(words) or len(raised):
        return "ESCALATE"
    if "missing" in gates:
        return "ESCALATE" if late else "not ready"
    return "CONDITIONAL_PASS" if "WARNED" in words else "PASS"


def judged(inputs):
    return decide(inputs).verdict or "not ready"


FOUND = {
    "FAILED": (finding(Severity.HIGH),),
    "WARNED": (finding(Severity.LOW),),
}


@pytest.mark.threat("SOD-06")
def test_every_combination_of_sub_agent_outcomes_is_judged_like_the_oracle():
    tally: Counter[str] = Counter()
    results = {
        (kind, word): result(kind, AgentOutcome(word), findings=FOUND.get(word, ()))
        for kind in AgentKind
        for word in AgentOutcome
    }
    for outcomes in product(AgentOutcome, repeat=5):
        chosen = tuple(results[pair] for pair in zip(AgentKind, outcomes, strict=True))
        verdict = judged(replace(GOOD, results=chosen))
        assert verdict == oracle(outcomes, (), late=False), outcomes
        if verdict == "PASS":
            assert set(outcomes) <= {"PASSED", "NOT_APPLICABLE"}
        tally[verdict] += 1
    assert sum(tally.values()) == 8**5
    assert tally["PASS"] == 2**5 - 1  # each kind passed or not applicable, but not all of them the latter


@pytest.mark.threat("SOD-06")
def test_the_six_outcomes_of_the_threat_at_the_confidence_of_the_line():
    six = ("PASSED", "FAILED", "BLOCKED", "ERROR", "MISSING", "STALE")
    passes = 0
    for outcomes in product(six, repeat=5):
        chosen = tuple(result(kind, AgentOutcome(word), "85") for kind, word in zip(AgentKind, outcomes, strict=True))
        verdict = judged(replace(GOOD, results=chosen))
        assert verdict == oracle(outcomes, (), late=False, confidence=85), outcomes
        passes += verdict == "PASS"
    assert passes == 1


RAISED = tuple(Raised(kind, "a.bin", "a reason") for kind in (*RaisedKind, "a kind nobody knows yet"))


@pytest.mark.threat("PAT-11")
@pytest.mark.threat("GATE-11")
@pytest.mark.parametrize("late", [False, True])
def test_what_raises_the_approvals_is_judged_like_the_oracle_in_every_combination(late):
    """Every set of kinds, every outcome of one sub-agent and of one gate: PASS only where nothing is raised."""
    tally: Counter[str] = Counter()
    for bits in product([False, True], repeat=len(RAISED)):
        raised = tuple(one for one, is_in in zip(RAISED, bits, strict=True) if is_in)
        for outcome, gate in product(AgentOutcome, GateOutcome):
            inputs = with_one(AgentKind.DESIGN, outcome=outcome, findings=FOUND.get(outcome, ()))
            gates = (replace(GATES[0], outcome=gate), *GATES[1:])
            verdict = judged(replace(inputs, raised=raised, gates=gates, is_deadline_passed=late))
            words = [outcome.value if kind is AgentKind.DESIGN else "PASSED" for kind in AgentKind]
            assert verdict == oracle(words, [gate.value], late=late, raised=raised), (raised, outcome, gate)
            tally[verdict, bool(raised)] += 1
    assert tally["PASS", True] == tally["CONDITIONAL_PASS", True] == 0
    assert tally["PASS", False] == 2


def test_a_raised_approval_says_why_lead_is_needed():
    many = tuple(Raised("control_plane", f"{number}.yml", "workflow") for number in range(5))
    (reason,) = decide(replace(GOOD, raised=many)).reasons
    assert (reason.code, reason.who, reason.calls_for) == ("approval.control_plane", "LEAD", Verdict.ESCALATE)
    assert reason.sentence.startswith("needs LEAD because it changes what steers the gates: 0.yml (workflow); ")
    assert reason.sentence.endswith(" and 2 more")


def test_inputs_that_were_stored_before_approvals_were_raised_still_replay():
    stored = inputs_to_json(GOOD)
    old = {key: value for key, value in stored.items() if key != "raised"}
    assert inputs_from_json(parse_json(write_json(old))) == GOOD
    broken: Any
    for broken in ([{"kind": "", "path": "", "why": ""}], [{"kind": "x"}], {}, None, [{**stored, "kind": "x"}]):
        with pytest.raises(PolicyError, match=r"policy\.inputs"):
            inputs_from_json({**stored, "raised": broken})


@pytest.mark.threat("GATE-09")
@pytest.mark.parametrize("late", [False, True])
def test_exactly_one_of_ten_thousand_gate_combinations_passes(late):
    tally: Counter[tuple[str, bool]] = Counter()
    inputs = replace(GOOD, is_deadline_passed=late)
    for outcomes in product(GateOutcome, repeat=4):
        gates = tuple(GateInput(gate.key, outcome) for gate, outcome in zip(GATES, outcomes, strict=True))
        verdict = judged(replace(inputs, gates=gates))
        assert verdict == oracle(["PASSED"] * 5, outcomes, late=late), outcomes
        tally[verdict, GateOutcome.MISSING in outcomes] += 1
    assert tally["PASS", False] == 1
    assert tally["PASS", True] == 0
    assert tally["FAIL", False] == 9**4 - 1


def test_a_required_gate_that_nobody_mentions_is_missing():
    assert decide(replace(GOOD, gates=())).verdict is None
    assert codes(replace(GOOD, gates=())) == {"gate.missing"}
    assert decide(replace(GOOD, gates=(), is_deadline_passed=True)).verdict is Verdict.ESCALATE


def test_plans_own_gate_is_not_waited_for():
    others = tuple(gate for gate in GATES if gate.key != POLICY.own_gate.key)
    assert decide(replace(GOOD, gates=others)).verdict is Verdict.PASS


def test_the_good_case_passes_with_nothing_to_clear():
    judgement = decide(GOOD)
    assert (judgement.verdict, judgement.reasons) == (Verdict.PASS, ())
    assert (judgement.confidence, judgement.weight_used) == (Decimal("100.00"), Decimal("1.00"))


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


# --- disagreement --------------------------------------------------------------------------------------------------


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


# --- properties ----------------------------------------------------------------------------------------------------

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


# --- the document --------------------------------------------------------------------------------------------------


def edited(old, new):
    text = default_policy_yaml()
    assert old.encode() in text
    return text.replace(old.encode(), new.encode())


def test_the_default_policy_holds_the_numbers_of_the_sop():
    assert POLICY.threshold == 85
    assert (POLICY.max_rounds, POLICY.gate_deadline_seconds) == (3, 4 * 3600)
    assert [(gate.name, gate.is_own) for gate in POLICY.gates] == list(SOP_GATES)
    assert sum(POLICY.weights.of(kind) for kind in AgentKind) == 1
    assert policy_from_json(policy_to_json(POLICY)) == POLICY


def test_comments_and_spaces_do_not_change_the_digest_and_meaning_does():
    assert parse_policy(edited("# Authority", "# authority")).digest == POLICY.digest
    assert parse_policy(edited("max_rounds: 3", "max_rounds: 2")).digest != POLICY.digest


def test_reported_names_find_their_gate_by_pattern_and_published_names_are_literal():
    assert POLICY.gate_for("LEO Gate Validation / Run Gate 3 for PRD-1042") == POLICY.own_gate
    assert POLICY.gate_for("leo gate validation / run gate 3 for PRD-1042") is None
    assert POLICY.gate_for("Anything / Else") is None
    assert not any("*" in gate.check_name for gate in POLICY.gates)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (edited('"85.00"', '"84.99"'), "policy.refused"),
        (edited('"85.00"', '"100.01"'), "policy.refused"),
        (edited('"85.00"', '"85.001"'), "policy.refused"),
        (edited('"85.00"', "85.00"), "yaml.ambiguous"),
        (edited('"0.30"', '"0.31"'), "policy.refused"),
        (edited('SECURITY: "0.30"\n  DATABASE: "0.25"', 'SECURITY: "0.25"\n  DATABASE: "0.30"'), "policy.refused"),
        (edited('"0.15"\n  DESIGN: "0.10"', '"0.25"\n  DESIGN: "0.00"'), "policy.refused"),
        (edited("gate_deadline_seconds: 14400", "gate_deadline_seconds: 14401"), "policy.refused"),
        (edited("max_rounds: 3", "max_rounds: 4"), "policy.refused"),
        (edited("max_rounds: 3", "max_rounds: 0"), "policy.refused"),
        (edited("max_rounds: 3", "max_rounds: true"), "policy.refused"),
        (edited("max_rounds: 3", "max_rounds: 3\nextra: 1"), "policy.refused"),
        (edited("max_rounds: 3", "max_rounds: 3\nmax_rounds: 3"), "yaml.duplicate_key"),
        (edited("is_own: true", "is_own: false"), "policy.refused"),
        (edited("Verify SLSA Provenance", "Verify Provenance"), "policy.refused"),
        (edited('check_name: "LEO SLSA Verification"', 'check_name: "LEO *"'), "policy.refused"),
        (edited('check_name: "LEO SLSA Verification"', 'check_name: " LEO"'), "policy.refused"),
        (edited('check_name: "LEO SLSA Verification"', 'check_name: "LEO Policy Verification"'), "policy.refused"),
        (edited("lead_approval: escalated", "lead_approval: never"), "policy.refused"),
        (edited("allowed_builders: []", "allowed_builders: [a, a]"), "policy.refused"),
        (edited("allowed_builders: []", "allowed_builders: &x []"), "yaml.anchor"),
        (b"a: &a [1]\nb: *a\n", "yaml.anchor"),
        (b"!!python/object/apply:os.getcwd []", "yaml.tag"),
        (b"[" * 5000, "yaml.too_deep"),
        (b"{1: 2}", "yaml.key"),
        (b"2026-99-99", "yaml.ambiguous"),
        (b"\xff", "yaml.not_utf8"),
        (b"", "yaml.empty"),
        (b"[]", "policy.refused"),
        (b"a: 1\n--- \nb: 2\n", "yaml.documents"),
        (b"#" * (1 << 17), "yaml.too_long"),
    ],
)
def test_a_policy_that_is_laxer_ambiguous_or_broken_is_refused(raw, code):
    with pytest.raises(PolicyError) as refused:
        parse_policy(raw)
    assert refused.value.code == code
    assert refused.value.detail


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "other"},
        {"results": [{}]},
        {"gates": [{"key": "slsa", "outcome": "fine"}]},
        {"is_bundle_signed": "yes"},
        {"more": 1},
        {"policy": {}},
        {"other_findings": [{"rule": "r"}]},
    ],
)
def test_stored_inputs_that_were_edited_into_nonsense_are_refused(change):
    with pytest.raises((PolicyError, ResultError)):
        inputs_from_json({**inputs_to_json(GOOD), **change})
