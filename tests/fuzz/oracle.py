"""Second readers, written from the specifications alone: JSON by RFC 8259 and 7493, archives by tarfile and GNU tar.

They are slow and plain on purpose; where the product and an oracle differ, one of them is wrong.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import tarfile  # noqa: TID251 - the other reader, in a test, on bytes the product accepted

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SPACE = " \t\n\r"
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class OracleError(Exception):
    """The oracle refuses."""


def read_json(raw: bytes, *, max_depth: int = 64, max_integer: int = 2**53 - 1) -> object:
    """A value as I-JSON allows it: no duplicate names, no lone surrogates, exact integers, finite numbers; no U+0000.

    Raises: OracleError.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise OracleError("not UTF-8") from None
    value, at = _Reader(text, max_depth, max_integer).value(0, 0)
    if text[at:].strip(_SPACE):
        raise OracleError("more than one value")
    return value


class _Reader:
    def __init__(self, text: str, max_depth: int, max_integer: int) -> None:
        self.text, self.max_depth, self.max_integer = text, max_depth, max_integer

    def skip(self, at: int) -> int:
        while at < len(self.text) and self.text[at] in _SPACE:
            at += 1
        return at

    def value(self, at: int, depth: int) -> tuple[object, int]:
        at = self.skip(at)
        head = self.text[at : at + 1]
        if head in {"{", "["}:
            if depth == self.max_depth:
                raise OracleError("too deep")
            return (self.mapping if head == "{" else self.array)(at + 1, depth + 1)
        if head == '"':
            return self.string(at + 1)
        for word, meaning in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, at):
                return meaning, at + len(word)
        return self.number(at)

    def mapping(self, at: int, depth: int) -> tuple[object, int]:
        found: dict[str, object] = {}
        at = self.skip(at)
        if self.text[at : at + 1] == "}":
            return found, at + 1
        while True:
            at = self.skip(at)
            if self.text[at : at + 1] != '"':
                raise OracleError("no name")
            name, at = self.string(at + 1)
            if name in found:
                raise OracleError("a name twice")
            at = self.skip(at)
            if self.text[at : at + 1] != ":":
                raise OracleError("no colon")
            found[name], at = self.value(at + 1, depth)
            at = self.skip(at)
            mark = self.text[at : at + 1]
            at += 1
            if mark == "}":
                return found, at
            if mark != ",":
                raise OracleError("no comma")

    def array(self, at: int, depth: int) -> tuple[object, int]:
        found: list[object] = []
        at = self.skip(at)
        if self.text[at : at + 1] == "]":
            return found, at + 1
        while True:
            item, at = self.value(at, depth)
            found.append(item)
            at = self.skip(at)
            mark = self.text[at : at + 1]
            at += 1
            if mark == "]":
                return found, at
            if mark != ",":
                raise OracleError("no comma")

    def string(self, at: int) -> tuple[str, int]:
        units: list[int] = []
        while True:
            character = self.text[at : at + 1]
            if not character or ord(character) < 0x20:
                raise OracleError("an unfinished text")
            at += 1
            if character == '"':
                break
            if character != "\\":
                units.append(ord(character))
                continue
            kind = self.text[at : at + 1]
            at += 1
            if kind == "u":
                digits = self.text[at : at + 4]
                if not re.fullmatch("[0-9a-fA-F]{4}", digits):
                    raise OracleError("a bad escape")
                units.append(int(digits, 16))
                at += 4
            elif kind in _ESCAPES:
                units.append(ord(_ESCAPES[kind]))
            else:
                raise OracleError("a bad escape")
        return self.joined(units), at

    @staticmethod
    def joined(units: list[int]) -> str:
        found: list[str] = []
        waiting = iter(units)
        for unit in waiting:
            if unit == 0:
                raise OracleError("U+0000")
            if 0xD800 <= unit < 0xDC00:
                low = next(waiting, 0)
                if not 0xDC00 <= low < 0xE000:
                    raise OracleError("half a pair")
                found.append(chr(0x10000 + ((unit - 0xD800) << 10) + low - 0xDC00))
            elif 0xDC00 <= unit < 0xE000:
                raise OracleError("half a pair")
            else:
                found.append(chr(unit))
        return "".join(found)

    def number(self, at: int) -> tuple[object, int]:
        match = _NUMBER.match(self.text, at)
        if match is None:
            raise OracleError("no value")
        if match[2] is None and match[3] is None:
            if len(match[0]) > 20 or abs(int(match[0])) > self.max_integer:
                raise OracleError("a large integer")
            return int(match[0]), match.end()
        if len(match[0]) > 400 or abs(float(match[0])) == float("inf"):
            raise OracleError("a large number")
        return float(match[0]), match.end()


def same(a: object, b: object) -> bool:
    """Equal in type, too: 1 is not 1.0, and true is not 1; -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def by_tarfile(raw: bytes) -> list[tuple[str, bytes]]:
    """Names and contents as Python's reader sees them.

    Raises: OracleError for anything but ordinary files.
    """
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw)), mode="r:") as archive:
        found = []
        for member in archive:
            if not member.isreg() or member.pax_headers:
                raise OracleError(f"{member.name} is not an ordinary file")
            file = archive.extractfile(member)
            found.append((member.name, file.read() if file else b""))
        return found


def by_gnu_tar(raw: bytes) -> list[tuple[str, bytes]]:
    """Names and contents as GNU tar sees them; nothing is written to disk."""
    listed = (
        subprocess.run(["tar", "-tzf", "-"], input=raw, capture_output=True, check=True).stdout.decode().split("\n")
    )
    return [
        (name, subprocess.run(["tar", "-xzOf", "-", name], input=raw, capture_output=True, check=True).stdout)
        for name in listed
        if name
    ]
