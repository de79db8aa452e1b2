"""How a verification report is told: rows for people, one document for programs, an exit code for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from audit.canonical import JsonValue
from handoffs.checks import CheckResult, Outcome
from handoffs.verification import Report
from leoportal.cli_output import INTEGRITY, NEGATIVE, say, say_row

# What fails because the options say something else than the bundle.
_GIVEN: Final = frozenset(
    {"marker.digest", "marker.branch", "manifest.branch", "manifest.repository", "attestation.builder"}
)
_TAMPERED: Final = frozenset({"marker.digest", "manifest.members", "attestation.digests"})


def failed_checks(report: Report) -> list[CheckResult]:
    """The checks that failed, in order; those that had nothing to look at come last."""
    bad = [result for result in report.results if result.outcome is Outcome.FAILED]
    return sorted(bad, key=lambda result: result.is_unchecked)


def status(report: Report) -> int:
    """5 where the bytes are not what they were, 1 where they are but do not pass."""
    codes = {result.code for result in failed_checks(report)}
    is_tampered = any(code.startswith("archive.") for code in codes) or bool(codes & _TAMPERED)
    return INTEGRITY if is_tampered else NEGATIVE


def say_report(report: Report, file: Path) -> None:
    """One row for each group that holds, one for each check that does not."""
    groups: dict[str, list[CheckResult]] = {}
    for result in report.results:
        groups.setdefault(result.group, []).append(result)
    say(f"{file}  sha256 {report.digest}")
    for group, results in groups.items():
        bad = [result for result in results if result.outcome is Outcome.FAILED]
        for result in sorted(bad, key=lambda result: result.is_unchecked):
            say_row("?" if result.is_unchecked else "FAIL", result.code, result.sentence)
            say(f"        got {result.got}")
            say(f"        expected {result.expected}")
        if not bad:
            say_row("ok", group, f"{len(results)} checks, {results[-1].got if group == 'scope' else results[0].got}")
        for result in results:
            if result.outcome is Outcome.CLAIMED:
                say_row("claim", result.code, result.got)


def last_line(report: Report, file: Path, repo: Path | None) -> str:
    """The count, the verdict and the next command."""
    failed = len(failed_checks(report))
    head = f"  {len(report.results)} checks, {failed} failed."
    if failed and repo is None:
        return f"{head} NOT VERIFIED. Next: leo bundle verify {file} --repo <path of the repository>"
    if failed and {result.code for result in failed_checks(report)} <= _GIVEN:
        return f"{head} NOT VERIFIED. Next: check what was given with --marker, --branch, --repository and --builder"
    if failed:
        return f"{head} NOT VERIFIED. Next: correct the change and run leo bundle create again"
    return f"{head} VERIFIED. Next: leo bundle handoff {file} --repo {repo} --remote <path or https address>"


def report_json(report: Report) -> JsonValue:
    """The whole report."""
    return {
        "sha256": report.digest,
        "verified": report.is_verified,
        "result_tree": report.result_tree,
        "control_plane_paths": list(report.control_plane_paths),
        "changes": [
            {"path": change.path.encode("utf-8", "replace").decode(), "status": change.status}
            for change in report.changes
        ],
        "checks": [
            {
                "code": result.code,
                "group": result.group,
                "sentence": result.sentence,
                "outcome": result.outcome.value,
                "got": result.got,
                "expected": result.expected,
            }
            for result in report.results
        ],
    }
