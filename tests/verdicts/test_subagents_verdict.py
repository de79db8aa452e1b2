"""Which sub-agent applies to a change, and the verdict that follows from all five."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.subagents import AWS_KEY, HEAD, analyse, changed, needs_scanners
from verdicts.policy import GateInput, Inputs, Verdict, decide, default_policy_yaml, disagreements, parse_policy
from verdicts.results import AgentKind, AgentOutcome, GateOutcome
from verdicts.subagents import AGENTS
from verdicts.subagents.change import is_test


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("README.md", {"SECURITY"}),
        ("app/a.py", {"SECURITY", "TESTING", "PERFORMANCE"}),
        ("a.sql", {"SECURITY", "DATABASE"}),
        ("app/migrations/0001_initial.py", {"SECURITY", "DATABASE", "TESTING", "PERFORMANCE"}),
        ("templates/a.html", {"SECURITY", "DESIGN"}),
        ("static/a.css", {"SECURITY", "DESIGN"}),
        ("static/a.TS", {"SECURITY", "TESTING", "DESIGN"}),
    ],
)
def test_what_applies_follows_from_the_changed_files(path, kinds):
    assert {kind for kind, agent in AGENTS.items() if not agent.applies([path])} == kinds


def test_what_does_not_apply_says_why_and_is_not_a_pass():
    result = analyse("DESIGN", changed("a.py", "x = 1\n"))
    assert (result.outcome, result.reason) == (AgentOutcome.NOT_APPLICABLE, AGENTS[AgentKind.DESIGN].applies(["a.py"]))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/a.py", True),
        ("app/test_a.py", True),
        ("a/b.spec.ts", True),
        ("app/attest.py", False),
        ("contest/a.py", False),
    ],
)
def test_test_code_is_known_by_the_usual_names(path, expected):
    assert is_test(path) is expected


POLICY = parse_policy(default_policy_yaml())


def verdict_on(*files, **more):
    tree = "f" * 40
    return decide(
        Inputs(
            policy=POLICY,
            repository="acme/payments",
            pull_request=1,
            base_sha="d" * 40,
            head_sha=HEAD,
            bundle_digest="e" * 64,
            expected_tree=tree,
            observed_tree=tree,
            is_bundle_verified=True,
            is_bundle_signed=True,
            results=tuple(analyse(kind, *files, **more) for kind in AgentKind),
            gates=tuple(GateInput(gate.key, GateOutcome.SUCCESS) for gate in POLICY.input_gates),
            rounds_used=0,
            is_deadline_passed=False,
        )
    )


GOOD_SOURCE = '''"""Retries of webhook deliveries."""

from __future__ import annotations

import random


def delay_seconds(attempt: int, *, base_seconds: float = 2.0) -> float:
    """How long to wait before this attempt, with some noise."""
    if attempt < 1:
        raise ValueError(f"got attempt {attempt}, expected at least 1")
    return base_seconds * 2 ** (attempt - 1) * random.uniform(0.9, 1.1)  # noqa: S311
'''
GOOD_TEST = '''"""Tests of retries."""

import pytest

from app.retries import delay_seconds


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_the_delay_doubles(attempt):
    password = "not a real one"
    assert delay_seconds(attempt) > 0, password


def test_attempts_start_at_one():
    with pytest.raises(ValueError, match="at least 1"):
        delay_seconds(0)
'''


@needs_scanners
def test_an_ordinary_good_commit_passes():
    judgement = verdict_on(
        changed("app/retries.py", GOOD_SOURCE),
        changed("tests/test_retries.py", GOOD_TEST),
        changed("docs/retries.md", "# Retries\n"),
    )
    assert judgement.verdict is Verdict.PASS, judgement.reasons
    assert judgement.confidence == Decimal("100.00")


@needs_scanners
@pytest.mark.parametrize(
    ("path", "text", "verdict"),
    [
        ("app/b.py", f"KEY = '{AWS_KEY}'\n", "FAIL"),
        ("app/b.py", "def f(x):\n    return eval(x)\n", "ESCALATE"),
        ("app/templates/b.html", '<img src="a.png">\n', "CONDITIONAL_PASS"),
    ],
)
def test_one_problem_in_it_is_enough(path, text, verdict):
    judgement = verdict_on(
        changed("app/retries.py", GOOD_SOURCE), changed("tests/test_retries.py", GOOD_TEST), changed(path, text)
    )
    assert judgement.verdict == verdict, judgement.reasons


def test_without_scanners_nothing_passes(tmp_path):
    judgement = verdict_on(changed("app/retries.py", GOOD_SOURCE), scanners=tmp_path)
    assert judgement.verdict is Verdict.FAIL
    assert judgement.confidence < 85


@needs_scanners
def test_a_built_in_that_fails_and_one_that_passes_on_the_same_file_disagree():
    files = (
        changed("app/b.py", "def f(x):\n    return eval(x)\n"),
        changed("tests/test_b.py", "def test_f():\n    assert f('1') == 1\n"),
    )
    found = disagreements(tuple(analyse(kind, *files) for kind in AgentKind), POLICY)
    assert {(item.failed, item.subjects) for item in found} == {("SECURITY", ("app/b.py",))}
