"""A file, or one range of it, for a download that goes on where it broke off.

Source: RFC 9110 sections 13.1.5 (If-Range) and 14.2 (Range). Only one range is served; another request gets the whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Buffer, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class Part:
    """What to answer with. `file` reads exactly the bytes of the answer."""

    file: BinaryIO
    status: int
    headers: Mapping[str, str]


class _Slice(io.RawIOBase):
    """The next `length` bytes of a file."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._rest = file, length

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """At most what is left."""
        with memoryview(buffer) as view:
            raw = self._file.read(min(len(view), self._rest))
            view[: len(raw)] = raw
        self._rest -= len(raw)
        return len(raw)

    def close(self) -> None:
        """The file, too."""
        self._file.close()
        super().close()


def part_of(path: Path, wanted: str, condition: str, etag: str) -> Part:
    """Answer a Range header; `condition` is If-Range: a file that is no longer the same is sent whole."""
    size = path.stat().st_size
    whole = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Length": str(size)}
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or found[0] == "bytes=-" or (condition and condition != etag):
        return Part(path.open("rb"), 200, whole)
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first > last:
        return Part(io.BytesIO(), 416, {**whole, "Content-Range": f"bytes */{size}", "Content-Length": "0"})
    file = path.open("rb")
    file.seek(first)
    length = last - first + 1
    headers = {**whole, "Content-Range": f"bytes {first}-{last}/{size}", "Content-Length": str(length)}
    return Part(io.BufferedReader(_Slice(file, length)), 206, headers)
