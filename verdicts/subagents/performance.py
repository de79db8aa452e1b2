"""PERFORMANCE: complexity of new functions (complexipy, ruff C90) and ruff's PERF rules on Python.

Only what is plainly too much is more than INFO: complexity is a hint, not a defect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from verdicts.findings import AgentKind, AgentResult, Finding, Severity
from verdicts.subagents.change import Change, ChangedFile, suffix_of
from verdicts.subagents.examination import (
    Hit,
    Scan,
    UnreadableOutputError,
    examine,
    line_of,
    not_applicable,
    pick,
    read_json,
    rows,
)
from verdicts.subagents.ruff import ruff_scan

KIND: Final = AgentKind.PERFORMANCE
# Cognitive complexity from which a new function is remarked on, most severe first.
COMPLEXITY: Final = ((60, Severity.MEDIUM), (30, Severity.LOW), (16, Severity.INFO))
CYCLOMATIC_LIMIT: Final = 20
_VALUE = re.compile(r"complexity of ([0-9]{1,6})\b")
RUFF_SEVERITIES: Final = (("C901", Severity.LOW), ("PERF", Severity.INFO))


def applies(paths: Sequence[str]) -> str:
    """Applies to Python source."""
    found = any(suffix_of(path) == ".py" for path in paths)
    return "" if found else f"none of the {len(paths)} changed files is Python"


def analyse(change: Change, scanners: Path) -> AgentResult:
    """Judge the change. Never PASSED when a scanner that had something to read did not report."""
    reason = applies(change.paths)
    if reason:
        return not_applicable(KIND, change, reason)
    subjects = [path for path in change.paths if suffix_of(path) == ".py"]
    return examine(KIND, change, scanners, SCANS, _own_findings(change), subjects)


def _own_findings(change: Change) -> Iterator[Finding]:
    """What does not parse has not been measured: said, and left to SECURITY and TESTING to weigh."""
    for file in change.files:
        if suffix_of(file.path) == ".py" and not file.is_deleted and file.tree is None:
            yield change.remark(file, (0, 0), "source.unreadable", Severity.INFO, "does not parse: not measured")


def _is_measurable(file: ChangedFile) -> bool:
    return file.tree is not None


def _read_complexity(output: bytes) -> Iterator[Hit]:
    for run in rows(pick(read_json(output), "runs")):
        for row in rows(pick(run, "results")):
            text = str(pick(row, "message", "text"))
            value = _VALUE.search(text)
            places = rows(pick(row, "locations"))
            if value is None or not places:
                raise UnreadableOutputError(f"no complexity or place in {text[:80]!r}")
            severity = next((level for least, level in COMPLEXITY if int(value[1]) >= least), Severity.INFO)
            where = pick(places[0], "physicalLocation")
            line = line_of(pick(where, "region", "startLine"))
            yield Hit(str(pick(where, "artifactLocation", "uri")), line, line, "complexity", severity, text)


SCANS: Final = (
    ruff_scan(
        ("C90", "PERF"),
        RUFF_SEVERITIES,
        settings=(f"lint.mccabe.max-complexity={CYCLOMATIC_LIMIT}",),
        syntax=Severity.INFO,
    ),
    Scan(
        program="complexipy",
        distribution="complexipy",
        options=(
            "--isolated",
            "--no-ignore",
            "--quiet",
            f"--max-complexity-allowed={COMPLEXITY[-1][0] - 1}",
            "--output-format=sarif",
            "--output={out}",
        ),
        accepts=_is_measurable,
        exit_codes=frozenset({0, 1}),
        read=_read_complexity,
        severities=tuple((f"complexity>={least}", level) for least, level in COMPLEXITY),
    ),
)
