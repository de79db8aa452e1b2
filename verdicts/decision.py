"""What goes into a verdict and what comes out: values only. The rules are in `verdicts.rules`.

Import the names from `verdicts.policy`.
Source: product.md section 7; SOP section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from handoffs.scope.control_plane import Raised
from verdicts.findings import AgentKind, AgentOutcome, AgentResult, Finding, GateOutcome, Grade
from verdicts.policy_document import Policy


class Verdict(StrEnum):
    """PLAN's four verdicts, in the SOP's words."""

    PASS = "PASS"  # noqa: S105  # a verdict
    CONDITIONAL_PASS = "CONDITIONAL_PASS"  # noqa: S105
    ESCALATE = "ESCALATE"
    FAIL = "FAIL"


class Clearer(StrEnum):
    """Who can clear a reason."""

    PLAN = "PLAN"
    LEAD = "LEAD"
    EXEC = "EXEC"
    CODEX = "CODEX"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is not PASS. `calls_for` is the verdict this reason alone demands; None means: not ready."""

    code: str
    sentence: str
    who: Clearer
    calls_for: Verdict | None


@dataclass(frozen=True, slots=True)
class GateInput:
    """How one gate stands, by the gate's key in the policy."""

    key: str
    outcome: GateOutcome


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a verdict depends on.

    `expected_tree` is what the bundle produces, `observed_tree` what the head holds; empty means unknown.
    `other_findings` are open findings that belong to no current result: of a withdrawn result, or a person's remark.
    `gates` that the policy requires and that are not listed count as missing. `raised` is what the enforcer found
    that PLAN alone may not release.
    """

    policy: Policy
    repository: str
    pull_request: int
    base_sha: str
    head_sha: str
    bundle_digest: str
    expected_tree: str
    observed_tree: str
    is_bundle_verified: bool
    is_bundle_signed: bool
    results: tuple[AgentResult, ...]
    gates: tuple[GateInput, ...]
    rounds_used: int
    is_deadline_passed: bool
    sod_violations: tuple[str, ...] = ()
    unknown_contributors: tuple[str, ...] = ()
    builder_problems: tuple[str, ...] = ()
    other_findings: tuple[Finding, ...] = ()
    raised: tuple[Raised, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """One sub-agent's part in the confidence. `weight` is 0 where the kind is not applicable."""

    kind: AgentKind
    outcome: AgentOutcome
    confidence: Decimal
    weight: Decimal
    product: Decimal
    grade: Grade
    note: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `decide` says. `verdict` None: not ready, a gate has not ended; only ESCALATE or FAIL may be recorded.

    Units: `confidence` 0.00 to 100.00, rounded down; 0.00 when nothing is applicable.
    """

    verdict: Verdict | None
    reasons: tuple[Reason, ...]
    confidence: Decimal
    terms: tuple[Term, ...]
    weight_used: Decimal


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One sub-agent PASSED and one FAILED, both sure, about the same files."""

    passed: AgentKind
    failed: AgentKind
    subjects: tuple[str, ...]


# None is a judgement that is not ready: stricter than a conditional pass, laxer than an escalation.
STRICTNESS: Final[tuple[Verdict | None, ...]] = (
    Verdict.PASS,
    Verdict.CONDITIONAL_PASS,
    None,
    Verdict.ESCALATE,
    Verdict.FAIL,
)


def is_at_least_as_strict(recorded: Verdict, computed: Verdict | None) -> bool:
    """Whether PLAN may record this verdict where that one was computed: PASS < CONDITIONAL_PASS < ESCALATE < FAIL.

    While the judgement is not ready (None), only ESCALATE and FAIL may be recorded.
    """
    return STRICTNESS.index(recorded) >= STRICTNESS.index(computed)
