"""Readers for what other people's tools write: SARIF 2.1.0 and JUnit XML.

Neither format knows a confidence, so it is computed here, the same way every time:
100 minus the penalties of the open findings (`verdicts.findings.PENALTIES`), minus what is missing:
10 points for each SARIF run that does not say whether it succeeded, 5 for each tool without a version, 5 for each
finding without a place (at most 20); for JUnit times the share of tests that ran. Never below 0, never rounded up.
Source: OASIS SARIF 2.1.0 sections 3.14, 3.20, 3.27; GitHub's `security-severity` scale; the
JUnit XML dialects of junitparser.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal
from typing import Annotated, Final, Literal

from junitparser import Error, Failure, JUnitXml, JUnitXmlError, Skipped, TestCase, TestSuite
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from handoffs.scope.secrets import redact
from verdicts.findings import (
    MAX_FINDINGS,
    MAX_LINE,
    MAX_SUBJECTS,
    MAX_TOOLS,
    AgentKind,
    AgentOutcome,
    AgentResult,
    Disposition,
    Finding,
    Grade,
    ResultError,
    Severity,
    Tool,
    confidence_from,
    describe,
    outcome_from,
    read_report,
)

MAX_JUNIT_BYTES: Final = 4 << 20
_HEAD_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LEVELS: Final = {
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "note": Severity.LOW,
    "none": Severity.INFO,
}
_SECURITY_SCALE: Final = (
    (Decimal("9.0"), Severity.CRITICAL),
    (Decimal("7.0"), Severity.HIGH),
    (Decimal("4.0"), Severity.MEDIUM),
)
_MARKUP = re.compile(r"<!(?!--|\[CDATA\[)")
_ENCODING = re.compile(r"""^<\?xml[^>]*?\bencoding\s*=\s*["']([^"']*)["']""")


class _Sarif(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Message(_Sarif):
    text: Annotated[str, StringConstraints(max_length=20_000)] = ""


class _Artifact(_Sarif):
    uri: Annotated[str, StringConstraints(max_length=1024)] = ""


class _Region(_Sarif):
    startLine: Annotated[int, Field(ge=1, le=MAX_LINE)] = 1  # noqa: N815  # SARIF's own word


class _Physical(_Sarif):
    artifactLocation: _Artifact = _Artifact()  # noqa: N815
    region: _Region | None = None


class _Location(_Sarif):
    physicalLocation: _Physical = _Physical()  # noqa: N815


class _Properties(_Sarif):
    security_severity: str | None = Field(default=None, alias="security-severity", max_length=16)


class _Configuration(_Sarif):
    level: Literal["none", "note", "warning", "error"] = "warning"


class _Rule(_Sarif):
    id: Annotated[str, StringConstraints(max_length=200)] = ""
    properties: _Properties = _Properties()
    defaultConfiguration: _Configuration = _Configuration()  # noqa: N815


class _Driver(_Sarif):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    version: Annotated[str, StringConstraints(max_length=200)] = ""
    semanticVersion: Annotated[str, StringConstraints(max_length=200)] = ""  # noqa: N815
    rules: Annotated[list[_Rule], Field(max_length=5000)] = []


class _SarifTool(_Sarif):
    driver: _Driver


class _Invocation(_Sarif):
    executionSuccessful: bool  # noqa: N815


class _SarifResult(_Sarif):
    ruleId: Annotated[str, StringConstraints(max_length=200)] = ""  # noqa: N815
    ruleIndex: int = -1  # noqa: N815
    level: Literal["none", "note", "warning", "error"] | None = None
    kind: Annotated[str, StringConstraints(max_length=40)] = "fail"
    message: _Message
    locations: Annotated[list[_Location], Field(max_length=100)] = []
    suppressions: Annotated[list[object], Field(max_length=100)] = []
    properties: _Properties = _Properties()


class _Listed(_Sarif):
    location: _Artifact = _Artifact()


class _Run(_Sarif):
    tool: _SarifTool
    results: Annotated[list[_SarifResult], Field(max_length=MAX_FINDINGS)] | None = None
    invocations: Annotated[list[_Invocation], Field(max_length=100)] = []
    artifacts: Annotated[list[_Listed], Field(max_length=MAX_SUBJECTS)] = []


class _Log(_Sarif):
    version: Literal["2.1.0"]
    runs: Annotated[list[_Run], Field(min_length=1, max_length=MAX_TOOLS)]


def parse_sarif(raw: bytes, kind: AgentKind, head_sha: str, *, grade: Grade = Grade.CLAIMED) -> AgentResult:
    """Read a SARIF 2.1.0 log as the result of `kind` for `head_sha`.

    Severity is the `security-severity` of the result or its rule (9, 7, 4), else the level: error HIGH,
    warning MEDIUM, note LOW, none INFO; a result without a level has its rule's. Results of kind pass,
    notApplicable or informational are INFO. A suppressed result stays open, and says so. Everything counts as new.
    A run that says it failed, or that has no `results`, makes the outcome ERROR.
    Raises: ResultError `result.syntax`, `result.schema`, `result.head_sha`.
    Not checked: that the tool ran on `head_sha`; SARIF cannot prove it.
    """
    _refuse_head(head_sha)
    try:
        log = _Log.model_validate(read_report(raw))
    except ValidationError as error:
        raise ResultError("result.schema", f"not SARIF 2.1.0 as expected: {describe(error)}") from None
    findings = tuple(finding for run in log.runs for finding in _sarif_findings(run))
    if len(findings) > MAX_FINDINGS:
        raise ResultError("result.schema", f"got {len(findings)} findings, expected at most {MAX_FINDINGS}")
    failed = [run.tool.driver.name for run in log.runs if run.results is None or _has_failed(run)]
    without_version = sum(1 for run in log.runs if not _version(run.tool.driver))
    unplaced = sum(1 for finding in findings if not finding.file)
    missing = 10 * sum(1 for run in log.runs if not run.invocations) + 5 * without_version + min(20, 5 * unplaced)
    subjects = {item.location.uri for run in log.runs for item in run.artifacts} | {item.file for item in findings}
    return AgentResult(
        kind=kind,
        outcome=AgentOutcome.ERROR if failed else outcome_from(findings),
        confidence=Decimal(0) if failed else max(Decimal(0), confidence_from(findings) - missing),
        findings=findings,
        head_sha=head_sha,
        tools=tuple(Tool(run.tool.driver.name, _version(run.tool.driver) or "unknown") for run in log.runs),
        input_digest=hashlib.sha256(raw).hexdigest(),
        subjects=tuple(sorted(subjects - {""}))[:MAX_SUBJECTS],
        grade=grade,
        reason=f"did not run to the end: {', '.join(failed)}" if failed else "",
    )


def parse_junit(raw: bytes, kind: AgentKind, head_sha: str, *, grade: Grade = Grade.CLAIMED) -> AgentResult:
    """Read a JUnit XML report as the result of `kind` for `head_sha`.

    A failed or broken test is a HIGH finding, a skipped one INFO. Tests that a suite declares but does not list
    count as not run; failures it declares but does not list are a HIGH finding. A report in which no test
    ran has outcome ERROR and confidence 0.
    Raises: ResultError `result.too_long`, `result.unsafe_xml`, `result.syntax`, `result.schema`, `result.head_sha`.
    Not checked: that the tests ran on `head_sha`; the format cannot say it.
    """
    _refuse_head(head_sha)
    suites = _read_junit(raw)
    cases = [case for suite in suites for case in _cases(suite)]
    findings = tuple(finding for case in cases for finding in _test_findings(case))
    declared, broken = _declared(suites)
    listed = sum(1 for finding in findings if finding.severity is Severity.HIGH)
    if broken > listed:
        sentence = f"the report declares {broken} failed tests and lists {listed}"
        findings = (*findings, Finding("junit.unlisted", Severity.HIGH, "", 0, sentence))
    if len(findings) > MAX_FINDINGS:
        raise ResultError("result.schema", f"got {len(findings)} findings, expected at most {MAX_FINDINGS}")
    ran = sum(1 for case in cases if not any(isinstance(item, Skipped) for item in case.result))
    total = max(declared, len(cases))
    share = confidence_from(findings) * ran / total if total else Decimal(0)
    return AgentResult(
        kind=kind,
        outcome=outcome_from(findings) if ran else AgentOutcome.ERROR,
        confidence=share.quantize(Decimal("0.01"), rounding=ROUND_DOWN),
        findings=findings,
        head_sha=head_sha,
        tools=(Tool("junit", "unknown"),),
        input_digest=hashlib.sha256(raw).hexdigest(),
        subjects=tuple(sorted({finding.file for finding in findings} - {""}))[:MAX_SUBJECTS],
        grade=grade,
        reason=f"{ran} of {total} tests ran",
    )


def _refuse_head(head_sha: str) -> None:
    if not _HEAD_SHA.fullmatch(head_sha):
        raise ResultError("result.head_sha", f"got {head_sha[:80]!r}, expected 40 or 64 lower-case hex digits")


def _has_failed(run: _Run) -> bool:
    return any(not invocation.executionSuccessful for invocation in run.invocations)


def _version(driver: _Driver) -> str:
    return driver.semanticVersion or driver.version


def _sarif_findings(run: _Run) -> Iterator[Finding]:
    rules = {rule.id: rule for rule in run.tool.driver.rules}
    for item in run.results or ():
        in_range = 0 <= item.ruleIndex < len(run.tool.driver.rules)
        rule = rules.get(item.ruleId) or (run.tool.driver.rules[item.ruleIndex] if in_range else _Rule())
        place = item.locations[0].physicalLocation if item.locations else _Physical()
        yield Finding(
            rule=_clean(item.ruleId or rule.id) or "unnamed",
            severity=_sarif_severity(item, rule),
            file=_clean(place.artifactLocation.uri),
            line=place.region.startLine if place.region else 0,
            message=item.message.text[:4000] or "no message",
            evidence="suppressed by the reporter; counted all the same" if item.suppressions else "",
            is_new=True,
            disposition=Disposition.OPEN,
        )


def _sarif_severity(item: _SarifResult, rule: _Rule) -> Severity:
    if item.kind in {"pass", "notApplicable", "informational"}:
        return Severity.INFO
    scale = item.properties.security_severity or rule.properties.security_severity
    level = _LEVELS[item.level or rule.defaultConfiguration.level]
    if scale is None:
        return level
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,2})?", scale):
        return Severity.HIGH
    return next((severity for least, severity in _SECURITY_SCALE if Decimal(scale) >= least), Severity.LOW)


def _clean(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", "?", redact(text))


def _read_junit(raw: bytes) -> list[TestSuite]:
    """The suites, read only after everything an XML reader could expand has been refused."""
    if len(raw) > MAX_JUNIT_BYTES:
        raise ResultError("result.too_long", f"got {len(raw)} bytes, expected at most {MAX_JUNIT_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ResultError("result.unsafe_xml", f"byte {error.start} is not UTF-8") from None
    encoding = _ENCODING.search(text)
    if "\x00" in text or (encoding and encoding[1].lower() not in {"utf-8", "us-ascii", "ascii"}):
        raise ResultError("result.unsafe_xml", "got another encoding, expected UTF-8")
    if _MARKUP.search(text):
        raise ResultError("result.unsafe_xml", "got a document type or entity declaration, expected none")
    try:
        root = JUnitXml.fromstring(text.encode("utf-8"))
    except (SyntaxError, JUnitXmlError) as error:
        raise ResultError("result.syntax", f"not JUnit XML: {str(error)[:200]}") from None
    return list(root)


def _cases(suite: TestSuite) -> Iterator[TestCase]:
    stack = [suite]
    while stack:
        current = stack.pop()
        yield from current.iterchildren(TestCase)  # type: ignore[no-untyped-call]
        stack.extend(current.testsuites())  # type: ignore[no-untyped-call]


def _declared(suites: list[TestSuite]) -> tuple[int, int]:
    """How many tests, and how many failed ones, the suites say they have."""
    try:
        tests = sum(max(0, suite.tests or 0) for suite in suites)
        broken = sum(max(0, suite.failures or 0) + max(0, suite.errors or 0) for suite in suites)
    except ValueError as error:
        raise ResultError("result.schema", f"a suite's counts are not numbers: {str(error)[:120]}") from None
    return tests, broken


def _test_findings(case: TestCase) -> Iterator[Finding]:
    name = _clean(f"{case.classname or ''}::{case.name or ''}")[:900]
    for item in case.result:
        rule, severity = "junit.other", Severity.HIGH
        if isinstance(item, Failure):
            rule = "junit.failure"
        elif isinstance(item, Error):
            rule = "junit.error"
        elif isinstance(item, Skipped):
            rule, severity = "junit.skipped", Severity.INFO
        yield Finding(rule, severity, "", 0, f"{name}: {item.message or 'no message'}"[:4000], (item.text or "")[:4000])
