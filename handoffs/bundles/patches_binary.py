"""The binary part of git's patches: base85 lines, deflated, literal or as a delta.

Source: git's base85.c, patch-delta.c; gitformat-pack(5) "Deltified representation".
"""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass
from typing import Final

from audit.coded import CodedError

_METHOD: Final = re.compile(rb"(literal|delta) (\d{1,10})\Z")
_LENGTHS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class PatchError(CodedError):
    """A patch that cannot be read or applied. `code` is the code of the check that reports it."""


@dataclass(frozen=True, slots=True)
class BinaryChange:
    """The forward half of a binary change: the new content, or a delta that makes it of the old one."""

    is_delta: bool
    data: bytes

    def apply(self, base: bytes, *, max_bytes: int) -> bytes:
        """The new content.

        Raises: PatchError("patch.exact").
        """
        return _apply_delta(base, self.data, max_bytes) if self.is_delta else self.data


def read_binary(lines: list[bytes], at: int, max_bytes: int) -> tuple[BinaryChange, int, int]:
    """Read both halves after the line `GIT binary patch`; the backward half is checked and dropped.

    Returns the forward half, the next line, and how many bytes all of it unpacks to: that is what is limited, so that
    many small halves cannot make more than one large one may.
    Raises: PatchError("patch.parses"), PatchError("patch.limits").
    """
    forward, at, spent = _read_half(lines, at, max_bytes)
    if at < len(lines) and _METHOD.match(lines[at]):
        _, at, more = _read_half(lines, at, max_bytes - spent)
        spent += more
    return forward, at, spent


def _read_half(lines: list[bytes], at: int, max_bytes: int) -> tuple[BinaryChange, int, int]:
    match = _METHOD.match(lines[at]) if at < len(lines) else None
    if match is None:
        raise PatchError("patch.parses", f"line {at + 1}: got no 'literal' or 'delta' line")
    size = int(match[2])
    if size > max_bytes:
        raise PatchError("patch.limits", f"line {at + 1}: got a binary of {size} bytes, expected at most {max_bytes}")
    at += 1
    packed = bytearray()
    while at < len(lines) and lines[at]:
        packed += _read_line(lines[at], at)
        at += 1
    if at >= len(lines):
        raise PatchError("patch.parses", "got the end of the patch inside a binary change")
    machine = zlib.decompressobj()
    try:
        data = machine.decompress(bytes(packed), size + 1)
    except zlib.error:
        raise PatchError("patch.parses", f"line {at + 1}: got a broken deflate stream") from None
    if len(data) != size or not machine.eof or machine.unused_data:
        raise PatchError("patch.parses", f"line {at + 1}: got another size than the {size} bytes announced")
    made = _target_size(data, at) if match[1] == b"delta" else 0
    if size + made > max_bytes:
        raise PatchError("patch.limits", f"line {at + 1}: got a binary of {made} bytes, expected at most {max_bytes}")
    return BinaryChange(match[1] == b"delta", data), at + 1, size + made


def _target_size(delta: bytes, at: int) -> int:
    """What a delta says it makes; git would reserve as much before it looks at the instructions."""
    try:
        return _read_size(delta, _read_size(delta, 0)[1])[0]
    except PatchError as error:
        raise PatchError("patch.parses", f"line {at + 1}: {error.detail}") from None


def _read_line(line: bytes, at: int) -> bytes:
    count = _LENGTHS.find(line[:1]) + 1
    if not count or len(line) - 1 != -(-count // 4) * 5:
        raise PatchError("patch.parses", f"line {at + 1}: got a base85 line of the wrong length")
    try:
        decoded = base64.b85decode(line[1:])
    except ValueError:
        raise PatchError("patch.parses", f"line {at + 1}: got characters that are not base85") from None
    if any(decoded[count:]):
        raise PatchError("patch.parses", f"line {at + 1}: got bytes beyond the length of the line")
    return decoded[:count]


def _apply_delta(base: bytes, delta: bytes, max_bytes: int) -> bytes:
    source_size, at = _read_size(delta, 0)
    target_size, at = _read_size(delta, at)
    if source_size != len(base):
        raise PatchError("patch.exact", f"got a delta for {source_size} bytes, the file has {len(base)}")
    if target_size > max_bytes:
        raise PatchError("patch.limits", f"got a binary of {target_size} bytes, expected at most {max_bytes}")
    out = bytearray()
    while at < len(delta):
        command = delta[at]
        at += 1
        if command & 0x80:
            offset, size, at = _read_copy(delta, at, command)
            if offset + size > len(base):
                raise PatchError("patch.exact", "got a delta that copies beyond the file")
            out += base[offset : offset + size]
        elif command and at + command <= len(delta):
            out += delta[at : at + command]
            at += command
        else:
            raise PatchError("patch.exact", "got a delta with an unknown or cut instruction")
        if len(out) > target_size:
            raise PatchError("patch.exact", f"got a delta that makes more than its {target_size} bytes")
    if len(out) != target_size:
        raise PatchError("patch.exact", f"got a delta that makes {len(out)} of its {target_size} bytes")
    return bytes(out)


def _read_copy(delta: bytes, at: int, command: int) -> tuple[int, int, int]:
    """Offset and size of a copy instruction, and where the next one starts."""
    values = [0, 0]
    for bit in range(7):
        if command & (1 << bit):
            if at >= len(delta):
                raise PatchError("patch.exact", "got a delta that ends inside an instruction")
            values[bit >= 4] |= delta[at] << (8 * (bit if bit < 4 else bit - 4))
            at += 1
    return values[0], values[1] or 0x10000, at


def _read_size(delta: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(delta) and shift < 63:
        byte = delta[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if not byte & 0x80:
            return value, at
    raise PatchError("patch.exact", "got a delta that ends inside its sizes")
