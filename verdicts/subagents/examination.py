"""What the five sub-agents share: run the scanners side by side, read what they say, make one result of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from audit.canonical import JsonError, JsonValue, digest_json, parse_json
from verdicts.findings import (
    MAX_FINDINGS,
    MAX_SUBJECTS,
    AgentKind,
    AgentOutcome,
    AgentResult,
    Finding,
    Grade,
    Severity,
    Tool,
    confidence_from,
    outcome_from,
)
from verdicts.subagents.change import Change, ChangedFile, clean, is_test, relaxed
from verdicts.subagents.sandbox import (
    MAX_FILE_BYTES,
    MAX_OUTPUT_BYTES,
    Execution,
    Workspace,
    run,
    version_of,
    workspace,
)
from verdicts.subagents.suppressions import report

PARALLEL_SCANNERS: Final = 2
_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


class UnreadableOutputError(Exception):
    """A scanner wrote something its reader does not understand."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What a scanner says: on which neutral name, from which line to which (from 1; 0 is the whole file)."""

    name: str
    first: int
    last: int
    rule: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Scan:
    """One scanner: how it is called, which files it wants, which exit codes are no crash, how its output reads.

    `derived` makes a second copy, with the suffix given, of what the function finds in a file; empty means nothing.
    `is_for_tests` keeps the severities in test code, where others are relaxed; `expected_in_tests` are rules that
    are no finding there. `counted` reads how many files the
    scanner says it looked at, where it says so.
    """

    program: str
    distribution: str
    options: tuple[str, ...]
    accepts: Callable[[ChangedFile], bool]
    exit_codes: frozenset[int]
    read: Callable[[bytes], Iterable[Hit]]
    severities: tuple[tuple[str, Severity], ...] = ()
    derived: tuple[str, Callable[[ChangedFile], bytes]] | None = None
    is_for_tests: bool = False
    expected_in_tests: frozenset[str] = frozenset()
    counted: Callable[[bytes], int] | None = None


def examine(
    kind: AgentKind,
    change: Change,
    scanners: Path,
    scans: Sequence[Scan],
    own: Iterable[Finding],
    subjects: Sequence[str],
) -> AgentResult:
    """Run the scans that have something to read, add our own findings, and weigh all of it.

    A scanner that is missing makes the outcome MISSING; one that crashed, hung or wrote nonsense makes it ERROR.
    Then the confidence is 0, whatever the others found.
    """
    findings = [*own, *unreadable_files(change, subjects)]
    wanted = set(subjects)
    for file in change.files:
        if file.path in wanted and not file.is_deleted:
            findings.extend(report(change, file, kind))
    with workspace(change) as place, ThreadPoolExecutor(PARALLEL_SCANNERS) as pool:
        jobs = [(scan, (*place.names(scan.accepts), *_derive(scan, place))) for scan in scans]
        running = [pool.submit(_scan, scanners, scan, names, place, change) for scan, names in jobs if names]
        ended = [future.result() for future in running]
    executions = [execution for execution, _ in ended]
    for _, hits in ended:
        findings.extend(hits)
    problems = [execution for execution in executions if execution.problem]
    kept = _most_severe(findings)
    outcome = outcome_from(kept)
    if problems:
        is_missing = any(execution.outcome is AgentOutcome.MISSING for execution in problems)
        outcome = AgentOutcome.MISSING if is_missing else AgentOutcome.ERROR
    notes = [execution.problem for execution in problems]
    if any(not execution.is_isolated and execution.tool.exit_code is not None for execution in executions):
        notes.append("scanners ran with a network: this machine does not allow a namespace without one")
    return AgentResult(
        kind=kind,
        outcome=outcome,
        confidence=Decimal(0) if problems else confidence_from(kept),
        findings=kept,
        head_sha=change.head_sha,
        tools=(Tool("leoportal", "1"), *(execution.tool for execution in executions)),
        input_digest=change.digest,
        subjects=tuple(sorted({clean(path) for path in subjects}))[:MAX_SUBJECTS],
        grade=Grade.MISSING if outcome is AgentOutcome.MISSING else Grade.VERIFIED,
        reason="; ".join(notes),
    )


def not_applicable(kind: AgentKind, change: Change, reason: str) -> AgentResult:
    """The portal's own statement that a sub-agent has nothing to judge here."""
    return AgentResult(
        kind=kind,
        outcome=AgentOutcome.NOT_APPLICABLE,
        confidence=Decimal(0),
        findings=(),
        head_sha=change.head_sha,
        tools=(),
        input_digest=change.digest,
        subjects=(),
        grade=Grade.VERIFIED,
        reason=reason,
    )


def read_json(output: bytes) -> JsonValue:
    """A scanner's JSON.

    Raises: UnreadableOutputError.
    """
    try:
        return parse_json(output.strip(), max_bytes=MAX_OUTPUT_BYTES)
    except JsonError as error:
        raise UnreadableOutputError(f"{error.code}: {error.detail}") from None


def rows(value: JsonValue) -> list[dict[str, JsonValue]]:
    """A list of objects, or an error: nothing is skipped in silence.

    Raises: UnreadableOutputError.
    """
    if not isinstance(value, list):
        raise UnreadableOutputError(f"got {type(value).__name__}, expected a list")
    found = []
    for row in value:
        if not isinstance(row, dict):
            raise UnreadableOutputError(f"got {type(row).__name__}, expected an object")
        found.append(row)
    return found


def pick(row: JsonValue, *keys: str) -> JsonValue:
    """A member of nested objects.

    Raises: UnreadableOutputError when one of the keys is absent.
    """
    for key in keys:
        if not isinstance(row, dict) or key not in row:
            raise UnreadableOutputError(f"no member {key!r} in the output")
        row = row[key]
    return row


def line_of(value: JsonValue) -> int:
    """A line number.

    Raises: UnreadableOutputError.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnreadableOutputError(f"got {value!r:.40}, expected a line number")
    return value


def unreadable_files(change: Change, subjects: Sequence[str]) -> Iterable[Finding]:
    """A source file that no scanner can read must not pass unseen."""
    wanted = set(subjects)
    for file in change.files:
        if file.path in wanted and not file.is_deleted and len(file.content) > MAX_FILE_BYTES:
            message = f"{len(file.content)} bytes; not analysed above {MAX_FILE_BYTES}"
            yield change.remark(file, (0, 0), "file.too_large", relaxed(Severity.MEDIUM, file.path), message)


def _derive(scan: Scan, place: Workspace) -> list[str]:
    """Write the second copies a scan asks for."""
    names: list[str] = []
    for file in list(place.files.values()) if scan.derived else ():
        suffix, find = scan.derived or ("", None)
        content = find(file) if find and not scan.accepts(file) else b""
        if content:
            names.append(place.add(file, suffix, content))
    return names


def _scan(
    scanners: Path, scan: Scan, names: tuple[str, ...], place: Workspace, change: Change
) -> tuple[Execution, list[Finding]]:
    table: JsonValue = [
        scan.program,
        list(scan.options),
        [[rule, severity.value] for rule, severity in scan.severities],
    ]
    tool = Tool(scan.program, version_of(scanners, scan.distribution), scan.options, rules_digest=digest_json(table))
    execution = run(scanners, tool, names, place)
    if execution.problem:
        return execution, []
    try:
        if execution.tool.exit_code not in scan.exit_codes:
            raise UnreadableOutputError(f"ended with exit code {execution.tool.exit_code}")
        if scan.counted and scan.counted(execution.output) != len(names):
            raise UnreadableOutputError(f"looked at {scan.counted(execution.output)} files, was given {len(names)}")
        hits = list(scan.read(execution.output))
        if execution.tool.exit_code and not hits:
            raise UnreadableOutputError(f"ended with exit code {execution.tool.exit_code} and reported nothing")
        found = [(hit, _file_of(hit, place)) for hit in hits]
        return execution, [
            change.remark(
                file, (hit.first, hit.last), f"{scan.program}:{hit.rule}", _severity(hit, file, scan), hit.message
            )
            for hit, file in found
            if not (hit.rule in scan.expected_in_tests and is_test(file.path))
        ]
    except UnreadableOutputError as error:
        problem = f"{scan.program}: {error}"
        return Execution(execution.tool, b"", problem, AgentOutcome.ERROR, execution.is_isolated), []


def _file_of(hit: Hit, place: Workspace) -> ChangedFile:
    match = re.search(r"[fd][0-9]{4,}(\.[a-z0-9]+|/action\.ya?ml)$", hit.name)
    file = place.files.get(match[0]) if match else None
    if file is None:
        raise UnreadableOutputError(f"speaks of {clean(hit.name, 80)!r}, which it was not given")
    return file


def _severity(hit: Hit, file: ChangedFile, scan: Scan) -> Severity:
    return hit.severity if scan.is_for_tests else relaxed(hit.severity, file.path)


def _most_severe(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Most severe first, open ones before those that were there already; no more than can be kept."""
    ordered = sorted(
        set(findings),
        key=lambda item: (not item.is_open, _ORDER[item.severity], item.file, item.line, item.rule, item.message),
    )
    return tuple(ordered[:MAX_FINDINGS])
