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

# Kind, literal texts one of which every match holds (looked for first: it is fast), pattern.
_KINDS: Final = (
    ("private key", ("PRIVATE KEY",), re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    (
        "AWS access key",
        ("AKIA", "ASIA", "ABIA", "ACCA"),
        re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])"),
    ),
    (
        "GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        re.compile(r"(?<![A-Za-z0-9_])gh[pousr]_[A-Za-z0-9]{36,255}(?![A-Za-z0-9_])"),
    ),
    ("GitHub token", ("github_pat_",), re.compile(r"(?<![A-Za-z0-9_])github_pat_[A-Za-z0-9_]{60,255}(?![A-Za-z0-9_])")),
    ("GitLab token", ("glpat-",), re.compile(r"(?<![A-Za-z0-9_-])glpat-[A-Za-z0-9_-]{20,64}")),
    ("Slack token", ("xox",), re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,250}")),
    (
        "Slack webhook",
        ("hooks.slack.com",),
        re.compile(r"hooks\.slack\.com/services/T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{16,40}"),
    ),
    ("Google API key", ("AIza",), re.compile(r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    ("Google OAuth secret", ("GOCSPX-",), re.compile(r"(?<![A-Za-z0-9_-])GOCSPX-[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])")),
    ("Stripe key", ("k_live_",), re.compile(r"(?<![A-Za-z0-9_])[rs]k_live_[A-Za-z0-9]{20,250}")),
    ("npm token", ("npm_",), re.compile(r"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9_])")),
    ("PyPI token", ("pypi-AgE",), re.compile(r"(?<![A-Za-z0-9_-])pypi-AgE[A-Za-z0-9_-]{50,400}")),
    (
        "OpenAI key",
        ("T3BlbkFJ",),
        re.compile(r"(?<![A-Za-z0-9_-])sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,74}T3BlbkFJ[A-Za-z0-9_-]{20,74}"),
    ),
    ("Anthropic key", ("sk-ant-",), re.compile(r"(?<![A-Za-z0-9_-])sk-ant-[a-z0-9]{5,8}-[A-Za-z0-9_-]{80,120}")),
    (
        "JSON web token",
        ("eyJ",),
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{15,2000}\.eyJ[A-Za-z0-9_-]{15,4000}\.[A-Za-z0-9_-]{20,1000}"),
    ),
    (
        "password in a URL",
        ("://",),
        re.compile(r"[a-z][a-z0-9+]{1,15}://[^\s/:@\"'<>{}$%]{1,64}:[^\s/:@\"'<>{}$%*]{8,128}@[a-z0-9]"),
    ),
    (
        "SendGrid key",
        ("SG.",),
        re.compile(r"(?<![A-Za-z0-9_.-])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    ),
    (
        "DigitalOcean token",
        ("dop_v1_", "doo_v1_", "dor_v1_"),
        re.compile(r"(?<![A-Za-z0-9_])do[por]_v1_[0-9a-f]{64}(?![A-Za-z0-9_])"),
    ),
    ("Hugging Face token", ("hf_",), re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z]{34}(?![A-Za-z0-9_])")),
    ("Shopify token", ("shp",), re.compile(r"(?<![A-Za-z0-9_])shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}(?![A-Za-z0-9_])")),
    ("Docker token", ("dckr_pat_",), re.compile(r"(?<![A-Za-z0-9_])dckr_pat_[A-Za-z0-9_-]{27,64}")),
    ("Vault token", ("hvs.", "hvb."), re.compile(r"(?<![A-Za-z0-9_.-])hv[sb]\.[A-Za-z0-9_-]{24,300}")),
    ("Databricks token", ("dapi",), re.compile(r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}(?![A-Za-z0-9])")),
    ("Telegram bot token", (":AA",), re.compile(r"(?<![A-Za-z0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")),
    ("Mailgun key", ("key-",), re.compile(r"(?<![A-Za-z0-9_-])key-[0-9a-f]{32}(?![A-Za-z0-9])")),
    ("Twilio key", ("SK",), re.compile(r"(?<![A-Za-z0-9])SK[0-9a-f]{32}(?![A-Za-z0-9])")),
    ("Azure storage key", ("AccountKey=",), re.compile(r"AccountKey=[A-Za-z0-9+/]{86}==")),
    ("Grafana token", ("glsa_",), re.compile(r"(?<![A-Za-z0-9_])glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}")),
    ("age secret key", ("AGE-SECRET-KEY-1",), re.compile(r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}")),
    ("Supabase token", ("sbp_",), re.compile(r"(?<![A-Za-z0-9_])sbp_[0-9a-f]{40}(?![A-Za-z0-9_])")),
    ("Linear key", ("lin_api_",), re.compile(r"(?<![A-Za-z0-9_])lin_api_[A-Za-z0-9]{40}(?![A-Za-z0-9_])")),
    (
        "Discord webhook",
        ("/api/webhooks/",),
        re.compile(r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,80}"),
    ),
)
_ASSIGNED: Final = re.compile(
    r"(?i)(?:secret|token|passw(?:or)?d|api_?-?key|access_?-?key|private_?-?key|auth_?-?key)[a-z0-9_-]{0,24}"
    r"[\"']?\s{0,4}(?:=|:|=>|:=)\s{0,4}[\"']([A-Za-z0-9+/=_.~-]{20,200})[\"']"
)
_NAME: Final = re.compile(r"secret|token|passw|api_?-?key|access_?-?key|private_?-?key|auth_?-?key")
_MIN_BITS: Final = 3.6
_RANDOM: Final = "random value of a secret's name"
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[^-]{0,20}-----[^-]{0,20000}(?:-----END [A-Z0-9 ]{0,60}-----)?"
)
_BASE64_LINE: Final = re.compile(r"[A-Za-z0-9+/_-]{16,4000000}={0,2}")
_ESCAPE: Final = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_MIN_NEEDLE: Final = 4


@dataclass(frozen=True)
class SecretHit:
    """One credential. Units: `line` counts from 1."""

    kind: str
    place: str
    line: int


def numbered(raw: bytes) -> list[tuple[int, str]]:
    """The lines of a file as `find_secrets` takes them."""
    return list(enumerate(raw.decode("utf-8", "replace").split("\n"), 1))


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
    for kind, needles, pattern in _KINDS:
        if any(needle in text for needle in needles):
            wanted = _PRIVATE_KEY if kind == "private key" else pattern
            yield from ((match.start(), match.end(), kind) for match in wanted.finditer(text))
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
    if not any(trace in whole for trace in _TRACES):
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


def _traces() -> frozenset[str]:
    """What base64 makes of the literal texts of the kinds, at each of the three places they can stand."""
    found = set()
    for _, needles, _ in _KINDS:
        for needle in needles:
            if len(needle) < _MIN_NEEDLE:
                continue
            for shift in range(3):
                code = base64.b64encode(bytes(shift) + needle.encode()).decode()
                found.add(code[(8 * shift + 5) // 6 : 8 * (shift + len(needle)) // 6])
    return frozenset(found)


def _assignments(text: str) -> Iterator[re.Match[str]]:
    """Every place `_ASSIGNED` matches; in plain ASCII it is only tried where a name of a secret begins."""
    if not text.isascii():
        yield from _ASSIGNED.finditer(text)
        return
    for name in _NAME.finditer(text.lower()):
        match = _ASSIGNED.match(text, name.start())
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


_TRACES: Final = _traces()
