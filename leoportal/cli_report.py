"""How a verification report is told: rows for people, one document for programs, an exit code for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from audit.canonical import JsonValue
from handoffs.checks import CheckResult, Outcome
from handoffs.slsa import Source, Standing, slsa_to_json
from handoffs.verification import Report
from leoportal.cli_output import INTEGRITY, NEGATIVE, say, say_row

_TAMPERED: Final = frozenset({"marker.digest", "manifest.members", "attestation.digests"})


def failed_checks(report: Report) -> list[CheckResult]:
    """The checks that failed, in order."""
    return [result for result in report.results if result.outcome is Outcome.FAILED]


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
        for result in bad:
            say_row("FAIL", result.code, result.sentence)
            say(f"        got {result.got}")
            say(f"        expected {result.expected}")
        if not bad:
            say_row("ok", group, f"{len(results)} checks, {results[-1].got if group == 'scope' else results[0].got}")
        for result in results:
            if result.outcome is Outcome.CLAIMED:
                say_row("claim", result.code, result.got)


def say_slsa(report: Report) -> None:
    """What of SLSA holds: first what the builder says of itself, then, apart, what was seen here."""
    for source, title in ((Source.BUILDER, "claimed by the builder"), (Source.PORTAL, "seen here")):
        say(f"  SLSA, {title}:")
        for item in report.slsa:
            if item.source is source:
                word = {Standing.MET: "ok", Standing.CLAIMED: "claim", Standing.NOT_MET: "no"}[item.standing]
                say_row(word, item.name, f"{item.standing.value}: {item.why}")


def last_line(report: Report, file: Path, repo: Path | None) -> str:
    """The count, the verdict and the next command."""
    failed = len(failed_checks(report))
    head = f"  {len(report.results)} checks, {failed} failed."
    if failed and repo is None:
        return f"{head} NOT VERIFIED. Next: leo bundle verify {file} --repo <path of the repository>"
    if failed:
        return f"{head} NOT VERIFIED. Correct the change and run leo bundle create again."
    return f"{head} VERIFIED. Next: leo bundle handoff {file} --repo {repo} --remote <path or https address>"


def report_json(report: Report) -> JsonValue:
    """The whole report."""
    return {
        "sha256": report.digest,
        "verified": report.is_verified,
        "result_tree": report.result_tree,
        "control_plane_paths": list(report.control_plane_paths),
        "slsa": slsa_to_json(report.slsa),
        "trusted_root": report.trusted_root_digest or None,
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
