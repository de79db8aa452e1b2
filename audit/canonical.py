"""JSON in and out: one strict reader and one canonical writer for everything that is judged or hashed.

Source: RFC 8259 (JSON), RFC 7493 (I-JSON), RFC 8785 (JSON Canonicalization Scheme).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec
import orjson
import rfc8785

from audit.coded import CodedError

type JsonValue = None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 2_000_000
MAX_INTEGER: Final = 2**53 - 1
_WRITTEN_AS_INTEGER: Final = 1e21  # RFC 8785 writes whole numbers below it without an exponent
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_NO_MARK: Final = bytes(set(range(256)) - set(b'",[]{}'))
_PIECE: Final = 1 << 16  # marked piece by piece: copies of the whole would stay in the allocator
_ITEMS: Final = 1_000
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_DOUBTFUL_ESCAPE: Final = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")


class JsonError(CodedError):
    """A document that is not strict JSON. `code` is stable, `detail` says got and expected."""


def parse_json(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Read one strict JSON document.

    Refuses what two readers could understand differently: duplicate keys, NaN and Infinity, numbers
    beyond an IEEE double's exact integers, lone surrogates, U+0000, a byte order mark, anything but UTF-8,
    nesting deeper than `max_depth`, documents longer than `max_bytes` or of more than about two million values
    (each costs a reader up to a hundred times its byte).

    Raises: JsonError with a stable code.
    Source: RFC 7493 sections 2.1 to 2.3.
    """
    if len(raw) > max_bytes:
        raise JsonError("json.too_long", f"got {len(raw)} bytes, expected at most {max_bytes}")
    marks = _marks(raw)
    if marks.count(b",") + marks.count(b"[") + marks.count(b"{") > MAX_VALUES:
        raise JsonError("json.too_many", f"got more than {MAX_VALUES} values")
    if raw.startswith(b"\xef\xbb\xbf"):
        raise JsonError("json.byte_order_mark", "got a byte order mark, expected plain UTF-8")
    is_shallow = _is_shallow(marks, max_depth)
    if is_shallow and not _is_doubtful(raw):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            quick: JsonValue = _QUICK.decode(raw)
            if _is_exact(quick, marks):
                return quick
    return _read_exactly(raw, None if is_shallow else max_depth)


def _read_exactly(raw: bytes, max_depth: int | None) -> JsonValue:
    """The reader that decides, and names what is wrong; the quick one only spares it what is certainly right.

    `max_depth` None: it is known not to be too deep.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError("json.not_utf8", f"byte {error.start} is not UTF-8") from None
    if max_depth is not None:
        _refuse_depth(text, max_depth)
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
            parse_float=_finite_float,
        )
    except json.JSONDecodeError as error:
        raise JsonError("json.syntax", f"{error.msg} at byte {error.pos}") from None
    if _is_doubtful(raw):  # no other way leads to half a pair or to U+0000
        _refuse_surrogates(value)
    return value


def _is_exact(value: JsonValue, marks: bytes) -> bool:
    """Whether a value read quickly is certainly what the exact reader makes of the same bytes.

    It has as many texts, keys among them, as were written, so no key stood twice; and no number but exact integers.
    """
    try:
        again = (orjson.dumps(part, option=orjson.OPT_STRICT_INTEGER) for part in _parts(value))
        return sum(_unescaped(part).count(b'"') for part in again) == marks.count(b'"')
    except orjson.JSONEncodeError:
        return False


def _parts(value: JsonValue) -> Iterator[JsonValue]:
    """Values that together hold the same texts and numbers, so that not all is written at once."""
    if isinstance(value, dict):
        yield [*value]
    for inner in value.values() if isinstance(value, dict) else (value,):
        if isinstance(inner, list):
            yield from (inner[at : at + _ITEMS] for at in range(0, len(inner), _ITEMS))
        else:
            yield inner


def _is_doubtful(raw: bytes) -> bool:
    """Whether an escape may be half of a pair or U+0000. One byte is looked for faster than two."""
    return b"\\" in raw and b"\\u" in raw and _DOUBTFUL_ESCAPE.search(raw) is not None


def _inexact(digits: str) -> float:
    raise ValueError(digits)


_QUICK: Final = msgspec.json.Decoder(float_hook=_inexact)


def _marks(raw: bytes) -> bytes:
    """The quotes that begin and end texts, and every comma and bracket, in their order."""
    plain = _unescaped(raw)
    pieces = (plain[at : at + _PIECE] for at in range(0, len(plain), _PIECE))
    return b"".join([piece.translate(None, _NO_MARK) for piece in pieces])


def _unescaped(raw: bytes) -> bytes:
    """JSON without the escapes that hide a quote; what is left of it has as many texts."""
    return raw.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in raw else raw


def _is_shallow(marks: bytes, max_depth: int) -> bool:
    """Whether no value is certainly deeper than that: brackets in texts go, then level by level the innermost ones.

    Two quotes side by side can go, too: whatever else is there stays inside or outside a text.
    """
    skeleton = marks.translate(_SQUARE, b",").replace(b'""', b"")
    brackets = b"".join(skeleton.split(b'"')[::2])
    for _ in range(max_depth):
        shorter = brackets.replace(b"[]", b"")  # exactly the innermost level
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return not brackets


def write_json(value: JsonValue) -> bytes:
    """Write a value canonically: sorted keys, no white space, shortest numbers.

    Raises: JsonError("json.not_canonical") for what the scheme cannot express.
    Source: RFC 8785.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise JsonError("json.not_canonical", str(error)) from None


def digest_json(value: JsonValue) -> str:
    """SHA-256, in lower-case hex, of the canonical form of `value`."""
    return hashlib.sha256(write_json(value)).hexdigest()


def _refuse_depth(text: str, max_depth: int) -> None:
    """Refuse nesting before the recursive reader sees it."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > max_depth:
                raise JsonError("json.too_deep", f"got more than {max_depth} levels")
        elif first in "]}":
            depth -= 1


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JsonError("json.duplicate_key", f"got the key {key[:80]!r} twice, expected once")
        found[key] = value
    return found


def _refuse_constant(name: str) -> float:
    raise JsonError("json.not_a_number", f"got {name}, expected a finite number")


def _bounded_integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise JsonError("json.number_too_large", f"got {digits[:40]}, expected at most {MAX_INTEGER}")
    return int(digits)


def _finite_float(digits: str) -> float:
    if len(digits) > 400:
        raise JsonError("json.number_too_large", f"got a number of {len(digits)} characters")
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise JsonError("json.number_too_large", f"got {digits[:40]}, expected a finite number")
    if MAX_INTEGER < abs(value) < _WRITTEN_AS_INTEGER:
        raise JsonError("json.number_too_large", f"got {digits[:40]}, canonically an integer beyond {MAX_INTEGER}")
    return value


def _refuse_surrogates(value: JsonValue) -> None:
    stack: list[JsonValue] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise JsonError("json.nul", "got the character U+0000, expected text without it")
            if not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
                raise JsonError("json.lone_surrogate", "got half of a surrogate pair")
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
