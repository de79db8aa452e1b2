"""The strict reader and writer of one sub-agent's result, and every name that goes with it.

Reading is fail closed: what does not add up is refused with a stable code, what is absent lowers the result,
nothing is assumed. SARIF and JUnit reports are read by `verdicts.reports`, the values live in `verdicts.findings`.
Source: product.md section 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from audit.canonical import JsonValue
from verdicts.findings import (
    MAX_FINDINGS,
    MAX_LINE,
    MAX_SUBJECTS,
    MAX_TOOLS,
    PENALTIES,
    REPORTABLE_OUTCOMES,
    AgentKind,
    AgentOutcome,
    AgentResult,
    Disposition,
    Finding,
    GateOutcome,
    Grade,
    ResultError,
    Severity,
    Tool,
    confidence_from,
    describe,
    missing_result,
    outcome_from,
    parse_confidence,
    read_report,
    refuse_incoherent,
)
from verdicts.reports import parse_junit, parse_sarif

__all__ = [
    "PENALTIES",
    "AgentKind",
    "AgentOutcome",
    "AgentResult",
    "Disposition",
    "Finding",
    "GateOutcome",
    "Grade",
    "ResultError",
    "Severity",
    "Tool",
    "confidence_from",
    "finding_from_json",
    "finding_to_json",
    "from_json",
    "missing_result",
    "outcome_from",
    "parse_confidence",
    "parse_junit",
    "parse_native",
    "parse_sarif",
    "refuse_incoherent",
    "to_json",
]

SCHEMA: Final = "leoportal/agent-result/v1"

_Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Path = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Text = Annotated[str, StringConstraints(max_length=4000)]
_HeadSha = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_OptionalDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
# Finds the key in its plain spelling; an escaped spelling is not found, and then the report is refused.
_CONFIDENCE_KEY = re.compile(rb'"confidence"\s*:\s*([^\s,}\]]*)')


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _WireFinding(_Wire):
    rule: _Name
    severity: Literal["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]
    file: _Path = ""
    line: Annotated[int, Field(ge=0, le=MAX_LINE)] = 0
    message: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    evidence: _Text = ""
    is_new: bool = True


class _WireTool(_Wire):
    name: _Name
    version: _Name
    arguments: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=200)] = []
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    duration_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 0
    rules_digest: _OptionalDigest = ""


class _WireResult(_Wire):
    kind: Literal["SECURITY", "DATABASE", "TESTING", "PERFORMANCE", "DESIGN"]
    outcome: Literal["PASSED", "WARNED", "FAILED", "BLOCKED", "ERROR", "MISSING", "STALE", "NOT_APPLICABLE"]
    findings: Annotated[list[_WireFinding], Field(max_length=MAX_FINDINGS)]
    head_sha: _HeadSha
    tools: Annotated[list[_WireTool], Field(max_length=MAX_TOOLS)]
    input_digest: _Digest
    subjects: Annotated[list[_Path], Field(max_length=MAX_SUBJECTS)] = []
    reason: _Text = ""


def parse_native(raw: bytes, *, grade: Grade = Grade.CLAIMED) -> AgentResult:
    """Read one report in our own JSON from an outside reviewer.

    `grade` is the caller's: VERIFIED only when it authenticated the reviewer. The report cannot state it.
    Units: confidence is a JSON number 0 to 100 with at most two decimals, read digit by digit, never rounded.
    Raises: ResultError `result.syntax`, `result.schema`, `result.confidence`, `result.not_applicable_claimed`,
    `result.not_reportable`, `result.no_tool`, `result.incoherent`.
    Not checked: that `head_sha` is the head under review, that the reviewer may speak for `kind`, replay.
    """
    document = read_report(raw)
    if document.get("schema") != SCHEMA:
        raise ResultError("result.schema", f"got schema {document.get('schema')!r:.80}, expected {SCHEMA!r}")
    wire = _validate(document)
    outcome = AgentOutcome(wire.outcome)
    if outcome is AgentOutcome.NOT_APPLICABLE:
        raise ResultError(
            "result.not_applicable_claimed", "got NOT_APPLICABLE; the portal computes that from the changed files"
        )
    if outcome not in REPORTABLE_OUTCOMES:
        raise ResultError(
            "result.not_reportable", f"got {outcome}, expected one of {', '.join(sorted(REPORTABLE_OUTCOMES))}"
        )
    if not wire.tools:
        raise ResultError("result.no_tool", "got no tool, expected the name and version of at least one")
    return refuse_incoherent(_result(wire, _exact_confidence(raw, document), grade))


def to_json(result: AgentResult) -> dict[str, JsonValue]:
    """The storage form: like the report, but with grade, dispositions, and the confidence as a decimal string."""
    return {
        "schema": SCHEMA,
        "kind": result.kind.value,
        "outcome": result.outcome.value,
        "confidence": str(result.confidence),
        "findings": [finding_to_json(finding) for finding in result.findings],
        "head_sha": result.head_sha,
        "tools": [
            {
                "name": tool.name,
                "version": tool.version,
                "arguments": list(tool.arguments),
                "exit_code": tool.exit_code,
                "duration_ms": tool.duration_ms,
                "rules_digest": tool.rules_digest,
            }
            for tool in result.tools
        ],
        "input_digest": result.input_digest,
        "subjects": list(result.subjects),
        "grade": result.grade.value,
        "reason": result.reason,
    }


def from_json(value: JsonValue) -> AgentResult:
    """Read the storage form back, exactly.

    Raises: ResultError("result.schema") or ("result.confidence").
    """
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise ResultError("result.schema", f"got {str(value)[:80]!r}, expected a stored result with schema {SCHEMA!r}")
    confidence, grade = value.get("confidence"), value.get("grade")
    if grade not in set(Grade) or not isinstance(confidence, str):
        raise ResultError("result.schema", f"got grade {grade!r:.40} and confidence {confidence!r:.40}")
    return _result(_validate(value), parse_confidence(confidence), Grade(str(grade)))


def finding_to_json(finding: Finding) -> JsonValue:
    """The storage form of one finding."""
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "file": finding.file,
        "line": finding.line,
        "message": finding.message,
        "evidence": finding.evidence,
        "is_new": finding.is_new,
        "disposition": finding.disposition.value,
    }


def finding_from_json(value: JsonValue) -> Finding:
    """Read the storage form of one finding back.

    Raises: ResultError("result.schema").
    """
    try:
        return _finding(_WireFinding.model_validate(value))
    except ValidationError as error:
        raise ResultError("result.schema", describe(error)) from None


def _exact_confidence(raw: bytes, document: Mapping[str, JsonValue]) -> Decimal:
    """The literal digits: a float would turn 84.99999999999999999 into 85."""
    value = document.get("confidence")
    tokens = _CONFIDENCE_KEY.findall(raw)
    if isinstance(value, bool) or not isinstance(value, int | float) or len(tokens) != 1:
        raise ResultError("result.confidence", f"got {value!r:.40}, expected one number from 0 to 100")
    exact = parse_confidence(tokens[0].decode("ascii", "replace"))
    if float(exact) != float(value):
        raise ResultError("result.confidence", f"got {value!r:.40} under an ambiguous key")
    return exact


def _validate(document: Mapping[str, JsonValue]) -> _WireResult:
    try:
        return _WireResult.model_validate(document)
    except ValidationError as error:
        raise ResultError("result.schema", describe(error)) from None


def _finding(wire: _WireFinding) -> Finding:
    """The disposition follows from `is_new`; nobody states it."""
    return Finding(
        wire.rule,
        Severity(wire.severity),
        wire.file,
        wire.line,
        wire.message,
        wire.evidence,
        wire.is_new,
        Disposition.OPEN if wire.is_new else Disposition.PRE_EXISTING,
    )


def _result(wire: _WireResult, confidence: Decimal, grade: Grade) -> AgentResult:
    return AgentResult(
        kind=AgentKind(wire.kind),
        outcome=AgentOutcome(wire.outcome),
        confidence=confidence,
        findings=tuple(_finding(finding) for finding in wire.findings),
        head_sha=wire.head_sha,
        tools=tuple(
            Tool(tool.name, tool.version, tuple(tool.arguments), tool.exit_code, tool.duration_ms, tool.rules_digest)
            for tool in wire.tools
        ),
        input_digest=wire.input_digest,
        subjects=tuple(wire.subjects),
        grade=grade,
        reason=wire.reason,
    )
