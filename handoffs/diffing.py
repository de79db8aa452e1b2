"""A change as pages show it: the list of changed files, and one file's diff with syntax marked by class names.

The list comes from git's tree comparison and not from the patch, so nothing can hide from it.
Shape: MAX_FILES files are listed on a page; a file shows FOLD_LINES lines first and at most MAX_LINES.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from django.core.cache import cache
from pygments.lexer import Lexer
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.token import STANDARD_TYPES, Token
from pygments.util import ClassNotFound
from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchSet

from handoffs.bundles.paths import escape_text
from handoffs.git.process import GitError
from handoffs.git.repository import Git, TreeChange
from handoffs.scope.hidden_text import name_of, places_in
from handoffs.scope.secrets import redact

MAX_FILES: Final = 500
FOLD_LINES: Final = 400
MAX_LINES: Final = 5_000
MAX_LINE_LENGTH: Final = 2_000
MAX_DIFF_BYTES: Final = 4 << 20
HIDDEN: Final = "hidden-character"
KEPT_SECONDS: Final = 30 * 24 * 3600
NUMSTAT: Final = ("-r", "-z", "--numstat", "--no-renames")
_STATUS: Final = {"A": "added", "M": "changed", "D": "deleted", "T": "type changed"}
_GENERATED: Final = (
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "uv.lock",
    "poetry.lock",
    "Cargo.lock",
    "go.sum",
)


@dataclass(frozen=True)
class ChangedFile:
    """One path that differs. `added` and `removed` are None for what git calls binary."""

    path: str
    status: str
    added: int | None
    removed: int | None

    @property
    def shown_path(self) -> str:
        """The path, safe to print."""
        return escape_text(redact(self.path))

    @property
    def query(self) -> str:
        """The path in a query string, byte for byte."""
        return quote(self.path.encode("utf-8", "surrogateescape"), safe="/")

    def is_named(self, wanted: str) -> bool:
        """Whether a decoded query string means this path."""
        return self.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") == wanted

    @property
    def anchor(self) -> str:
        """An HTML id for this path."""
        return f"file-{hashlib.sha256(self.path.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"

    @property
    def why_folded(self) -> str:
        """Why the file starts folded; empty when it does not."""
        if self.added is None:
            return "binary"
        if self.path.rpartition("/")[2] in _GENERATED or ".min." in self.path:
            return "generated"
        return "long" if self.added + (self.removed or 0) > 2_000 else ""


@dataclass(frozen=True)
class FilePage:
    """Some of the changed files. `rest` is where the next page starts; None on the last."""

    files: tuple[ChangedFile, ...]
    first: int
    total: int
    rest: int | None


@dataclass(frozen=True)
class Size:
    """How much a change is."""

    files: int
    added: int
    removed: int

    @property
    def minutes(self) -> int:
        """About how long it takes to read, at 400 lines an hour."""
        return -(-(self.added + self.removed) * 60 // 400)


@dataclass(frozen=True)
class Span:
    """A piece of a line with its syntax class."""

    style: str
    text: str


@dataclass(frozen=True)
class Line:
    """One line of a hunk. `kind` is add, del, same or note; numbers are empty where the line is not."""

    kind: str
    sign: str
    old: str
    new: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Section:
    """One hunk."""

    header: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class FileDiff:
    """One file's diff, perhaps cut. `note` says what cannot be shown."""

    sections: tuple[Section, ...]
    shown: int
    total: int
    note: str


def list_changes(git: Git, base: str, head: str) -> tuple[ChangedFile, ...]:
    """Every changed path between two commits, with its line counts. Raises: GitError."""
    return count_lines(git.changes(base, head), git.run("diff-tree", *NUMSTAT, base, head))


def count_lines(changes: Iterable[TreeChange], numstat: bytes) -> tuple[ChangedFile, ...]:
    """The changes with the counts of `git diff-tree` with NUMSTAT; a path it does not count is listed all the same."""
    counts: dict[str, tuple[int | None, int | None]] = {}
    for entry in numstat.split(b"\0"):
        if entry.count(b"\t") >= 2:
            added, removed, path = entry.split(b"\t", 2)
            numbers = (None, None) if added == b"-" else (int(added), int(removed))
            counts[path.decode("utf-8", "surrogateescape")] = numbers
    return tuple(
        ChangedFile(change.path, _STATUS.get(change.status, change.status), *counts.get(change.path, (None, None)))
        for change in changes
    )


def page_of(files: tuple[ChangedFile, ...], first: int) -> FilePage:
    """The page of changed files that starts at number `first`, counted from 0."""
    rest = first + MAX_FILES
    return FilePage(files[first:rest], first, len(files), rest if rest < len(files) else None)


def kept_sizes(changes: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Size]:
    """How much changes between two commits, for each pair that was measured lately. One question to the cache."""
    keys = {_size_key(*change): change for change in changes}
    return {keys[key]: Size(*found) for key, found in cache.get_many(keys).items() if isinstance(found, tuple)}


def measure_size(git: Git | None, base: str, head: str) -> Size | None:
    """How much changes between two commits; None when it cannot be told. Two commits never change: it is kept."""
    if git is None or not (base and head):
        return None
    try:
        files = list_changes(git, base, head)
    except GitError:
        return None
    size = Size(len(files), sum(f.added or 0 for f in files), sum(f.removed or 0 for f in files))
    cache.set(_size_key(base, head), (size.files, size.added, size.removed), KEPT_SECONDS)
    return size


def _size_key(base: str, head: str) -> str:
    return f"size-{base}-{head}"


def read_diff(git: Git, base: str, head: str, path: str, *, is_whole: bool = False) -> FileDiff:
    """One file's diff, ready to show. Raises: GitError."""
    raw = git.diff(base, head, path=path)
    if not raw:
        return FileDiff((), 0, 0, "Nothing changes in this file.")
    if len(raw) > MAX_DIFF_BYTES:
        return FileDiff((), 0, 0, f"This diff has {len(raw)} bytes; more than {MAX_DIFF_BYTES} are not shown here.")
    if b"\nGIT binary patch\n" in raw or b"\nBinary files " in raw:
        return FileDiff((), 0, 0, "A binary file: its bytes are in the bundle's changes.patch.")
    try:
        files = list(PatchSet(raw.decode("utf-8", "replace")))
    except UnidiffParseError:
        return FileDiff((), 0, 0, "This diff cannot be laid out. Read changes.patch in the bundle.")
    hunks = [hunk for file in files for hunk in file]
    if not hunks:
        return FileDiff((), 0, 0, "Only the file's mode changes, or an empty file comes or goes.")
    total = sum(len(hunk) for hunk in hunks)
    sections, shown = _lay_out(hunks, _lexer_for(path), MAX_LINES if is_whole else FOLD_LINES)
    note = "" if shown == total or not is_whole else f"{total - shown} more lines are in the bundle's changes.patch."
    return FileDiff(sections, shown, total, note)


def _lay_out(hunks: list[Hunk], lexer: Lexer, limit: int) -> tuple[tuple[Section, ...], int]:
    sections: list[Section] = []
    shown = 0
    for hunk in hunks:
        if shown >= limit:
            break
        lines = tuple(_lines(hunk, lexer, limit - shown))
        shown += len(lines)
        start = f"lines {hunk.source_start} and {hunk.target_start}"
        sections.append(Section(escape_text(redact(f"{start} {hunk.section_header}".strip())), lines))
    return tuple(sections), shown


def _lines(hunk: Hunk, lexer: Lexer, limit: int) -> Iterator[Line]:
    """The hunk's lines; each side is read as one text, so that a string over several lines keeps its colour."""
    rows = list(hunk)[:limit]
    old = iter(_mark([row.value for row in rows if not row.is_added], lexer))
    new = iter(_mark([row.value for row in rows if not row.is_removed], lexer))
    for row in rows:
        if row.is_added:
            yield Line("add", "+", "", str(row.target_line_no), next(new, ()))
        elif row.is_removed:
            yield Line("del", "−", str(row.source_line_no), "", next(old, ()))
        elif row.is_context:
            next(old, ())
            yield Line("same", " ", str(row.source_line_no), str(row.target_line_no), next(new, ()))
        else:
            yield Line("note", " ", "", "", (Span("", "No newline at the end of the file"),))


def _mark(values: list[str], lexer: Lexer) -> list[tuple[Span, ...]]:
    """Split lines into spans by syntax. What could mislead is a badge with its name, a credential is redacted."""
    whole = redact("\n".join(value.rstrip("\n\r") for value in values), keeps_lines=True)
    texts = [_cut(line).replace("\t", "    ") for line in whole.split("\n")]
    lines: list[list[Span]] = [[] for _ in texts]
    number = 0
    for kind, value in lexer.get_tokens("\n".join(texts) + "\n"):
        style = _class_of(kind)
        for index, piece in enumerate(value.split("\n")):
            number += index > 0
            if piece and number < len(lines):
                lines[number].extend(_spell_out(style, piece, texts[number]))
    return [tuple(line) for line in lines]


def _cut(line: str) -> str:
    more = len(line) - MAX_LINE_LENGTH
    return line if more <= 0 else f"{line[:MAX_LINE_LENGTH]} … {more} more characters"


def _spell_out(style: str, piece: str, line: str) -> Iterator[Span]:
    """A piece of a line, each misleading character in it as a badge. Look-alikes are told from the whole line."""
    misleading = {line[at] for at in places_in(line)} if not line.isascii() else set()
    plain = ""
    for character in piece:
        if character not in misleading:
            plain += character
            continue
        if plain:
            yield Span(style, escape_text(plain))
        yield Span(HIDDEN, name_of(character))
        plain = ""
    if plain:
        yield Span(style, escape_text(plain))


def _class_of(kind: object) -> str:
    current = kind
    while current is not Token and current not in STANDARD_TYPES:
        current = getattr(current, "parent", Token)
    name = STANDARD_TYPES.get(current, "")  # type: ignore[call-overload]
    return f"t-{name}" if name else ""


def _lexer_for(path: str) -> Lexer:
    try:
        found = get_lexer_for_filename(escape_text(path), stripnl=False)
    except ClassNotFound:
        found = None
    return found if isinstance(found, Lexer) else TextLexer(stripnl=False)
