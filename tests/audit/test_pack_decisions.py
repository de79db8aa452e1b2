"""Decisions in packs that the log itself sealed: both verifiers run each again, and name the one that does not follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_packs import BOTH, Said, by_portal, standing_alone
from tests.support.judging import finding, result
from tests.support.packs import RULES, git_commit, inputs_of, judged_body, whole_pack
from verdicts.policy import GateInput, Inputs, decide, inputs_to_json, judgement_to_json, policy_from_json
from verdicts.results import AgentKind, GateOutcome, Severity

BEGUN = git_commit("start")[0]
HEAD = git_commit("change", BEGUN)[0]
GOOD = inputs_of(HEAD, BEGUN)


def with_results(confidence: str, **changed: Any) -> Inputs:
    found = tuple(result(kind, confidence=confidence, head=HEAD, **changed) for kind in AgentKind)
    return replace(GOOD, results=found)


HIGH = replace(GOOD, other_findings=(finding(Severity.HIGH),))
BELOW = with_results("84.99")
RED = replace(GOOD, gates=(GateInput("slsa", GateOutcome.FAILURE), *GOOD.gates[1:]))
OTHER_RULES = policy_from_json({**RULES, "max_rounds": 2})


def stored(inputs: Inputs, *path: str, **changed: Any) -> dict[str, Any]:
    """Inputs as a leaf has them, with some members of the object at `path` as they are not."""
    found: dict[str, Any] = json.loads(json.dumps(inputs_to_json(inputs)))
    place: Any = found
    for name in path:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place.update(changed)
    return found


def said_of(inputs: Inputs) -> dict[str, Any]:
    """What was really judged, beside other inputs: the two do not belong together."""
    found = decide(inputs)
    return {
        "computed": str(found.verdict), "confidence": str(found.confidence), "reasons": judgement_to_json(found),
    }  # fmt: skip


# What PLAN's leaf says, and what a verifier says of it.
LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a verdict is flipped": ({"inputs": inputs_to_json(HIGH)}, "give ESCALATE, it says PASS"),
    "a verdict is laxer": ({**said_of(HIGH), "inputs": inputs_to_json(HIGH)}, "laxer than"),
    "a verdict is none": ({"verdict": "APPROVED"}, "laxer than"),
    "a finding is removed": ({**said_of(HIGH), "verdict": "ESCALATE"}, "give PASS, it says ESCALATE"),
    "84.99 is called 85": ({"inputs": inputs_to_json(BELOW), "confidence": "85.00"}, "give FAIL, it says PASS"),
    "a confidence is another": ({"confidence": "99.99"}, "other reasons or another confidence"),
    "a reason is left out": (
        {**said_of(HIGH), "verdict": "ESCALATE", "inputs": inputs_to_json(HIGH), "reasons": judgement_to_json(decide(GOOD))},
        "other reasons or another confidence",
    ),
    "a gate is changed": ({"inputs": inputs_to_json(RED)}, "give FAIL, it says PASS"),
    "the inputs are of another pull request": ({"inputs": inputs_to_json(replace(GOOD, pull_request=2))}, "pr is "),
    "the inputs are of another repository": ({"inputs": inputs_to_json(replace(GOOD, repository="acme/web"))}, "repository is "),
    "the inputs are of another head": ({"inputs": inputs_to_json(inputs_of("0" * 40, BEGUN))}, "head is "),
    "the inputs are of another base": ({"inputs": inputs_to_json(inputs_of(HEAD, "0" * 40))}, "base is "),
    "the inputs are of another bundle": ({"inputs": inputs_to_json(replace(GOOD, bundle_digest="0" * 64))}, "bundle is "),
    "the inputs hold other rules": ({"inputs": inputs_to_json(replace(GOOD, policy=OTHER_RULES))}, "hold other rules"),
    "nobody enacted the policy": ({"policy": "0" * 64}, "leaf 4"),
    "there are no inputs": ({"inputs": None}, "leaf 4"),
    "the inputs are of an unknown version": ({"inputs": stored(GOOD, schema="leoportal/verdict-inputs/v2")}, "leaf 4"),
    "the inputs have an unknown member": ({"inputs": stored(GOOD, trust=1)}, "leaf 4"),
    "the policy is of an unknown version": ({"inputs": stored(GOOD, "policy", schema="leoportal/policy/v2")}, "leaf 4"),
    "the policy has an unknown member": ({"inputs": stored(GOOD, "policy", trust_all=True)}, "leaf 4"),
    "a section of the policy has one": ({"inputs": stored(GOOD, "policy", "approvals", docs="none")}, "leaf 4"),
    "a gate ended in an unknown word": ({"inputs": stored(GOOD, "gates", "0", outcome="fine")}, "leaf 4"),
    "a sub-agent ended in an unknown word": ({"inputs": stored(GOOD, "results", "0", outcome="GREAT")}, "leaf 4"),
    "the threshold is below the SOP's": ({"inputs": stored(GOOD, "policy", threshold="84.99")}, "leaf 4"),
}  # fmt: skip


@pytest.mark.threat("AUD-02")
@BOTH
@pytest.mark.parametrize("name", LIES)
def test_a_verdict_that_does_not_follow_from_its_inputs_is_named(
    tmp_path: Path, verify: Callable[..., Said], name: str
):
    lie, wrong = LIES[name]
    whole_pack(tmp_path / "pack", verdict=lie)
    said = verify(tmp_path / "pack")
    assert said.status == 5
    (line,) = (line for line in said.wrong.splitlines() if " decisions " in line)
    assert "leaf 4: " in line
    assert wrong in line


APPROVALS: dict[str, tuple[dict[str, Any], str]] = {
    "it says another verdict": ({"computed_now": "CONDITIONAL_PASS"}, "give PASS, it says CONDITIONAL_PASS"),
    "its inputs are of another head": ({"inputs": inputs_to_json(inputs_of("0" * 40, BEGUN))}, "head is "),
    "a gate is changed": ({"inputs": inputs_to_json(RED)}, "give FAIL, it says PASS"),
    "its policy was never enacted": ({"policy": "0" * 64}, "leaf 5"),
    "its inputs hold other rules": ({"inputs": inputs_to_json(replace(GOOD, policy=OTHER_RULES))}, "hold other rules"),
    "there are no inputs": ({"inputs": None}, "leaf 5"),
}  # fmt: skip


@pytest.mark.threat("AUD-02")
@BOTH
@pytest.mark.parametrize("name", APPROVALS)
def test_an_approval_that_does_not_follow_from_its_inputs_is_named(
    tmp_path: Path, verify: Callable[..., Said], name: str
):
    lie, wrong = APPROVALS[name]
    whole_pack(tmp_path / "pack", release="OVERRIDE", decision=lie)
    said = verify(tmp_path / "pack")
    assert said.status == 5
    (line,) = (line for line in said.wrong.splitlines() if " decisions " in line)
    assert "leaf 5: " in line
    assert wrong in line


@BOTH
def test_a_verdict_may_be_stricter_than_what_was_computed_and_85_is_enough(tmp_path: Path, verify: Callable[..., Said]):
    for number, (inputs, verdict) in enumerate(((with_results("85.00"), "PASS"), (BELOW, "FAIL"), (HIGH, "FAIL"))):
        body = judged_body(inputs, verdict, "")
        del body["policy"]
        whole_pack(tmp_path / str(number), release="PASS" if verdict == "PASS" else "OVERRIDE", verdict=body)
        assert verify(tmp_path / str(number)) == Said(0, ""), verdict


@BOTH
def test_every_wrong_decision_is_named_not_only_the_first(tmp_path: Path, verify: Callable[..., Said]):
    whole_pack(tmp_path / "pack", release="OVERRIDE", verdict={"computed": "FAIL"}, decision={"computed_now": "FAIL"})
    said = verify(tmp_path / "pack")
    assert said.status == 5
    assert [part in said.wrong for part in ("leaf 4: ", "leaf 5: ")] == [True, True]


def test_the_rules_of_a_policy_are_what_its_text_says(tmp_path: Path):
    """Read by the portal's verifier alone: the single file reads no YAML, and says so."""
    lax = {**RULES, "disagreement_confidence": "99.00"}
    inputs = replace(GOOD, policy=policy_from_json(lax))
    body = judged_body(inputs, "PASS", "")
    del body["policy"]
    whole_pack(tmp_path / "pack", rules=lax, verdict=body)
    said = by_portal(tmp_path / "pack")
    assert said.status == 5
    assert "policies.jsonl line 1: its text says other rules" in said.wrong
    assert standing_alone(tmp_path / "pack") == Said(0, "")


def test_a_pass_takes_exactly_the_threshold():
    """One hundredth of one sub-agent's confidence below the line is below the line, whatever is shown of it."""
    results = [result(kind, confidence="85.00", head=HEAD) for kind in AgentKind]
    results[-1] = replace(results[-1], confidence=Decimal("84.99"))
    found = decide(replace(GOOD, results=tuple(results)))
    assert (str(found.verdict), str(found.confidence)) == ("FAIL", "84.99")
