"""What the tests of the verdict share: one good case, and ways to make it worse."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from verdicts.policy import (
    GateInput,
    Inputs,
    decide,
    default_policy_yaml,
    parse_policy,
)
from verdicts.results import (
    AgentKind,
    AgentOutcome,
    AgentResult,
    Finding,
    GateOutcome,
    Grade,
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
