"""DESIGN: djlint on templates, oxlint on JavaScript and TypeScript, and three rules of our own on markup.

Our own: an image without alternative text, an inline style, an inline event handler; the last two also break a strict
content security policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

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

KIND: Final = AgentKind.DESIGN
# djlint's codes that matter to a user; the rest is style.
DJLINT_SEVERITIES: Final = (
    ("H025", Severity.LOW),
    ("H019", Severity.LOW),
    ("H020", Severity.INFO),
    ("H005", Severity.LOW),
)
OXLINT_SEVERITIES: Final = (
    ("no-eval", Severity.HIGH),
    ("no-implied-eval", Severity.HIGH),
    ("no-new-func", Severity.HIGH),
    ("no-script-url", Severity.MEDIUM),
    ("no-debugger", Severity.LOW),
    ("no-unused-vars", Severity.INFO),
)
_TEMPLATE_CODE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"""<([a-zA-Z][\w:-]*)((?:[^<>"']|"[^"]*"|'[^']*')*+)>""", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>=]+))?""", re.DOTALL)
_DJLINT_END = re.compile(rb"\s*Linted ([0-9]+) files?, found [0-9]+ errors?\.")
_DJLINT_LINE = re.compile(rb"(f[0-9]{4,}\.[a-z0-9]+)\|([0-9]+):[0-9]+\|([A-Z][0-9]{3})\|(.*)")


def applies(paths: Sequence[str]) -> str:
    """Applies to templates, styles and scripts."""
    found = any(_is_interface(path) for path in paths)
    return "" if found else f"none of the {len(paths)} changed files is a template, style or script"


def analyse(change: Change, scanners: Path) -> AgentResult:
    """Judge the change. Never PASSED when a scanner that had something to read did not report."""
    reason = applies(change.paths)
    if reason:
        return not_applicable(KIND, change, reason)
    subjects = [path for path in change.paths if _is_interface(path)]
    return examine(KIND, change, scanners, SCANS, _own_findings(change), subjects)


def _is_interface(path: str) -> bool:
    return suffix_of(path) in TEMPLATE_SUFFIXES | STYLE_SUFFIXES | SCRIPT_SUFFIXES


def _is_template(file: ChangedFile) -> bool:
    return suffix_of(file.path) in TEMPLATE_SUFFIXES


def _is_script(file: ChangedFile) -> bool:
    return suffix_of(file.path) in SCRIPT_SUFFIXES


def _own_findings(change: Change) -> Iterator[Finding]:
    for file in change.files:
        if _is_template(file) and not file.is_deleted:
            yield from _markup_findings(change, file)


def _markup_findings(change: Change, file: ChangedFile) -> Iterator[Finding]:
    text = _blank(_COMMENT, _blank(_TEMPLATE_CODE, file.content.decode("utf-8", "replace")))
    for tag in _TAG.finditer(text):
        first = text.count("\n", 0, tag.start()) + 1
        lines = (first, first + tag[0].count("\n"))
        given = {match[1].lower(): (match[2] or "").strip("\"'") for match in _ATTRIBUTE.finditer(tag[2])}
        for rule, severity, message in _tag_findings(tag[1].lower(), given):
            yield change.remark(file, lines, rule, relaxed(severity, file.path), message)


def _tag_findings(tag: str, given: dict[str, str]) -> Iterator[tuple[str, Severity, str]]:
    if tag == "img" and not {"alt", ":alt"} & given.keys():
        yield "markup.no_alt", Severity.MEDIUM, "an image without alt: people who cannot see it get nothing"
    if "style" in given:
        yield "markup.inline_style", Severity.LOW, "an inline style: a strict content security policy refuses it"
    for name, value in given.items():
        if re.fullmatch(r"on[a-z]{3,}|hx-on.*", name):
            yield "markup.inline_handler", Severity.LOW, f"{name}: a strict content security policy refuses it"
        if name in {"href", "src", "action", "formaction"} and value.strip().lower().startswith("javascript:"):
            yield "markup.script_url", Severity.MEDIUM, f"{name} runs script from an address"


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """Overwrite what matches, and keep the line ends."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", "_", match[0]), text)


def _count_djlint(output: bytes) -> int:
    end = _DJLINT_END.search(output)
    return int(end[1]) if end else 0


def _count_oxlint(output: bytes) -> int:
    return line_of(pick(read_json(output), "number_of_files"))


def _read_djlint(output: bytes) -> Iterator[Hit]:
    """One finding a line. What is neither a finding nor the closing count means that the format is not what we know."""
    severities = dict(DJLINT_SEVERITIES)
    for line in output.splitlines():
        match = _DJLINT_LINE.fullmatch(line.strip())
        if match is None:
            if line.strip() and not _DJLINT_END.match(line):
                raise UnreadableOutputError(f"an unknown line: {line[:80].decode('utf-8', 'replace')!r}")
            continue
        code, number = match[3].decode(), int(match[2])
        message = match[4].decode("utf-8", "replace") or code
        yield Hit(match[1].decode(), number, number, code, severities.get(code, Severity.INFO), message)


def _read_oxlint(output: bytes) -> Iterator[Hit]:
    document = read_json(output)
    severities = dict(OXLINT_SEVERITIES)
    for row in rows(pick(document, "diagnostics")):
        code = str(row.get("code") or "")
        rule = code.partition("(")[2].rstrip(")")
        labels = rows(row.get("labels") or [])
        line = line_of(pick(labels[0], "span", "line")) if labels else 0
        severity = severities.get(rule, Severity.LOW if rule else Severity.MEDIUM)
        yield Hit(str(pick(row, "filename")), line, line, rule or "syntax", severity, str(pick(row, "message")))


SCANS: Final = (
    Scan(
        program="djlint",
        distribution="djlint",
        options=("--lint", "--profile=django", "--linter-output-format={filename}|{line}|{code}|{message}"),
        accepts=_is_template,
        exit_codes=frozenset({0, 1}),
        read=_read_djlint,
        counted=_count_djlint,
        severities=DJLINT_SEVERITIES,
    ),
    Scan(
        program="oxlint",
        distribution="oxlint",
        options=(
            "--format=json",
            "--disable-nested-config",
            "--no-ignore",
            *(part for rule in ("no-eval", "no-new-func", "no-script-url", "no-debugger") for part in ("-D", rule)),
        ),
        accepts=_is_script,
        exit_codes=frozenset({0, 1}),
        read=_read_oxlint,
        counted=_count_oxlint,
        severities=OXLINT_SEVERITIES,
    ),
)
