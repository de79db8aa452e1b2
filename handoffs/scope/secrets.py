"""Finding credentials: named kinds by their fixed forms, and long random values given to a secret's name.

Only the kind and the place are reported; `redact` takes the values out of text. The value never leaves this module.
Content is looked at as text, as UTF-16, with its escapes of JSON undone, and as what its base64 holds.

Not checked: secrets without a known form or a telling name (the Security sub-agent looks deeper); what is compressed,
encrypted, or encoded twice; in base64, the kinds whose fixed text has fewer than four characters.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from audit.canonical import JsonValue
from handoffs.scope.secret_forms import ANYTHING, ASSIGNED, FORMS, KINDS, SHORTEST, TRACES

_NAME: Final = re.compile(r"secret|token|passw|api_?-?key|access_?-?key|private_?-?key|auth_?-?key")
_MIN_BITS: Final = 3.6
_RANDOM: Final = "random value of a secret's name"
_BASE64_LINE: Final = re.compile(r"[A-Za-z0-9+/_-]{16,4000000}={0,2}")
_ESCAPE: Final = re.compile(r"\\u00([2-7][0-9a-fA-F])")


@dataclass(frozen=True)
class SecretHit:
    """One credential. Units: `line` counts from 1."""

    kind: str
    place: str
    line: int


def numbered(raw: bytes) -> list[tuple[int, str]]:
    """The lines of a file as `find_secrets` takes them."""
    return list(enumerate(raw.decode("utf-8", "replace").split("\n"), 1))


def may_hold_secret(raw: bytes) -> bool:
    """Whether `find_secrets` could find anything in these bytes: one pass, and false for what is ordinary."""
    return ANYTHING.search(raw) is not None


def find_secrets(place: str, lines: Iterable[tuple[int, str]]) -> Iterator[SecretHit]:
    """Every credential in numbered lines of one place, at most one of a kind for each line."""
    told = list(lines)
    found = dict.fromkeys(_find_in(told))
    for view in (_plain_utf16(told), _unescaped(told), _decoded(told)):
        if view:
            found.update(dict.fromkeys(_find_in(view)))
    yield from (SecretHit(kind, place, number) for number, kind in sorted(found))


def redact(text: str, *, keeps_lines: bool = False) -> str:
    """A text with every credential in it replaced by its kind, with as many line ends where `keeps_lines`."""
    spans = list(_spans(text))
    if not spans:
        return text
    parts, at = [], 0
    for start, end, kind in sorted(spans):
        if start >= at:  # else it lies in, or runs on from, what is redacted already
            breaks = text.count("\n", start, end) if keeps_lines else 0
            parts += [text[at:start], f"[redacted: {kind}]" + "\n" * breaks]
        at = max(at, end)
    return "".join((*parts, text[at:]))


def redact_json(value: JsonValue) -> JsonValue:
    """A JSON value with every text in it redacted, keys too."""
    match value:
        case str():
            return redact(value)
        case list():
            return [redact_json(item) for item in value]
        case dict():
            return {redact(key): redact_json(item) for key, item in value.items()}
        case _:
            return value


def _spans(text: str) -> Iterator[tuple[int, int, str]]:
    if len(text) < SHORTEST or not FORMS.search(text.encode("utf-8", "surrogatepass")):
        return
    for kind, needles, pattern in KINDS:
        if any(needle in text for needle in needles):
            yield from ((match.start(), match.end(), kind) for match in pattern.finditer(text))
    for match in _assignments(text):
        if _is_random(match[1]):
            yield match.start(1), match.end(1), _RANDOM


def _joined(lines: list[tuple[int, str]]) -> str:
    """The text of the lines; a single line, which may be a whole binary file, is not copied."""
    return lines[0][1] if len(lines) == 1 else "\n".join(line for _, line in lines)


def _find_in(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Line and kind of every credential in lines that are read as one text."""
    starts: list[int] = []
    at = 0
    for _, line in lines:
        starts.append(at)
        at += len(line) + 1
    for start, _, kind in _spans(_joined(lines)):
        yield lines[bisect_right(starts, start) - 1][0], kind


def _plain_utf16(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Lines that hold NUL, without it: what ASCII in UTF-16 looks like to a reader of bytes."""
    return [(number, line.replace("\0", "")) for number, line in lines if "\0" in line]


def _unescaped(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Lines with JSON's escapes of ASCII, undone."""
    return [
        (number, _ESCAPE.sub(lambda match: chr(int(match[1], 16)), line).replace("\\/", "/"))
        for number, line in lines
        if "\\u00" in line or "\\/" in line
    ]


def _decoded(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """What the base64 in the lines holds, where it can hold a credential: runs of whole lines are read as one."""
    whole = _joined(lines)
    if not TRACES.search(whole.encode("utf-8", "surrogatepass")):
        return []
    found = []
    pieces = ((number, line.strip().lstrip("+- ")) for number, line in lines)
    for is_code, group in groupby(pieces, key=lambda piece: bool(_BASE64_LINE.fullmatch(piece[1]))):
        rows = list(group)
        joined = [(rows[0][0], "".join(row[1] for row in rows))] if is_code else rows
        for number, text in joined:
            found += [(number, _decode(match[0])) for match in _BASE64_LINE.finditer(text)]
    return found


def _decode(code: str) -> str:
    code = code.rstrip("=").replace("-", "+").replace("_", "/")
    code = code[: len(code) - (len(code) % 4 == 1)]
    try:
        return base64.b64decode(code + "=" * (-len(code) % 4)).decode("latin-1")
    except binascii.Error:
        return ""


def _assignments(text: str) -> Iterator[re.Match[str]]:
    """Every place `ASSIGNED` matches; in plain ASCII it is only tried where a name of a secret begins."""
    if not text.isascii():
        yield from ASSIGNED.finditer(text)
        return
    for name in _NAME.finditer(text.lower()):
        match = ASSIGNED.match(text, name.start())
        if match is not None:
            yield match


def _is_random(value: str) -> bool:
    """Whether a value looks drawn at random: many different characters, letters and digits mixed."""
    if not (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)):
        return False
    if re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}", value):
        return True
    counts = Counter(value)
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return bits >= _MIN_BITS
