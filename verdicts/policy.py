"""The verdict: one pure function of its inputs, so that anyone can run it again and get the same answer.

No clock, no I/O, no settings. The document is read by `verdicts.policy_document`, the rules are in `verdicts.rules`,
the values in `verdicts.decision`; import all of it from here.
Source: product.md section 7.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from audit.canonical import JsonValue
from handoffs.scope.control_plane import Raised
from verdicts.decision import (
    STRICTNESS,
    Clearer,
    Disagreement,
    GateInput,
    Inputs,
    Judgement,
    Reason,
    Term,
    Verdict,
    is_at_least_as_strict,
)
from verdicts.findings import (
    AgentKind,
    AgentOutcome,
    AgentResult,
    GateOutcome,
    Grade,
    describe,
    missing_result,
)
from verdicts.policy_document import (
    SOP_GATES,
    Gate,
    Limits,
    Policy,
    PolicyError,
    Weights,
    default_policy_yaml,
    parse_policy,
    policy_from_json,
    policy_to_json,
)
from verdicts.results import finding_from_json, finding_to_json, from_json, to_json
from verdicts.rules import RULES, UNUSABLE, Case, disagreements, has_possible_confidence

__all__ = [
    "RULES",
    "SOP_GATES",
    "STRICTNESS",
    "WORST_LAST",
    "Clearer",
    "Disagreement",
    "Gate",
    "GateInput",
    "Inputs",
    "Judgement",
    "Limits",
    "Policy",
    "PolicyError",
    "Reason",
    "Term",
    "Verdict",
    "Weights",
    "decide",
    "default_policy_yaml",
    "disagreements",
    "inputs_from_json",
    "inputs_to_json",
    "is_at_least_as_strict",
    "judgement_to_json",
    "parse_policy",
    "policy_from_json",
    "policy_to_json",
]

INPUTS_SCHEMA: Final = "leoportal/verdict-inputs/v1"
_Text = Annotated[str, StringConstraints(max_length=2000)]


# How results of one kind are read together: the last one present in this list speaks for the kind.
WORST_LAST: Final = (
    AgentOutcome.NOT_APPLICABLE,
    AgentOutcome.PASSED,
    AgentOutcome.WARNED,
    AgentOutcome.FAILED,
    AgentOutcome.BLOCKED,
    AgentOutcome.STALE,
    AgentOutcome.ERROR,
    AgentOutcome.MISSING,
)


def decide(inputs: Inputs) -> Judgement:
    """Judge one head. Pure; adding a finding, withdrawing or ageing a result, lowering a confidence never helps.

    Not checked: that every sub-agent had its turn (who has not reported is missing), that the inputs are true,
    that the decider is allowed to decide.
    """
    case = _examine(inputs)
    reasons = sorted(
        (reason for rule in RULES for reason in rule(case)),
        key=lambda reason: -STRICTNESS.index(reason.calls_for),
    )
    return Judgement(
        verdict=reasons[0].calls_for if reasons else Verdict.PASS,
        reasons=tuple(reasons),
        confidence=case.confidence,
        terms=case.terms,
        weight_used=sum((term.weight for term in case.terms), Decimal(0)),
    )


def _examine(inputs: Inputs) -> Case:
    voices = tuple(_voice(result, inputs.head_sha) for result in inputs.results)
    terms = []
    spoken: list[AgentResult] = []
    for kind in AgentKind:
        own = [voice for voice in voices if voice.kind is kind]
        heard = [voice for voice in own if voice.outcome is not AgentOutcome.NOT_APPLICABLE]
        is_applicable = len(heard) == len(own)
        is_said = any(voice.grade is Grade.VERIFIED or voice.outcome is AgentOutcome.MISSING for voice in heard)
        if is_applicable and not is_said:
            note = "only claims, no verified result" if heard else "no result"
            heard.append(missing_result(kind, inputs.head_sha, note))
        spoken.extend(heard)
        terms.append(_term(kind, heard, inputs.policy, is_applicable=is_applicable))
    findings = [finding for result in inputs.results for finding in result.findings]
    listed = {gate.key for gate in inputs.gates}
    absent = [GateInput(gate.key, GateOutcome.MISSING) for gate in inputs.policy.input_gates if gate.key not in listed]
    total = sum((Fraction(term.weight) * Fraction(term.confidence) for term in terms), Fraction(0))
    used = sum((Fraction(term.weight) for term in terms), Fraction(0))
    mean = total / used if used else Fraction(0)
    return Case(
        inputs=inputs,
        voices=tuple(spoken),
        findings=tuple(finding for finding in (*findings, *inputs.other_findings) if finding.is_open),
        gates=(*inputs.gates, *absent),
        terms=tuple(terms),
        is_below_threshold=mean < Fraction(inputs.policy.threshold),
        confidence=Decimal(int(mean * 100)).scaleb(-2).quantize(Decimal("0.01")),
    )


def _voice(result: AgentResult, head_sha: str) -> AgentResult:
    """The result as it may be heard: about another head it is stale, with an impossible confidence it is an error."""
    if result.outcome is AgentOutcome.NOT_APPLICABLE and result.grade is not Grade.VERIFIED:
        return replace(result, outcome=AgentOutcome.MISSING, reason="not applicable is claimed, not computed")
    if not has_possible_confidence(result):
        return replace(result, outcome=AgentOutcome.ERROR, confidence=Decimal(0), reason="confidence is not 0 to 100")
    if result.outcome not in UNUSABLE and result.head_sha != head_sha:
        return replace(result, outcome=AgentOutcome.STALE, reason=f"judged {result.head_sha[:12]}, not this head")
    return result


def _term(kind: AgentKind, heard: list[AgentResult], policy: Policy, *, is_applicable: bool) -> Term:
    """The lowest confidence of a kind's results counts, and an unusable one counts 0."""
    zero = Decimal(0)
    if not is_applicable:
        return Term(
            kind, AgentOutcome.NOT_APPLICABLE, zero, zero, zero, Grade.VERIFIED, "not applicable, weight left out"
        )
    worst = max(heard, key=lambda voice: WORST_LAST.index(voice.outcome))
    confidence = min(zero if voice.outcome in UNUSABLE else voice.confidence for voice in heard)
    weight = policy.weights.of(kind)
    return Term(kind, worst.outcome, confidence, weight, weight * confidence, worst.grade, worst.reason)


class _WireGate(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    key: Annotated[str, StringConstraints(max_length=200)]
    outcome: str


class _WireRaised(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    kind: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    path: Annotated[str, StringConstraints(max_length=10_000)]
    why: _Text


class _WireInputs(BaseModel):
    """The plain fields; policy, results and findings have readers of their own.

    `raised` is absent from what was stored before there was such a thing.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    inputs_schema: Annotated[Literal["leoportal/verdict-inputs/v1"], Field(alias="schema")]
    policy: JsonValue
    repository: _Text
    pull_request: int
    base_sha: _Text
    head_sha: _Text
    bundle_digest: _Text
    expected_tree: _Text
    observed_tree: _Text
    is_bundle_verified: bool
    is_bundle_signed: bool
    results: list[JsonValue]
    gates: list[_WireGate]
    rounds_used: int
    is_deadline_passed: bool
    sod_violations: list[_Text]
    unknown_contributors: list[_Text]
    builder_problems: list[_Text] = []
    other_findings: list[JsonValue]
    raised: list[_WireRaised] = Field(default_factory=list)


def inputs_to_json(inputs: Inputs) -> dict[str, JsonValue]:
    """Everything `decide` looked at, the policy included: what a verdict stores."""
    return {
        "schema": INPUTS_SCHEMA,
        "policy": policy_to_json(inputs.policy),
        "repository": inputs.repository,
        "pull_request": inputs.pull_request,
        "base_sha": inputs.base_sha,
        "head_sha": inputs.head_sha,
        "bundle_digest": inputs.bundle_digest,
        "expected_tree": inputs.expected_tree,
        "observed_tree": inputs.observed_tree,
        "is_bundle_verified": inputs.is_bundle_verified,
        "is_bundle_signed": inputs.is_bundle_signed,
        "results": [to_json(result) for result in inputs.results],
        "gates": [{"key": gate.key, "outcome": gate.outcome.value} for gate in inputs.gates],
        "rounds_used": inputs.rounds_used,
        "is_deadline_passed": inputs.is_deadline_passed,
        "sod_violations": list(inputs.sod_violations),
        "unknown_contributors": list(inputs.unknown_contributors),
        "builder_problems": list(inputs.builder_problems),
        "other_findings": [finding_to_json(finding) for finding in inputs.other_findings],
        "raised": [{"kind": one.kind, "path": one.path, "why": one.why} for one in inputs.raised],
    }


def inputs_from_json(value: JsonValue) -> Inputs:
    """Read stored inputs back, exactly: `decide` on them gives the stored judgement again.

    Raises: PolicyError("policy.inputs") or ("policy.refused"), ResultError.
    """
    try:
        wire = _WireInputs.model_validate(value)
        gates = tuple(GateInput(gate.key, GateOutcome(gate.outcome)) for gate in wire.gates)
    except ValidationError as error:
        raise PolicyError("policy.inputs", describe(error)) from None
    except ValueError as error:
        raise PolicyError("policy.inputs", str(error)[:200]) from None
    return Inputs(
        policy=policy_from_json(wire.policy),
        repository=wire.repository,
        pull_request=wire.pull_request,
        base_sha=wire.base_sha,
        head_sha=wire.head_sha,
        bundle_digest=wire.bundle_digest,
        expected_tree=wire.expected_tree,
        observed_tree=wire.observed_tree,
        is_bundle_verified=wire.is_bundle_verified,
        is_bundle_signed=wire.is_bundle_signed,
        results=tuple(from_json(result) for result in wire.results),
        gates=gates,
        rounds_used=wire.rounds_used,
        is_deadline_passed=wire.is_deadline_passed,
        sod_violations=tuple(wire.sod_violations),
        unknown_contributors=tuple(wire.unknown_contributors),
        builder_problems=tuple(wire.builder_problems),
        other_findings=tuple(finding_from_json(finding) for finding in wire.other_findings),
        raised=tuple(Raised(one.kind, one.path, one.why) for one in wire.raised),
    )


def judgement_to_json(judgement: Judgement) -> JsonValue:
    """The answer in the form a verdict stores and an export shows; `verdict` null means not ready."""
    return {
        "verdict": judgement.verdict.value if judgement.verdict else None,
        "confidence": str(judgement.confidence),
        "weight_used": str(judgement.weight_used),
        "reasons": [
            {
                "code": reason.code,
                "sentence": reason.sentence,
                "who": reason.who.value,
                "calls_for": reason.calls_for.value if reason.calls_for else None,
            }
            for reason in judgement.reasons
        ],
        "terms": [
            {
                "kind": term.kind.value,
                "outcome": term.outcome.value,
                "confidence": str(term.confidence),
                "weight": str(term.weight),
                "product": str(term.product),
                "grade": term.grade.value,
                "note": term.note,
            }
            for term in judgement.terms
        ],
    }
