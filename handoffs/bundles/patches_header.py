"""The header of a file section: what it says about names, modes and blobs, and that it agrees with itself.

Source: git's apply.c for the extended headers, quote.c for quoted names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from handoffs.bundles.patches_binary import PatchError

_INDEX: Final = re.compile(rb"([0-9a-f]{4,64})\.\.([0-9a-f]{4,64})(?: (\d{6}))?\Z")
_MODE: Final = re.compile(rb"[0-7]{6}\Z")
_PERCENT: Final = re.compile(rb"(\d{1,3})%\Z")
_ESCAPES: Final = {
    ord("a"): 7,
    ord("b"): 8,
    ord("t"): 9,
    ord("n"): 10,
    ord("v"): 11,
    ord("f"): 12,
    ord("r"): 13,
    ord('"'): 34,
    ord("\\"): 92,
}


@dataclass
class RawHeader:
    """The lines before the hunks, as they stand there."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    git_line: bytes = b""
    old_name: bytes | None = None
    new_name: bytes | None = None


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What those lines say together. Units: modes are six octal digits, blobs hex prefixes; empty: not named."""

    old_path: str | None
    new_path: str | None
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str
    is_rename: bool
    is_copy: bool
    is_change: bool


def parse_header(raw: RawHeader) -> FileHeader:
    """Make sense of a header.

    Raises: PatchError("patch.parses") where its lines contradict each other.
    """
    values = raw.values
    moved = _moved(values)
    created, deleted = values.get(b"new file mode "), values.get(b"deleted file mode ")
    old_mode, new_mode = values.get(b"old mode ", b""), values.get(b"new mode ", b"")
    kinds = [created is not None, deleted is not None, bool(old_mode or new_mode)]
    if sum(kinds) > 1 or (moved and any(kinds[:2])):
        raise _refuse("got headers that contradict each other")
    if bool(old_mode) != bool(new_mode):
        raise _refuse("got only one of 'old mode' and 'new mode'")
    old_blob, new_blob, index_mode = _index(values)
    for mode in (created, deleted, old_mode or None, new_mode or None):
        if mode is not None and not _MODE.match(mode):
            raise _refuse("got a mode that is not six octal digits")
    old_path, new_path = _paths(raw, moved, is_created=created is not None, is_deleted=deleted is not None)
    return FileHeader(
        old_path=old_path,
        new_path=new_path,
        old_mode=(deleted or old_mode or index_mode).decode(),
        new_mode=(created or new_mode or index_mode).decode(),
        old_blob=old_blob,
        new_blob=new_blob,
        is_rename=moved == "rename",
        is_copy=moved == "copy",
        is_change=bool(moved) or any(kinds),
    )


def _refuse(detail: str) -> PatchError:
    return PatchError("patch.parses", detail)


def _moved(values: dict[bytes, bytes]) -> str:
    renamed = [b"rename from " in values, b"rename to " in values]
    copied = [b"copy from " in values, b"copy to " in values]
    if any(renamed) != all(renamed) or any(copied) != all(copied) or (any(renamed) and any(copied)):
        raise _refuse("got half of a rename or copy")
    for key in (b"similarity index ", b"dissimilarity index "):
        percent = _PERCENT.match(values[key]) if key in values else None
        if key in values and (percent is None or int(percent[1]) > 100):
            raise _refuse(f"got a malformed {key.decode().strip()}")
    return "rename" if any(renamed) else "copy" if any(copied) else ""


def _index(values: dict[bytes, bytes]) -> tuple[str, str, bytes]:
    if b"index " not in values:
        return "", "", b""
    match = _INDEX.match(values[b"index "])
    if match is None:
        raise _refuse("got a malformed index line")
    return match[1].decode(), match[2].decode(), match[3] or b""


def _paths(header: RawHeader, moved: str, *, is_created: bool, is_deleted: bool) -> tuple[str | None, str | None]:
    """The two paths, which every line that names them must agree on."""
    named_old = _stripped(header.old_name, b"a/")
    named_new = _stripped(header.new_name, b"b/")
    if not header.git_line:
        if named_old is None and named_new is None:
            raise _refuse("got no file name")
        if named_old is not None and named_new is not None and named_old != named_new:
            raise _refuse("got two names without a rename")
        return named_old, named_new
    if moved:
        verb = moved.encode()
        old = _unquoted(header.values[verb + b" from "])
        new = _unquoted(header.values[verb + b" to "])
        if not _git_line_says(header.git_line, old, new):
            raise _refuse("got other names in 'diff --git' than in the rename")
    else:
        old = new = _git_name(header.git_line)
    expected_old, expected_new = None if is_created else old, None if is_deleted else new
    if header.old_name is not None and (named_old, named_new) != (expected_old, expected_new):
        raise _refuse("got other names after '---' and '+++' than in 'diff --git'")
    return expected_old, expected_new


def _git_name(line: bytes) -> str:
    """The one name in `a/NAME b/NAME`, either side possibly quoted."""
    if line.startswith(b'"') or line.endswith(b'"'):
        for cut in (at for at in range(1, len(line)) if line[at : at + 1] == b" "):
            try:
                left, right = _stripped(line[:cut], b"a/"), _stripped(line[cut + 1 :], b"b/")
            except PatchError:
                continue
            if left is not None and left == right:
                return left
    elif len(line) % 2 == 1 and line[:2] == b"a/" and line[len(line) // 2 :][:3] == b" b/":
        middle = len(line) // 2
        if line[2:middle] == line[middle + 3 :]:
            return line[2:middle].decode("utf-8", "surrogateescape")
    raise _refuse("got two different names in 'diff --git' without a rename")


def _git_line_says(line: bytes, old: str, new: str) -> bool:
    for cut in (at for at in range(1, len(line)) if line[at : at + 1] == b" "):
        try:
            if (_stripped(line[:cut], b"a/"), _stripped(line[cut + 1 :], b"b/")) == (old, new):
                return True
        except PatchError:
            continue
    return False


def _stripped(name: bytes | None, prefix: bytes) -> str | None:
    """A name without its one-letter folder; None for `/dev/null`."""
    if name is None or name == b"/dev/null":
        return None
    path = _unquoted(name)
    if not path.startswith(prefix.decode()) or len(path) == len(prefix):
        raise _refuse(f"got a name that does not start with {prefix.decode()}")
    return path[len(prefix) :]


def _unquoted(name: bytes) -> str:
    """A name with C-style quotes undone, as git writes them."""
    if not name.startswith(b'"'):
        return name.decode("utf-8", "surrogateescape")
    if len(name) < 2 or not name.endswith(b'"'):
        raise _refuse("got a quoted name without its end")
    inner, out, at = name[1:-1], bytearray(), 0
    while at < len(inner):
        byte = inner[at]
        if byte == ord('"'):
            raise _refuse("got a quote inside a quoted name")
        if byte != ord("\\"):
            out.append(byte)
            at += 1
            continue
        octal = inner[at + 1 : at + 4]
        if len(octal) == 3 and octal[0] in b"0123" and all(digit in b"01234567" for digit in octal):
            out.append(int(octal, 8))
            at += 4
        elif inner[at + 1 : at + 2] and inner[at + 1] in _ESCAPES:
            out.append(_ESCAPES[inner[at + 1]])
            at += 2
        else:
            raise _refuse("got an unknown escape in a quoted name")
    return out.decode("utf-8", "surrogateescape")
