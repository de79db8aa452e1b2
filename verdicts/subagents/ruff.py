"""How ruff is called and read; three of the sub-agents use it with rules of their own.

Source: ruff 0.17, `ruff check --output-format json`; `--isolated` and `--ignore-noqa` against being silenced.
"""

from __future__ import annotations

from collections.abc import Iterator

from verdicts.findings import Severity
from verdicts.subagents.change import ChangedFile, suffix_of
from verdicts.subagents.examination import Hit, Scan, line_of, pick, read_json, rows

# What ruff cannot parse, no rule has looked at.
_SYNTAX = "invalid-syntax"


def is_python(file: ChangedFile) -> bool:
    """Whether ruff reads the file."""
    return suffix_of(file.path) in {".py", ".pyi"}


def ruff_scan(
    rules: tuple[str, ...],
    severities: tuple[tuple[str, Severity], ...],
    *,
    settings: tuple[str, ...] = (),
    syntax: Severity,
) -> Scan:
    """A scan with these rules. `severities` are prefixes of rule codes, the first that fits counts, else INFO."""
    options = ("check", "--isolated", "--ignore-noqa", "--no-cache", "--quiet", "--target-version", "py313")
    configured = tuple(part for setting in settings for part in ("--config", setting))

    def read(output: bytes) -> Iterator[Hit]:
        for row in rows(read_json(output)):
            code = str(row.get("code") or _SYNTAX)
            severity = syntax
            if code != _SYNTAX:
                severity = next((level for prefix, level in severities if code.startswith(prefix)), Severity.INFO)
            yield Hit(
                str(pick(row, "filename")),
                line_of(pick(row, "location", "row")),
                line_of(pick(row, "end_location", "row")),
                code,
                severity,
                str(pick(row, "message")),
            )

    return Scan(
        program="ruff",
        distribution="ruff",
        options=(*options, "--output-format", "json", "--select", ",".join(rules), *configured),
        accepts=is_python,
        exit_codes=frozenset({0, 1}),
        read=read,
        severities=(*severities, (_SYNTAX, syntax)),
        expected_in_tests=frozenset({"S101"}),
    )
