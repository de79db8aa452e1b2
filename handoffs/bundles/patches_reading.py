"""Reading unified diffs strictly: every byte belongs to a file section, every count is true.

Git itself decides what a patch does (Git.result_tree); this reader is the second judge. It refuses
what git lets pass: text between sections, hunks at other lines than they say, names that disagree.

Source: git-diff(1) "Generating patch text with -p"; git's apply.c for the extended headers.
"""

from __future__ import annotations

import re
from functools import cached_property
from io import BytesIO
from typing import Final

from handoffs.bundles.limits import Limits
from handoffs.bundles.patches import FilePatch, Hunk, Patch
from handoffs.bundles.patches_binary import BinaryChange, PatchError, read_binary
from handoffs.bundles.patches_header import RawHeader, parse_header

_HUNK: Final = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(?: [^\r\n]*\r?)?\Z")
_RUN: Final = re.compile(rb"[ +-]*")
_NO_NEWLINE: Final = re.compile(rb"\\ [^\r\n]{9,}\Z")  # other programs say it in their user's language
_EXTENDED: Final = re.compile(
    rb"(?:old mode|new mode|deleted file mode|new file mode|copy from|copy to|rename from|rename to|similarity index"
    rb"|dissimilarity index|index) "
)
_CONTEXT, _ADDED, _REMOVED = b" +-"


def parse_patch(raw: bytes, limits: Limits) -> Patch:
    """Read a patch.

    Raises: PatchError with a stable code and the line number.
    Not checked: that it applies to anything, and that its paths are safe.
    """
    if not raw:
        raise PatchError("patch.not_empty", "got no bytes")
    if not raw.endswith(b"\n"):
        raise PatchError("patch.parses", "got no line end at the end of the patch, expected one")
    reader = _Reader(BytesIO(raw).readlines(), limits)
    files = []
    while reader.at < len(reader.rows):
        files.append(reader.read_file())
        if len(files) > limits.max_files:
            raise PatchError("patch.limits", f"got more than {limits.max_files} files")
    return Patch(tuple(files))


class _Reader:
    """A cursor over the lines of a patch, each with its line end."""

    def __init__(self, rows: list[bytes], limits: Limits) -> None:
        self.rows = rows
        self.kinds = b"".join([row[:1] for row in rows])
        self.at = 0
        self.limits = limits
        self.changed_lines = 0
        self.binary_left = limits.max_blob_bytes

    def fail(self, detail: str, code: str = "patch.parses") -> PatchError:
        return PatchError(code, f"line {self.at + 1}: {detail}")

    def peek(self) -> bytes:
        return self.rows[self.at][:-1] if self.at < len(self.rows) else b""

    @cached_property
    def lines(self) -> list[bytes]:
        """Every line without its end."""
        return [row[:-1] for row in self.rows]

    def read_file(self) -> FilePatch:
        """One file section: git header, traditional header or both, then hunks or binary data."""
        header = RawHeader()
        line = self.peek()
        if line.startswith(b"diff --git "):
            header.git_line = line[11:]
            self.at += 1
            self._read_extended(header)
        elif not line.startswith(b"--- "):
            raise self.fail("got text outside a file section, expected 'diff --git' or '---'")
        binary = None
        if self.peek() == b"GIT binary patch":
            if not self.limits.may_hold_binary:
                raise self.fail("got a binary change, expected text only", "patch.limits")
            self.at += 1
            binary, self.at, spent = read_binary(self.lines, self.at, self.binary_left)
            self.binary_left -= spent
        elif self.peek().startswith(b"Binary files "):
            raise self.fail("got 'Binary files differ' without the data")
        elif self.peek().startswith(b"--- "):
            self._read_names(header)
        hunks = [] if binary else self._read_hunks()
        if header.old_name is not None and not hunks:
            raise self.fail("got '---' and '+++' without a hunk")
        if hunks and header.old_name is None:
            raise self.fail("got a hunk without '---' and '+++'")
        return self._build(header, tuple(hunks), binary)

    def _read_extended(self, header: RawHeader) -> None:
        while True:
            line = self.peek()
            match = _EXTENDED.match(line)
            if match is None:
                return
            key = match[0]
            if key in header.values:
                raise self.fail(f"got {key.decode().strip()!r} twice")
            header.values[key] = line[len(key) :]
            self.at += 1

    def _read_names(self, header: RawHeader) -> None:
        old, self.at = self.peek()[4:], self.at + 1
        if not self.peek().startswith(b"+++ "):
            raise self.fail("got no '+++' after '---'")
        new, self.at = self.peek()[4:], self.at + 1
        header.old_name, header.new_name = old.split(b"\t", 1)[0], new.split(b"\t", 1)[0]

    def _read_hunks(self) -> list[Hunk]:
        hunks: list[Hunk] = []
        next_old = shift = 0
        ended = [False, False]
        while self.peek().startswith(b"@@ "):
            match = _HUNK.match(self.peek())
            if match is None:
                raise self.fail("got a malformed hunk header")
            old_start, new_start = int(match[1]), int(match[3])
            old_count = 1 if match[2] is None else int(match[2])
            new_count = 1 if match[4] is None else int(match[4])
            old_at = old_start - 1 if old_count else old_start
            new_at = new_start - 1 if new_count else new_start
            if old_at < next_old or new_at != old_at + shift:
                raise self.fail("got a hunk that overlaps or whose line numbers disagree", "patch.hunk_counts")
            if ended[0] and (old_count or new_count):
                raise self.fail("got a hunk after the last line of the file", "patch.hunk_counts")
            self.at += 1
            lines = self._read_lines(old_count, new_count, ended)
            hunks.append(Hunk(old_start, old_count, new_start, new_count, lines))
            if self.peek()[:1] in {b" ", b"+", b"-", b"\\"} and not self.peek().startswith(b"--- "):
                raise self.fail("got more lines than the hunk header announces", "patch.hunk_counts")
            next_old, shift = old_at + old_count, shift + new_count - old_count
        return hunks

    def _read_lines(self, old_count: int, new_count: int, ended: list[bool]) -> list[bytes]:
        """The rows of one hunk; `ended` tells whether the old and the new side had their last line.

        Nearly every hunk is all the lines up to one that cannot be in it: then counting them is enough.
        """
        run = _RUN.match(self.kinds, self.at)
        end = run.end() if run else self.at
        context, removed, added = (self.kinds.count(kind, self.at, end) for kind in (_CONTEXT, _REMOVED, _ADDED))
        is_all = (context + removed, context + added) == (old_count, new_count) and removed + added > 0
        is_cut = any(ended) or self.kinds.startswith(b"\\", end)
        if is_cut or not is_all or self.changed_lines + removed + added > self.limits.max_changed_lines:
            return self._read_each(old_count, new_count, ended)
        rows = self.rows[self.at : end]
        self.at, self.changed_lines = end, self.changed_lines + removed + added
        return rows

    def _read_each(self, old_left: int, new_left: int, ended: list[bool]) -> list[bytes]:
        """The same, line by line."""
        found: list[bytes] = []
        while old_left or new_left:
            if self.at >= len(self.rows):
                raise self.fail("got the end of the patch inside a hunk", "patch.hunk_counts")
            row = self.rows[self.at]
            if row == b"\n":
                row = b" \n"  # an empty line of context, as diff.suppressBlankEmpty writes it
            kind = row[:1]
            in_old, in_new = kind in {b" ", b"-"}, kind in {b" ", b"+"}
            if kind == b"\\":
                raise self.fail("got no line before '\\ No newline at end of file', or that without its text")
            if not (in_old or in_new):
                raise self.fail("got a line that is not part of a hunk, more were announced", "patch.hunk_counts")
            if (in_old and not old_left) or (in_new and not new_left):
                raise self.fail("got more lines than the hunk header announces", "patch.hunk_counts")
            if (in_old and ended[0]) or (in_new and ended[1]):
                raise self.fail("got a line after the one without a line end")
            old_left, new_left = old_left - in_old, new_left - in_new
            self.changed_lines += kind != b" "
            self.at += 1
            is_cut = _NO_NEWLINE.match(self.peek()) is not None
            if is_cut:
                ended[0], ended[1] = ended[0] or in_old, ended[1] or in_new
                self.at += 1
            found.append(row[:-1] if is_cut else row)
            if self.changed_lines > self.limits.max_changed_lines:
                raise self.fail(f"got more than {self.limits.max_changed_lines} changed lines", "patch.limits")
        if all(row.startswith(b" ") for row in found):
            raise self.fail("got a hunk that changes nothing")
        return found

    def _build(self, raw: RawHeader, hunks: tuple[Hunk, ...], binary: BinaryChange | None) -> FilePatch:
        try:
            header = parse_header(raw)
        except PatchError as error:
            raise self.fail(error.detail, error.code) from None
        if not (hunks or binary or header.is_change):
            raise self.fail("got a file section that changes nothing")
        return FilePatch(header, hunks, binary)
