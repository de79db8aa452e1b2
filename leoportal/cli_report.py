"""How a verification report is told: rows for people, one document for programs, an exit code for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from audit.canonical import JsonValue
from handoffs.attestations.slsa import Source, Standing, slsa_to_json
from handoffs.checks.catalogue import CheckResult, Outcome
from handoffs.checks.verification import Report
from handoffs.packages.components import ComponentChange, ComponentDelta
from handoffs.scope.control_plane import bounded
from leoportal.cli_output import INTEGRITY, NEGATIVE, say, say_row

# What fails because the options say something else than the bundle.
_GIVEN: Final = frozenset(
    {"marker.digest", "marker.branch", "manifest.branch", "manifest.repository", "attestation.builder"}
)
_MAX_ROWS: Final = 20
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
    """A row for each group that holds and for each check that does not; then what could not be looked at, by reason."""
    groups: dict[str, list[CheckResult]] = {}
    for result in report.results:
        groups.setdefault(result.group, []).append(result)
    say(f"{file}  sha256 {report.digest}")
    for group, results in groups.items():
        bad = [result for result in results if result.outcome is Outcome.FAILED]
        for result in [result for result in bad if not result.is_unchecked]:
            say_row("FAIL", result.code, result.sentence)
            say(f"        got {result.got}")
            say(f"        expected {result.expected}")
        if not bad:
            say_row("ok", group, f"{len(results)} checks, {results[0].got}")
        for result in results:
            if result.outcome is Outcome.CLAIMED:
                say_row("claim", result.code, result.got)
    unchecked: dict[str, list[str]] = {}
    for result in report.results:
        if result.is_unchecked:
            unchecked.setdefault(result.got, []).append(result.code)
    for reason, codes in unchecked.items():
        say_row("?", "not checked", reason.removeprefix("not checked: "))
        say(f"        {', '.join(codes)}")
    for one in bounded(report.raised):
        say_row("LEAD", one.kind, f"{one.path or 'the change'}: {one.why}")
    if report.components.is_known:
        say_components(report.components)


def say_components(delta: ComponentDelta) -> None:
    """What the change does to packages: counts, then a row for each, then what could not be read."""
    kinds = {"added": delta.added, "removed": delta.removed, "changed": delta.changed}
    settings = len(delta.settings_added) + len(delta.settings_removed)
    if any(kinds.values()) or settings:
        counts = ", ".join(f"{delta.counts[kind]} {kind}" for kind in kinds)
        unknown = delta.counts["unknown_licences"]
        say_row("note", "packages", f"{counts}, {settings} settings, {unknown} without a known licence")
    elif not delta.unread and not delta.malformed:
        say_row("note", "packages", "no package changes")
    for kind, rows in kinds.items():
        for row in rows[:_MAX_ROWS]:
            say(f"        {kind:<8} {_told(row, kind)}")
        if len(rows) > _MAX_ROWS:
            say(f"        {kind:<8} and {len(rows) - _MAX_ROWS} more: leo bundle verify --json lists all")
    for path in delta.unread:
        say_row("note", "not read", f"{path}: a format that is not read, or malformed before this change")


def _told(row: ComponentChange, kind: str) -> str:
    before, after = (", ".join(versions) or "no exact version" for versions in (row.before, row.after))
    versions = {"added": after, "removed": before}.get(kind, f"{before} -> {after}")
    licence = "" if kind == "removed" else f", licence {row.licence or 'unknown'}"
    return f"{row.ecosystem} {row.name} {versions}{licence}"


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
    unchecked = sum(result.is_unchecked for result in report.results)
    head = f"  {len(report.results)} checks, {failed} failed" + (
        f", {unchecked} of them not checked." if unchecked else "."
    )
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
        "raised": [{"kind": one.kind, "path": one.path, "why": one.why} for one in bounded(report.raised)],
        "components": report.components.as_json(),
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
                "tool": result.tool,
            }
            for result in report.results
        ],
    }
