"""The forms of credentials, and gates: one pass over bytes tells whether any of the forms can be in them at all.

A gate is made from the forms themselves, without what looks around and without upper bounds, so it lets through more
than they match and never less; nearly all bytes of a bundle are searched by gates alone.
Source: RE2, which takes time in proportion to the bytes whatever the forms.
"""

from __future__ import annotations

import base64
import re
from typing import Final, Protocol

import re2

# Kind, literal texts one of which every match holds (looked for first: it is fast), pattern.
KINDS: Final = (
    (
        "private key",
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[^-]{0,20}-----[^-]{0,20000}(?:-----END [A-Z0-9 ]{0,60}-----)?"
        ),
    ),
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
ASSIGNED: Final = re.compile(
    r"(?i)(?:secret|token|passw(?:or)?d|api_?-?key|access_?-?key|private_?-?key|auth_?-?key)[a-z0-9_-]{0,24}"
    r"[\"']?\s{0,4}(?:=|:|=>|:=)\s{0,4}[\"']([A-Za-z0-9+/=_.~-]{20,200})[\"']"
)
SHORTEST: Final = 15  # characters; every match of every form has as many or more
_MIN_NEEDLE: Final = 4
_AROUND: Final = re.compile(r"\(\?<?!\[[^\]]+\]\)")
_MOST: Final = re.compile(r"\{(\d+),\d+\}")
_FEWER: Final = re.compile(r"(\[[^\]]+\])\{(?:9|[1-9]\d+),?\d*\}")
# Four letters that are ASCII ones to a pattern that ignores case: dotted and dotless i, long s, the Kelvin sign.
_FOLDED: Final = r"\xc4[\xb0\xb1]|\xc5\xbf|\xe2\x84\xaa"


def traces_in_base64() -> frozenset[str]:
    """What base64 makes of the literal texts of the kinds, at each of the three places they can stand."""
    found = set()
    for _, needles, _ in KINDS:
        for needle in needles:
            if len(needle) < _MIN_NEEDLE:
                continue
            for shift in range(3):
                code = base64.b64encode(bytes(shift) + needle.encode()).decode()
                found.add(code[(8 * shift + 5) // 6 : 8 * (shift + len(needle)) // 6])
    return frozenset(found)


def _loose(pattern: re.Pattern[str]) -> str:
    """A form as bytes see it: a letter may take four, white space is ASCII's or any byte that is not ASCII.

    Runs of more than eight count only eight: a gate that counts far has too many states.
    """
    text = _AROUND.sub("", pattern.pattern).replace("(?i)", "")
    text = _FEWER.sub(r"\1{8,}", _MOST.sub(r"{\1,}", text)).replace(r"\s{0,}", r"[\x00-\x20\x80-\xff]*")
    return f"(?i:{text})" if pattern.flags & re.IGNORECASE else text


class Gate(Protocol):
    """A compiled gate."""

    def search(self, text: bytes) -> object | None:
        """Something where one of the forms can be in the bytes, None where none can."""


def _gate(*parts: str) -> Gate:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    made: Gate = re2.compile("|".join(parts).encode("latin-1"), options)
    return made


_FORMS: Final = (*(_loose(pattern) for _, _, pattern in KINDS), _loose(ASSIGNED), _FOLDED)
_TRACES: Final = sorted(re.escape(trace) for trace in traces_in_base64())
FORMS: Final = _gate(*_FORMS)
TRACES: Final = _gate(*_TRACES)
# NUL and escapes of JSON: what is behind them is looked at in other views.
ANYTHING: Final = _gate(*_FORMS, *_TRACES, r"\x00", r"\\u00[2-7]", r"\\/")
