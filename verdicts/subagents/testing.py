"""TESTING: our own reading of the test code (never run here) and ruff's PT rules.

Looks for tests that cannot fail, tests switched off, tests removed, and source that changed without any test.
Results of tests that ran come from CI as JUnit reports (`verdicts.results.parse_junit`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from verdicts.findings import AgentKind, AgentResult, Finding, Severity
from verdicts.subagents.change import SCRIPT_SUFFIXES, Change, ChangedFile, is_migration, is_test, suffix_of
from verdicts.subagents.examination import Scan, examine, not_applicable
from verdicts.subagents.ruff import is_python, ruff_scan

KIND: Final = AgentKind.TESTING
_ASSERTING: Final = ("assert", "expect", "check", "verify", "fail", "raises", "warns", "refuse", "must", "ensure")
_SKIPS: Final = {
    "skip": Severity.LOW,
    "skipTest": Severity.LOW,
    "xfail": Severity.LOW,
    "expectedFailure": Severity.LOW,
    "skipif": Severity.INFO,
    "skipIf": Severity.INFO,
    "skipUnless": Severity.INFO,
    "importorskip": Severity.INFO,
}
# Rules of ruff that mean a check which cannot fail; the style rules of PT stay INFO. Tests are not relaxed here.
RUFF_SEVERITIES: Final = (
    ("PT015", Severity.LOW),
    ("PT010", Severity.LOW),
    ("F631", Severity.MEDIUM),
    ("B015", Severity.LOW),
    ("PT", Severity.INFO),
)


def applies(paths: Sequence[str]) -> str:
    """Applies to source and test code."""
    found = any(_is_code(path) for path in paths)
    return "" if found else f"none of the {len(paths)} changed files is source or test code"


def analyse(change: Change, scanners: Path) -> AgentResult:
    """Judge the change. Never PASSED when ruff had something to read and did not report."""
    reason = applies(change.paths)
    if reason:
        return not_applicable(KIND, change, reason)
    subjects = [path for path in change.paths if _is_code(path)]
    return examine(KIND, change, scanners, SCANS, _own_findings(change), subjects)


def _is_code(path: str) -> bool:
    return suffix_of(path) == ".py" or suffix_of(path) in SCRIPT_SUFFIXES


def _is_python_test(file: ChangedFile) -> bool:
    return is_python(file) and is_test(file.path)


def _own_findings(change: Change) -> Iterator[Finding]:
    code = [file for file in change.files if _is_code(file.path)]
    source = [file for file in code if _needs_test(file)]
    if source and not any(is_test(file.path) and file.added_lines for file in code):
        message = f"{len(source)} source file{'s' if len(source) > 1 else ''} changed and no test did"
        yield Finding("test.none_changed", Severity.LOW, "", 0, message)
    for file in (file for file in code if is_test(file.path)):
        if file.is_deleted:
            yield Finding("test.deleted", Severity.MEDIUM, file.path, 0, "a test file was deleted")
        elif suffix_of(file.path) == ".py" and file.tree is None:
            yield change.remark(file, (0, 0), "test.unreadable", Severity.MEDIUM, "the test file does not parse")
        elif file.tree is not None:
            yield from _test_findings(change, file, file.tree)


def _needs_test(file: ChangedFile) -> bool:
    return not is_test(file.path) and not is_migration(file.path) and not file.is_deleted and bool(file.added_lines)


def _test_findings(change: Change, file: ChangedFile, tree: ast.Module) -> Iterator[Finding]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in (node for node in functions if node.name.startswith("test")):
        whole = (function.lineno, function.end_lineno or function.lineno)
        is_new = any(whole[0] <= line <= whole[1] for line in file.added_lines)
        lines = whole if is_new else (function.lineno, function.lineno)
        if _asserts_only_constants(function):
            message = f"{function.name} asserts only constants: it cannot fail"
            yield change.remark(file, lines, "test.vacuous", Severity.MEDIUM, message)
        elif not _checks_anything(function):
            message = f"{function.name} checks nothing: it fails only when something raises"
            yield change.remark(file, lines, "test.no_assertion", Severity.LOW, message)
    yield from _skips(change, file, tree)


def _checks_anything(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert | ast.Raise):
            return True
        name = _called(node) if isinstance(node, ast.Call) else ""
        if name.lower().lstrip("_").startswith(_ASSERTING):
            return True
    return False


def _asserts_only_constants(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    asserts = [node for node in ast.walk(function) if isinstance(node, ast.Assert)]
    if not asserts or any(
        _called(node).lower().startswith(_ASSERTING) for node in ast.walk(function) if isinstance(node, ast.Call)
    ):
        return False
    return all(
        not any(isinstance(part, ast.Name | ast.Call | ast.Attribute | ast.Await) for part in ast.walk(node.test))
        for node in asserts
    )


def _skips(change: Change, file: ChangedFile, tree: ast.Module) -> Iterator[Finding]:
    """Tests switched off. A skip under a condition is INFO: that is how a test says what it needs."""
    conditional = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If | ast.Try)
        for inner in ast.walk(node)
        if inner is not node
    }
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        target = node.func if isinstance(node, ast.Call) else node
        if id(node) in called or not isinstance(target, ast.Attribute) or target.attr not in _SKIPS:
            continue
        if not _is_of_a_test_library(target):
            continue
        severity = Severity.INFO if id(node) in conditional else _SKIPS[target.attr]
        lines = (target.lineno, target.end_lineno or target.lineno)
        yield change.remark(file, lines, "test.skipped", severity, f"{target.attr}: a test is switched off")


def _is_of_a_test_library(node: ast.Attribute) -> bool:
    inner: ast.expr = node.value
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    return isinstance(inner, ast.Name) and inner.id in {"pytest", "unittest", "self", "mark"}


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


_RUFF: Final = ruff_scan(("PT", "F631", "B015"), RUFF_SEVERITIES, syntax=Severity.INFO)
SCANS: Final = (
    Scan(
        program=_RUFF.program,
        distribution=_RUFF.distribution,
        options=_RUFF.options,
        accepts=_is_python_test,
        exit_codes=_RUFF.exit_codes,
        read=_RUFF.read,
        severities=_RUFF.severities,
        is_for_tests=True,
    ),
)
