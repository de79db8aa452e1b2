"""The files of an evidence pack: a folder, or a tar of regular files. Nothing is unpacked.

Shape: a MiB of lines, or one line that is longer, is in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from audit.canonical import JsonError, JsonValue, parse_json

MAX_LINE: Final = 64 << 20
LINES: Final = 1 << 20  # how much is cut into lines at once
_BLOCK: Final = 512


class PackError(Exception):
    """Something in a pack is not what it has to be. `where` names the file and the record."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"{where}: {detail}")
        self.where = where
        self.detail = detail


@dataclass(frozen=True)
class _Place:
    path: Path
    offset: int
    size: int


class Pack:
    """Named files, read where they lie."""

    def __init__(self, path: Path) -> None:
        self._places: dict[str, _Place] = {}
        self._path = path
        if path.is_dir():
            self._list(path)
        else:
            self._index()

    @property
    def names(self) -> set[str]:
        """The files there are."""
        return set(self._places)

    def _list(self, folder: Path) -> None:
        for file in sorted(folder.iterdir()):
            if file.is_symlink() or not file.is_file():
                raise PackError(file.name, "got something that is no file")
            self._places[file.name] = _Place(file, 0, file.stat().st_size)

    def _index(self) -> None:
        """Read the headers of a tar, as `pack_writing.write_tar` writes them; anything else is refused."""
        end, at = self._path.stat().st_size, 0
        with self._path.open("rb") as file:
            while any(header := file.read(_BLOCK)):
                name, size = _entry(header, at)
                if name in self._places:
                    raise PackError(name, "got it twice, expected it once")
                self._places[name] = _Place(self._path, at + _BLOCK, size)
                at += _BLOCK + size + -size % _BLOCK
                file.seek(at)
            if len(header) < _BLOCK or any(file.read()) or at + 2 * _BLOCK != end:
                raise PackError(self._path.name, f"expected two empty blocks at byte {at} and nothing after them")

    def read(self, name: str) -> bytes:
        """A small file."""
        place = self._place(name)
        if place.size > MAX_LINE:
            raise PackError(name, f"got {place.size} bytes, expected at most {MAX_LINE}")
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.size)

    def lines(self, name: str) -> Iterator[bytes]:
        """A file line by line, newlines included."""
        place = self._place(name)
        rest = place.size
        with place.path.open("rb") as file:
            file.seek(place.offset)
            while rest > 0:
                block = file.read(min(rest, LINES))
                block += file.readline(min(rest - len(block), MAX_LINE)) if block[-1:] != b"\n" else b""
                rest -= len(block)
                end = block.rfind(b"\n") + 1
                yield from BytesIO(block[:end])
                if end != len(block) or not block:
                    raise PackError(name, "got a last line without an end")

    def rows(self, name: str) -> Iterator[tuple[str, dict[str, JsonValue]]]:
        """JSON objects, one a line; each with its place, for messages."""
        for number, line in enumerate(self.lines(name), 1):
            yield (where := f"{name} line {number}"), parse_object(line, where)

    def digest(self, name: str) -> tuple[int, str]:
        """Size and SHA-256."""
        place, found = self._place(name), hashlib.sha256()
        rest = place.size
        with place.path.open("rb") as file:
            file.seek(place.offset)
            while rest > 0 and (block := file.read(min(rest, 1 << 20))):
                found.update(block)
                rest -= len(block)
        return place.size - rest, found.hexdigest()

    def _place(self, name: str) -> _Place:
        found = self._places.get(name)
        if found is None:
            raise PackError(name, "it is missing")
        return found


def _entry(header: bytes, at: int) -> tuple[str, int]:
    where = f"tar header at byte {at}"
    if len(header) < _BLOCK:
        raise PackError(where, "the tar ends early")
    try:
        name = header[:100].rstrip(b"\0").decode("ascii")
        size, checksum = int(header[124:135], 8), int(header[148:154], 8)
    except ValueError:
        raise PackError(where, "it is malformed") from None
    is_plain = header[156:157] == b"0" and not header[345:].strip(b"\0") and "/" not in name and name
    if not is_plain or sum(header) - sum(header[148:156]) + 8 * 32 != checksum:
        raise PackError(where, "it is malformed, or of something that is no regular file")
    return name, size


def parse_object(raw: bytes, where: str) -> dict[str, JsonValue]:
    """A JSON object.

    Raises: PackError.
    """
    try:
        value = parse_json(raw, max_bytes=MAX_LINE)
    except JsonError as error:
        raise PackError(where, str(error)) from None
    if not isinstance(value, dict):
        raise PackError(where, "expected a JSON object")
    return value
