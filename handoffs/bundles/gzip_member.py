"""The gzip member around the members: unpacked with a hard cap, written so that the content decides its bytes.

The writer stores without compressing (deflate stored blocks): what a zlib build makes of the same
input differs between versions, stored blocks do not. So the same members give the same bytes
everywhere, every byte of an archive is decided by its content, and a flipped bit anywhere is seen.
A compressed stream made by another tool is read, and refused by `archive.deterministic`.

Source: RFC 1952 (gzip), RFC 1951 section 3.2.4 (stored blocks).
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from handoffs.bundles.limits import Limits, Problem

GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STORED: Final = 0xFFFF


def store_blocks(content: bytes) -> bytes:
    """One gzip member of stored blocks."""
    parts = [GZIP_HEADER]
    starts = range(0, max(len(content), 1), _STORED)
    for start in starts:
        block = content[start : start + _STORED]
        is_last = start == starts[-1]
        parts += [struct.pack("<BHH", int(is_last), len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(parts)


def unstore_blocks(raw: bytes) -> bytes | None:
    """The content, where the bytes are exactly what `store_blocks` makes of it; None where they are not."""
    view, at, is_last = memoryview(raw), len(GZIP_HEADER), 0
    parts: list[memoryview] = []
    while not is_last:
        if len(raw) < at + 5:
            return None
        is_last, length, inverse = struct.unpack_from("<BHH", raw, at)
        is_whole = length == _STORED or (is_last and (length or not parts))
        if is_last not in {0, 1} or inverse != length ^ 0xFFFF or not is_whole:
            return None
        parts.append(view[at + 5 : at + 5 + length])
        at += 5 + length
    content = b"".join(parts)
    trailer = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return content if raw.startswith(GZIP_HEADER) and raw[at:] == trailer else None


def inflate(raw: bytes, limits: Limits, problems: list[Problem]) -> bytes:
    """Unpack one gzip member with a hard output cap; returns what could be unpacked."""
    if raw[:3] != GZIP_HEADER[:3] or len(raw) < 18:
        problems.append(Problem("archive.readable", f"{raw[:3].hex() or 'no bytes'}", "a gzip member (1f8b08)"))
        return b""
    if raw[:10] != GZIP_HEADER:
        problems.append(Problem("archive.deterministic", f"gzip header {raw[:10].hex()}", GZIP_HEADER.hex()))
    if raw[3] != 0:
        problems.append(Problem("archive.readable", f"gzip flags {raw[3]}", "no optional gzip fields"))
        return b""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = machine.decompress(raw[10:], limits.max_unpacked_bytes + 1)
    except zlib.error as error:
        problems.append(Problem("archive.readable", f"broken deflate stream: {error}", "a whole deflate stream"))
        return b""
    if len(unpacked) > limits.max_unpacked_bytes:
        problems.append(Problem("archive.size", "more when unpacked", f"at most {limits.max_unpacked_bytes} bytes"))
        return b""
    if len(unpacked) > limits.max_ratio * len(raw):
        found = f"{len(unpacked) // len(raw)} times larger when unpacked"
        problems.append(Problem("archive.size", found, f"at most {limits.max_ratio} times"))
        return b""
    if not machine.eof:
        problems.append(Problem("archive.readable", "the stream ends early", "a whole deflate stream"))
        return unpacked
    if len(machine.unused_data) != 8:
        found = f"{len(machine.unused_data)} bytes after the stream"
        problems.append(Problem("archive.readable", found, "8 bytes of checksum and length, one gzip member"))
    elif machine.unused_data != struct.pack("<II", zlib.crc32(unpacked), len(unpacked) & 0xFFFFFFFF):
        problems.append(
            Problem("archive.readable", "a wrong checksum or length", "the CRC-32 and length of the content")
        )
    return unpacked
