"""As much DER as a loopback timestamp authority and certificate authority need: a writer, and a reader of one level."""

from __future__ import annotations

from collections.abc import Iterator

BOOLEAN, INTEGER, OCTETS, NULL, OID, UTF8, SEQUENCE, SET, TIME = 1, 2, 4, 5, 6, 12, 0x30, 0x31, 0x18


def value(tag: int, *parts: bytes) -> bytes:
    """One value: tag, length, contents."""
    contents = b"".join(parts)
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + contents


def integer(number: int) -> bytes:
    """A non-negative INTEGER."""
    return value(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted form."""
    first, second, *others = (int(part) for part in dotted.split("."))
    contents = bytearray((first * 40 + second,))
    for number in others:
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.insert(0, 0x80 | (number & 0x7F))
        contents.extend(septets)
    return value(OID, bytes(contents))


def members(contents: bytes) -> Iterator[tuple[int, bytes]]:
    """The values that lie side by side in `contents`, as tag and contents."""
    at = 0
    while at < len(contents):
        tag, size, at = contents[at], contents[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(contents[at : at + count], "big"), at + count
        if at + size > len(contents):
            raise ValueError("a value ends after its container")
        yield tag, contents[at : at + size]
        at += size
