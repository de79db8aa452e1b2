"""The verdict against an oracle in another style, in every combination."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from audit.canonical import parse_json, write_json
from handoffs.scope.control_plane import Raised, RaisedKind
from tests.support.judging import (
    GATES,
    GOOD,
    POLICY,
    codes,
    finding,
    result,
    with_one,
)
from verdicts.policy import (
    GateInput,
    PolicyError,
    Verdict,
    decide,
    inputs_from_json,
    inputs_to_json,
)
from verdicts.results import (
    AgentKind,
    AgentOutcome,
    GateOutcome,
    Severity,
)

# The oracle: strings, integers and early returns instead of rules, fractions and reasons.


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
