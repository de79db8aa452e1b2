"""Finding credentials: named kinds by their fixed forms, and long random values given to a secret's name.

Only the kind and the place are reported. The value never leaves this module.

Not checked: secrets without a known form or a telling name; the Security sub-agent looks deeper.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

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
)
_ASSIGNED: Final = re.compile(
    r"(?i)(?:secret|token|passw(?:or)?d|api_?-?key|access_?-?key|private_?-?key|auth_?-?key)[a-z0-9_-]{0,24}"
    r"[\"']?\s{0,4}(?:=|:|=>|:=)\s{0,4}[\"']([A-Za-z0-9+/=_.~-]{20,200})[\"']"
)
_NAME: Final = re.compile(r"secret|token|passw|api_?-?key|access_?-?key|private_?-?key|auth_?-?key")
_MIN_BITS: Final = 3.6


@dataclass(frozen=True)
class SecretHit:
    """One credential. Units: `line` counts from 1."""

    kind: str
    place: str
    line: int


def find_secrets(place: str, lines: Iterable[tuple[int, str]]) -> Iterator[SecretHit]:
    """Every credential in numbered lines of one place, at most one of a kind for each line."""
    numbers: list[int] = []
    starts: list[int] = []
    texts: list[str] = []
    at = 0
    for number, line in lines:
        numbers.append(number)
        starts.append(at)
        texts.append(line)
        at += len(line) + 1
    whole = "\n".join(texts)
    found: dict[tuple[int, str], None] = {}
    for kind, needles, pattern in _KINDS:
        if not any(needle in whole for needle in needles):
            continue
        for match in pattern.finditer(whole):
            found[numbers[bisect_right(starts, match.start()) - 1], kind] = None
    for match in _assignments(whole):
        if _is_random(match[1]):
            found[numbers[bisect_right(starts, match.start()) - 1], "random value of a secret's name"] = None
    yield from (SecretHit(kind, place, number) for number, kind in sorted(found))


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
