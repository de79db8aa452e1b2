"""The markers in commit subjects: hints that people can read in the history, never proof.

Shape: `[CODEX-READY:<64 hex>]` or `[CLAUDE-APPLIED:<64 hex>]` at the first byte of the subject, followed
by one space and text, or by the end of the subject. Fixed offsets only: no pattern is searched for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from audit.coded import CodedError

_HEX: Final = frozenset(b"0123456789abcdef")
_CONTROL: Final = bytes(range(0x20)) + b"\x7f"
_STAGING: Final = b"staging/codex-"
_NAME: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_MAX_BRANCH_BYTES: Final = 114


class MarkerKind(StrEnum):
    """Which lane wrote the marker."""

    CODEX_READY = "CODEX-READY"
    CLAUDE_APPLIED = "CLAUDE-APPLIED"


class MarkerError(CodedError):
    """A subject or branch that breaks the grammar. `code` is stable."""


@dataclass(frozen=True)
class Marker:
    """A marker that was read. Units: `digest` is SHA-256 in lower-case hex."""

    kind: MarkerKind
    digest: str


def parse_marker(subject: bytes) -> Marker:
    """Read the marker at the start of a commit subject (its first line, without the line end).

    Raises: MarkerError with a stable code.
    Not checked: that the digest is the digest of anything.
    """
    for kind in MarkerKind:
        opening = f"[{kind}:".encode("ascii")
        if not subject.startswith(opening):
            continue
        digits = subject[len(opening) : len(opening) + 64]
        after = subject[len(opening) + 64 : len(opening) + 66]
        if len(digits) != 64 or not set(digits) <= _HEX:
            raise MarkerError("marker.digest", "got something else than 64 lower-case hex digits after the colon")
        if after[:1] != b"]" or after[1:] not in {b"", b" "}:
            raise MarkerError("marker.end", "got something else than ']' and one space or the end")
        rest = subject[len(opening) + 66 :]
        if rest.translate(None, _CONTROL) != rest:
            raise MarkerError("marker.subject", "got a control character, expected one line of text")
        if any(f"[{other}".encode("ascii") in rest for other in MarkerKind):
            raise MarkerError("marker.twice", "got a second marker, expected one")
        return Marker(kind, digits.decode("ascii"))
    raise MarkerError("marker.missing", f"got {subject[:40].decode('latin-1')!a}, expected a marker at byte 0")


def marker_in(subject: str) -> str:
    """The marker a subject starts with, brackets included; empty if it starts with none."""
    try:
        marker = parse_marker(subject.encode("utf-8", "surrogateescape"))
    except MarkerError:
        return ""
    return f"[{marker.kind}:{marker.digest}]"


def write_marker(kind: MarkerKind, digest: str, text: str = "") -> str:
    """The subject line of a marked commit: marker, one space, the first line of `text` on one line.

    Raises: MarkerError when the digest or the text would break the grammar.
    """
    words = " ".join(text.split())
    subject = f"[{kind}:{digest}] {words}" if words else f"[{kind}:{digest}]"
    parse_marker(subject.encode())
    return subject


def foreign_markers(message: str) -> tuple[str, ...]:
    """Markers in a builder's commit message that only the portal writes: they mean nothing, and the trail says so."""
    shouted = message.upper()
    return tuple(marker for marker in ("CLAUDE-APPLIED", "PLAN-SUPERVISOR", "LEAD-APPROVED") if f"{marker}:" in shouted)


def is_staging_branch(branch: str) -> bool:
    """Whether a branch name (without `refs/heads/`) is `staging/codex-` and plain ASCII letters, digits, `._-`."""
    raw = branch.encode("utf-8", "surrogatepass")
    rest = raw[len(_STAGING) :]
    return (
        raw.startswith(_STAGING)
        and bool(rest)
        and len(raw) <= _MAX_BRANCH_BYTES
        and set(rest) <= _NAME
        and rest[:1] not in {b".", b"-", b"_"}
        and b".." not in rest
        and not rest.endswith((b".", b".lock"))
    )
