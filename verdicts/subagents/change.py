"""What a sub-agent judges: the changed files of one head, and which of their lines are new."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from audit.canonical import JsonValue, digest_json
from handoffs.scope.secrets import redact
from verdicts.findings import Disposition, Finding, Severity

SCRIPT_SUFFIXES: Final = frozenset({".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx"})
TEMPLATE_SUFFIXES: Final = frozenset({".html", ".htm", ".jinja", ".jinja2", ".j2", ".djhtml"})
STYLE_SUFFIXES: Final = frozenset({".css", ".scss", ".sass", ".less"})
_TEST_FOLDERS: Final = frozenset({"test", "tests", "__tests__", "spec", "specs", "e2e"})
_TEST_NAME = re.compile(r"(test_.*|.*_test|conftest)\.py|.*\.(test|spec)\.[cm]?[jt]sx?")
# What some reader takes for the end of a line although git does not: line numbers would no longer mean the same.
_ODD_LINE_END = re.compile(rb"\r(?!\n)|[\x0b\x0c\x1c\x1d\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def clean(text: str, limit: int = 1000) -> str:
    """Text from outside on one line: credentials redacted, control characters replaced, length bounded."""
    return _CONTROL.sub("?", redact(text))[:limit]


def is_test(path: str) -> bool:
    """Whether a path belongs to tests by the usual conventions."""
    parts = PurePosixPath(path)
    return bool(_TEST_FOLDERS & set(parts.parts[:-1])) or bool(_TEST_NAME.fullmatch(parts.name))


def is_migration(path: str) -> bool:
    """Whether a path is a Django migration."""
    parts = PurePosixPath(path)
    return parts.suffix == ".py" and parts.parent.name == "migrations" and parts.name != "__init__.py"


def relaxed(severity: Severity, path: str) -> Severity:
    """Test code is not product code: what is HIGH there is MEDIUM, and the rest is INFO."""
    if not is_test(path):
        return severity
    return {Severity.CRITICAL: Severity.HIGH, Severity.HIGH: Severity.MEDIUM}.get(severity, Severity.INFO)


def suffix_of(path: str) -> str:
    """The suffix of a path in lower case."""
    return PurePosixPath(path).suffix.lower()


@dataclass(frozen=True)
class ChangedFile:
    """One file of the head. `added_lines` count from 1 as git counts; a deleted file has no content."""

    path: str
    content: bytes
    added_lines: frozenset[int]
    is_deleted: bool = False

    @cached_property
    def statements(self) -> tuple[tuple[int, int], ...]:
        """First and last line of every Python statement, of a compound one its header; empty when it does not parse."""
        tree = self.tree
        found = []
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.stmt):
                body = getattr(node, "body", None)
                last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno or node.lineno
                found.append((node.lineno, max(last, node.lineno)))
        return tuple(found)

    @cached_property
    def tree(self) -> ast.Module | None:
        """The syntax tree of a Python file, or None when it has none. Parsing runs nothing."""
        if suffix_of(self.path) != ".py":
            return None
        try:
            return ast.parse(self.content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    @cached_property
    def has_odd_line_ends(self) -> bool:
        """Whether tools could number the lines differently from git."""
        return bool(_ODD_LINE_END.search(self.content))

    def touches(self, first: int, last: int) -> bool:
        """Whether the change added a line of this range, or of the Python statement the range begins in."""
        if self.has_odd_line_ends or first <= 0:
            return bool(self.added_lines)
        for start, end in self.statements:
            if start <= first <= end:
                first, last = min(first, start), max(last, end)
        return any(first <= line <= last for line in self.added_lines)


@dataclass(frozen=True)
class Change:
    """What one head changes. In a resolution round `other_findings` are those of the agents that disagree."""

    files: tuple[ChangedFile, ...]
    head_sha: str
    other_findings: tuple[Finding, ...] = ()
    round: int = field(default=1)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every changed path, deleted ones included."""
        return tuple(file.path for file in self.files)

    @cached_property
    def disputed_paths(self) -> frozenset[str]:
        """Files that a disagreeing agent names: they are judged whole, not only in their added lines."""
        return frozenset(finding.file for finding in self.other_findings if finding.file)

    @cached_property
    def digest(self) -> str:
        """SHA-256 hex of everything that is judged."""
        judged: JsonValue = {
            "head_sha": self.head_sha,
            "files": [
                [
                    clean(file.path),
                    hashlib.sha256(file.content).hexdigest(),
                    list[JsonValue](sorted(file.added_lines)),
                    file.is_deleted,
                ]
                for file in self.files
            ],
            "disputed_paths": list[JsonValue](sorted(clean(path) for path in self.disputed_paths)),
            "round": self.round,
        }
        return digest_json(judged)

    def remark(self, file: ChangedFile, lines: tuple[int, int], rule: str, severity: Severity, message: str) -> Finding:
        """A finding on lines of a file, marked new when the change touched them or the file is disputed."""
        is_new = file.path in self.disputed_paths or file.touches(*lines)
        return Finding(
            rule=clean(rule, 200) or "unnamed",
            severity=severity,
            file=clean(file.path),
            line=max(0, lines[0]),
            message=clean(message) or "no message",
            is_new=is_new,
            disposition=Disposition.OPEN if is_new else Disposition.PRE_EXISTING,
        )
