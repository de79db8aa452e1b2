"""What a patch says: files, hunks, lines; and applying its hunks at exactly the lines they name.

Read by `handoffs.bundles.patches_reading`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import zip_longest
from typing import Final

from handoffs.bundles.patches_binary import BinaryChange, PatchError
from handoffs.bundles.patches_header import FileHeader

_SPACE: Final = b" \t\n\r\v\f"
_CONTEXT, _ADDED, _REMOVED = b" +-"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a hunk: `kind` is b" ", b"-" or b"+"; `content` keeps its line end, if it has one."""

    kind: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk. Units: starts are line numbers as written, counting from 1 (from 0 for an empty side).

    Shape: a row is b" ", b"-" or b"+" and then the line with its line end, if it has one.
    """

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    rows: list[bytes]

    @property
    def lines(self) -> tuple[Line, ...]:
        """Its lines."""
        return tuple(Line(row[:1], row[1:]) for row in self.rows)


@dataclass(frozen=True)
class FilePatch:
    """One file section: what its header says, and hunks or binary data."""

    header: FileHeader
    hunks: tuple[Hunk, ...]
    binary: BinaryChange | None

    @property
    def old_path(self) -> str | None:
        """The path before the change; None when the file is new."""
        return self.header.old_path

    @property
    def new_path(self) -> str | None:
        """The path after the change; None when the file is deleted."""
        return self.header.new_path

    @property
    def path(self) -> str:
        """The path after the change, or before it when the file is deleted."""
        return self.new_path if self.new_path is not None else (self.old_path or "")

    @property
    def added(self) -> list[tuple[int, bytes]]:
        """The lines it adds, numbered from 1 as they stand after the change; binary data is none."""
        found: list[tuple[int, bytes]] = []
        for hunk in self.hunks:
            after = enumerate((row for row in hunk.rows if row[0] != _REMOVED), hunk.new_start)
            found += [(number, row[1:]) for number, row in after if row[0] == _ADDED]
        return found

    @cached_property
    def added_lines(self) -> list[bytes]:
        """The lines it adds, without their numbers."""
        return [row[1:] for hunk in self.hunks for row in hunk.rows if row[0] == _ADDED]


@dataclass(frozen=True)
class Patch:
    """A whole patch that could be read."""

    files: tuple[FilePatch, ...]

    @cached_property
    def changed_lines(self) -> int:
        """How many lines are added or removed."""
        hunks = (hunk for file in self.files for hunk in file.hunks)
        return sum(2 * len(hunk.rows) - hunk.old_count - hunk.new_count for hunk in hunks)

    @cached_property
    def touched_paths(self) -> frozenset[str]:
        """The paths whose content, mode or existence the patch says it changes."""
        found: set[str] = set()
        for file in self.files:
            if file.old_path is not None and not file.header.is_copy:
                found.add(file.old_path)
            if file.new_path is not None:
                found.add(file.new_path)
        return frozenset(found)


def change_digest(files: tuple[FilePatch, ...]) -> str:
    """SHA-256 hex of what a patch adds and removes, file by file: without context, line numbers and white space.

    The same change on a newer base, or printed with more context, has the same digest. Compare git-patch-id(1).
    """
    parts = []
    for file in sorted(files, key=lambda file: file.path):
        hasher = hashlib.sha256(file.path.encode("utf-8", "surrogateescape"))
        for hunk in file.hunks:
            changed = b"\0".join([b"", *(row for row in hunk.rows if row[0] != _CONTEXT)])
            hasher.update(changed.translate(None, _SPACE))
        if file.binary is not None:
            hasher.update(b"\0binary")
            hasher.update(file.binary.data)
        parts.append(hasher.digest())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def apply_hunks(base: bytes, hunks: tuple[Hunk, ...]) -> bytes:
    """Apply hunks at exactly the lines they name.

    Raises: PatchError("patch.exact") at the first line that differs.
    """
    whole = BytesIO(base).readlines()
    result: list[bytes] = []
    at = 0
    for hunk in hunks:
        start = hunk.old_start - 1 if hunk.old_count else hunk.old_start
        if start < at or start > len(whole):
            raise PatchError("patch.exact", f"got a hunk at line {hunk.old_start} of a file of {len(whole)} lines")
        before = [row[1:] for row in hunk.rows if row[0] != _ADDED]
        result += whole[at:start]
        at = start + len(before)
        if whole[start:at] != before:
            same = zip_longest(whole[start:at], before)
            line = next(number for number, (old, wanted) in enumerate(same, start + 1) if old != wanted)
            raise PatchError("patch.exact", f"line {line} is not the line the hunk at {hunk.old_start} expects")
        result += [row[1:] for row in hunk.rows if row[0] != _REMOVED]
    result += whole[at:]
    made = b"".join(result)
    if made.count(b"\n") - made.endswith(b"\n") < len(result) - 1:
        cut = next(number for number, line in enumerate(result, 1) if not line.endswith(b"\n"))
        raise PatchError("patch.exact", f"line {cut} has no line end but is not the last")
    return made
