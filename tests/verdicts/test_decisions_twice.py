"""The verdict by two programs that share no code: the portal's rules and the single file's give one judgement.

`make decisions` tries many more cases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.canonical import write_json
from audit.standalone_verifier import CannotRunError, decide_again
from handoffs.scope.control_plane import Raised, RaisedKind
from tests.support.judging import GATES, GOOD, HEAD, OTHER_HEAD, POLICY, finding, result
from verdicts.policy import (
    GateInput,
    Inputs,
    Policy,
    PolicyError,
    decide,
    inputs_from_json,
    inputs_to_json,
    judgement_to_json,
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

EXAMPLES = int(os.environ.get("DECISION_EXAMPLES", "300"))
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
FEW = st.lists(WORDS, max_size=2).map(tuple)
CONFIDENCES = st.decimals(0, 100, places=2) | st.sampled_from(
    [Decimal(text) for text in ("0", "0.0", "70", "70.00", "84.99", "85", "85.0", "85.00", "85.01", "100")]
)
FINDINGS = st.builds(
    Finding,
    rule=st.sampled_from(["S101", "a rule"]),
    severity=st.sampled_from(Severity),
    file=st.sampled_from(["", "a.py", "b.py"]),
    line=st.integers(0, 9),
    message=WORDS.map(lambda text: text or "something"),
).flatmap(
    lambda one: st.sampled_from([one, one, replace(one, is_new=False, disposition=Disposition.PRE_EXISTING)])
)  # fmt: skip
RESULTS = st.builds(
    AgentResult,
    kind=st.sampled_from(AgentKind),
    outcome=st.sampled_from([*AgentOutcome, AgentOutcome.PASSED, AgentOutcome.PASSED]),
    confidence=CONFIDENCES,
    findings=st.lists(FINDINGS, max_size=2).map(tuple),
    head_sha=st.sampled_from([HEAD, HEAD, HEAD, OTHER_HEAD]),
    tools=st.just(()),
    input_digest=st.just("c" * 64),
    subjects=st.sampled_from([(), ("a.py",), ("b.py", "a.py"), ("", "b.py")]),
    grade=st.sampled_from([*Grade, Grade.VERIFIED, Grade.VERIFIED]),
    reason=WORDS,
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any threshold, rounds, sureness and weights that the SOP allows."""
    shares = sorted(draw(st.lists(st.integers(1, 3000), min_size=5, max_size=5, unique=True)), reverse=True)
    shares[0] += 10_000 - sum(shares)
    usual = [weight for _, weight in POLICY.weights]
    weights = [Decimal(share) / 10_000 for share in shares] if shares[0] > shares[1] and draw(st.booleans()) else usual
    changed = {
        "threshold": str(draw(st.decimals(85, 100, places=2) | st.just(Decimal("85.00")))),
        "weights": {kind.value: str(weight) for kind, weight in zip(AgentKind, weights, strict=True)},
        "max_rounds": draw(st.integers(1, 3)),
        "disagreement_confidence": str(draw(st.decimals(0, 100, places=2))),
    }
    return policy_from_json({**policy_to_json(POLICY), **changed})


CASES = st.builds(
    replace,
    st.just(GOOD),
    policy=policies(),
    expected_tree=st.sampled_from(["f" * 40, "f" * 40, ""]),
    observed_tree=st.sampled_from(["f" * 40, "f" * 40, "e" * 40, ""]),
    is_bundle_verified=st.sampled_from([True, True, False]),
    is_bundle_signed=st.sampled_from([True, True, False]),
    results=st.just(GOOD.results)
    | st.lists(RESULTS, max_size=3).map(lambda more: (*more, *GOOD.results))
    | st.lists(RESULTS, max_size=8).map(tuple),
    gates=st.just(GATES)
    | st.lists(
        st.builds(GateInput, st.sampled_from(["slsa", "gate-3", "other"]), st.sampled_from(GateOutcome)), max_size=4
    ).map(tuple),
    rounds_used=st.integers(0, 4),
    is_deadline_passed=st.booleans(),
    sod_violations=st.just(()) | FEW,
    unknown_contributors=st.just(()) | FEW,
    builder_problems=st.just(()) | FEW,
    other_findings=st.lists(FINDINGS, max_size=2).map(tuple),
    raised=st.just(())
    | st.lists(st.builds(Raised, st.sampled_from([*RaisedKind, "another"]), WORDS, WORDS), max_size=5).map(tuple),
)


def stored(inputs: Inputs) -> Any:
    return json.loads(write_json(inputs_to_json(inputs)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(CASES)
def test_both_programs_judge_stored_inputs_alike(inputs):
    """To the word: verdict, confidence, every sub-agent's part in it, and each reason with its sentence, in order."""
    document = stored(inputs)
    assert decide_again(document) == judgement_to_json(decide(inputs_from_json(document)))


@pytest.mark.parametrize("confidence", ["84.99", "85.00"])
def test_both_programs_agree_on_every_outcome_of_two_sub_agents_and_on_the_line(confidence: str):
    for one, other in product(AgentOutcome, repeat=2):
        found = finding(Severity.HIGH)
        results = (
            result(AgentKind.SECURITY, one, confidence, findings=(found,), subjects=("a.py",)),
            result(AgentKind.DESIGN, other, confidence, findings=(found,), subjects=("a.py",)),
            *(result(kind, confidence=confidence, subjects=("a.py",)) for kind in list(AgentKind)[1:-1]),
        )
        inputs = replace(GOOD, results=results)
        assert decide_again(stored(inputs)) == judgement_to_json(decide(inputs)), (one, other)


RICH = replace(
    GOOD,
    results=(result(AgentKind.SECURITY, AgentOutcome.FAILED, findings=(finding(Severity.HIGH),)), *GOOD.results[1:]),
    other_findings=(finding(Severity.LOW),),
    raised=(Raised("control_plane", "a.yml", "a workflow"),),
    sod_violations=("one and two",),
)
# What no verdict depends on; the single file looks only at what it is called, the portal at what it says, too.
ASIDE = {"limits", "signing", "approvals", "hourly_quota", "staging", "builder_identities", "trusted_root", "tools",
         "allowed_builders", "name", "check_name", "key"}  # fmt: skip
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    99,
    "",
    "85.00",
    "84.99",
    "PASSED",
    "success",
    HEAD,
    [],
    {},
    [1],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document that a verdict may depend on."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        if name not in ASIDE:
            yield (*path, name)
            yield from places(item, (*path, name))


PLACES = list(places(stored(RICH)))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), st.sampled_from(["away", "more", *range(len(OTHERS))]))
def test_what_the_portal_cannot_run_again_the_single_file_cannot_either(place, change):
    document = stored(RICH)
    owner = document
    for name in place[:-1]:
        owner = owner[name]
    match change:
        case "away":
            del owner[place[-1]]
        case "more" if isinstance(owner, dict):
            owner["unheard-of"] = 1
        case "more":
            owner.append(owner[0])
        case number:
            owner[place[-1]] = OTHERS[number]
    try:
        found = decide_again(document)
    except CannotRunError:
        return
    assert "unheard-of" not in json.dumps(document)
    try:
        assert found == judgement_to_json(decide(inputs_from_json(document)))
    except (PolicyError, ResultError) as error:
        pytest.fail(f"only the portal refuses {place}: {error}")


UNKNOWN: dict[str, tuple[tuple[Any, ...], Any]] = {
    "a threshold below the SOP's": (("policy", "threshold"), "84.99"),
    "weights that are not 1 in sum": (("policy", "weights", "DESIGN"), "0.11"),
    "a fourth round": (("policy", "max_rounds"), 4),
    "a gate of the SOP that is another": (("policy", "gates", 1, "name"), "Story"),
    "a version of the policy": (("policy", "schema"), "leoportal/policy/v2"),
    "a member of the policy": (("policy", "more"), 1),
    "a member of a section": (("policy", "approvals", "more"), "lead"),
    "a member of the limits": (("policy", "limits", "more"), 1),
    "a member of a builder's key": (("policy", "staging", "keys"), [{"more": "key"}]),
    "a version of the inputs": (("schema",), "leoportal/verdict-inputs/v2"),
    "a version of a result": (("results", 0, "schema"), "leoportal/agent-result/v2"),
    "a kind of sub-agent": (("results", 0, "kind"), "STYLE"),
    "a confidence of more decimals": (("results", 0, "confidence"), "84.999"),
    "an outcome of a gate": (("gates", 0, "outcome"), "fine"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_a_program_does_not_know_or_the_sop_forbids_it_does_not_run(name: str):
    place, value = UNKNOWN[name]
    document = owner = stored(GOOD)
    for part in place[:-1]:
        owner = owner[part]
    owner[place[-1]] = value
    with pytest.raises(CannotRunError):
        decide_again(document)
    with pytest.raises((PolicyError, ResultError)):
        inputs_from_json(document)
