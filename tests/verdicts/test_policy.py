"""The policy document: what it says by default, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.judging import (
    GOOD,
    POLICY,
)
from verdicts.policy import (
    SOP_GATES,
    PolicyError,
    default_policy_yaml,
    inputs_from_json,
    inputs_to_json,
    parse_policy,
    policy_from_json,
    policy_to_json,
)
from verdicts.results import (
    AgentKind,
    ResultError,
)


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
