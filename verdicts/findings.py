"""What a sub-agent says: kinds, outcomes, findings, and how findings become an outcome and a confidence.

Values only. `verdicts.results` reads and writes them; import the names from there.
Source: product.md section 7.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import ValidationError

from audit.canonical import JsonError, JsonValue, parse_json
from audit.coded import CodedError

MAX_REPORT_BYTES: Final = 1 << 20
MAX_FINDINGS: Final = 2000
MAX_SUBJECTS: Final = 5000
MAX_TOOLS: Final = 32
MAX_LINE: Final = 10_000_000
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,2})(\.[0-9]{1,2})?")


class AgentKind(StrEnum):
    """The five sub-agents, in the order of their authority."""

    SECURITY = "SECURITY"
    DATABASE = "DATABASE"
    TESTING = "TESTING"
    PERFORMANCE = "PERFORMANCE"
    DESIGN = "DESIGN"


class AgentOutcome(StrEnum):
    """How a sub-agent ended. A reviewer reports the first five; the portal alone computes the last three."""

    PASSED = "PASSED"
    WARNED = "WARNED"
    FAILED = "FAILED"
    BLOCKED = "BLOCKED"
    ERROR = "ERROR"
    MISSING = "MISSING"
    STALE = "STALE"
    NOT_APPLICABLE = "NOT_APPLICABLE"


class Severity(StrEnum):
    """How much a finding matters. INFO never moves a verdict or a score."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    INFO = "INFO"


class Grade(StrEnum):
    """How a result's evidence is known: seen by the portal or an authenticated reviewer, only claimed, or absent."""

    VERIFIED = "VERIFIED"
    CLAIMED = "CLAIMED"
    MISSING = "MISSING"


class Disposition(StrEnum):
    """What became of a finding. OPEN counts; PRE_EXISTING was there before this change: shown, never counted."""

    OPEN = "open"
    PRE_EXISTING = "pre-existing"


class GateOutcome(StrEnum):
    """How a gate ended: the nine conclusions of a GitHub check run, and MISSING while there is none.

    Source: GitHub REST API, check runs, `conclusion`.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"
    ACTION_REQUIRED = "action_required"
    STALE = "stale"
    STARTUP_FAILURE = "startup_failure"
    MISSING = "missing"


REPORTABLE_OUTCOMES: Final = frozenset(
    {AgentOutcome.PASSED, AgentOutcome.WARNED, AgentOutcome.FAILED, AgentOutcome.BLOCKED, AgentOutcome.ERROR}
)
SEVERE: Final = frozenset({Severity.CRITICAL, Severity.HIGH})
MINOR: Final = frozenset({Severity.MEDIUM, Severity.LOW})

# Points taken from 100 for each open finding, and the most that findings of one severity take together.
PENALTIES: Final[Mapping[Severity, tuple[int, int]]] = {
    Severity.CRITICAL: (60, 100),
    Severity.HIGH: (30, 100),
    Severity.MEDIUM: (8, 40),
    Severity.LOW: (2, 10),
    Severity.INFO: (0, 0),
}


class ResultError(CodedError):
    """A report that is refused. `code` is stable, `detail` says got and expected."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. `line` 0 means the whole file, an empty `file` the whole change."""

    rule: str
    severity: Severity
    file: str
    line: int
    message: str
    evidence: str = ""
    is_new: bool = True
    disposition: Disposition = Disposition.OPEN

    @property
    def is_open(self) -> bool:
        """Whether the finding counts. Anything but a pre-existing finding outside the change does."""
        return self.is_new or self.disposition is not Disposition.PRE_EXISTING


@dataclass(frozen=True, slots=True)
class Tool:
    """What was run. `exit_code` is None when it never ended by itself; `rules_digest` is sha256 hex or empty."""

    name: str
    version: str
    arguments: tuple[str, ...] = ()
    exit_code: int | None = None
    duration_ms: int = 0
    rules_digest: str = ""


@dataclass(frozen=True, slots=True)
class AgentResult:
    """What one sub-agent says about one head.

    Units: `confidence` 0 to 100 with at most two decimals; `input_digest` sha256 hex of what was judged.
    `subjects` are the files examined; `reason` explains an outcome that findings do not.
    """

    kind: AgentKind
    outcome: AgentOutcome
    confidence: Decimal
    findings: tuple[Finding, ...]
    head_sha: str
    tools: tuple[Tool, ...]
    input_digest: str
    subjects: tuple[str, ...]
    grade: Grade
    reason: str = field(default="")

    @property
    def open_findings(self) -> tuple[Finding, ...]:
        """The findings that count."""
        return tuple(finding for finding in self.findings if finding.is_open)


def confidence_from(findings: tuple[Finding, ...]) -> Decimal:
    """100 minus the PENALTIES of the open findings, never below 0. Adding a finding never raises it."""
    taken = 0
    for severity, (each, most) in PENALTIES.items():
        count = sum(1 for finding in findings if finding.is_open and finding.severity is severity)
        taken += min(each * count, most)
    return Decimal(max(0, 100 - taken))


def outcome_from(findings: tuple[Finding, ...]) -> AgentOutcome:
    """FAILED with an open high or critical finding, WARNED with an open low or medium one, else PASSED."""
    severities = {finding.severity for finding in findings if finding.is_open}
    if severities & SEVERE:
        return AgentOutcome.FAILED
    return AgentOutcome.WARNED if severities & MINOR else AgentOutcome.PASSED


def missing_result(kind: AgentKind, head_sha: str, reason: str) -> AgentResult:
    """Stand for a sub-agent that has not reported."""
    return AgentResult(
        kind,
        AgentOutcome.MISSING,
        Decimal(0),
        (),
        head_sha,
        (),
        hashlib.sha256(b"").hexdigest(),
        (),
        Grade.MISSING,
        reason,
    )


def refuse_incoherent(result: AgentResult) -> AgentResult:
    """Return `result` if its outcome agrees with its open findings.

    Raises: ResultError("result.incoherent").
    """
    severities = {finding.severity for finding in result.findings if finding.is_open}
    found = ", ".join(sorted(severities)) or "none"
    if result.outcome is AgentOutcome.FAILED and not severities & SEVERE:
        expected = "at least one open HIGH or CRITICAL finding"
    elif result.outcome is AgentOutcome.WARNED and not severities & MINOR:
        expected = "at least one open MEDIUM or LOW finding"
    elif result.outcome in {AgentOutcome.PASSED, AgentOutcome.WARNED} and severities & SEVERE:
        expected = "no open HIGH or CRITICAL finding"
    else:
        return result
    raise ResultError("result.incoherent", f"{result.outcome} with open findings: {found}; expected {expected}")


def read_report(raw: bytes) -> dict[str, JsonValue]:
    """Read a JSON report that must be an object.

    Raises: ResultError("result.syntax").
    """
    try:
        document = parse_json(raw, max_bytes=MAX_REPORT_BYTES)
    except JsonError as error:
        raise ResultError("result.syntax", f"{error.code}: {error.detail}") from None
    if not isinstance(document, dict):
        raise ResultError("result.syntax", f"got {type(document).__name__}, expected an object")
    return document


def parse_confidence(text: str) -> Decimal:
    """Read a confidence digit by digit.

    Raises: ResultError("result.confidence") for anything but 0 to 100 with at most two decimals.
    """
    if not _NUMBER.fullmatch(text) or Decimal(text) > 100:
        raise ResultError(
            "result.confidence", f"got {text[:40]!r}, expected a number from 0 to 100, at most two decimals"
        )
    return Decimal(text)


def describe(error: ValidationError) -> str:
    """Say which field a pydantic model refused, and why, in one line that quotes no more than needed."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "document"
    more = error.error_count() - 1
    return f"{where}: {first['msg']}" + (f" (and {more} more)" if more else "")
