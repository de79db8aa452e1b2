"""A leaf of the log: a line the database wrote, and what happened, by numbers and digests.

    leo-audit/v1 <entry> <microseconds since 1970> <login>[/<lane>]
    {"bodySha256":…,"kind":…,"principal":…,"role":…,"subject":…}

The body (names, reasons, free text) stands beside the leaf with a random salt; the leaf holds SHA-256(salt || body).
Whoever erases body and salt leaves the proof whole and nothing to guess from.
Shape: JSON per RFC 8785; the salt has 16 bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from audit.coded import CodedError

SALT_BYTES: Final = 16
MAX_BODY_BYTES: Final = 64 << 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER: Final = re.compile(
    rb"leo-audit/v1 (?P<entry>[1-9][0-9]{0,18}) (?P<time>[1-9][0-9]{0,17}) (?P<login>[^\s/]+)(?:/(?P<lane>[^\s/]+))?"
)
_FIELDS: Final = {"bodySha256", "kind", "principal", "role", "subject"}


class LeafError(CodedError):
    """A leaf that is not well-formed, or a body that is not its own. `code` is stable."""


@dataclass(frozen=True)
class Leaf:
    """One act. `login` and `lane` are the database's word for who wrote it, `principal` and `role` the portal's."""

    entry: int
    at: datetime
    login: str
    lane: str
    kind: str
    principal: int
    role: str
    subject: str
    body_sha256: str


def parse_leaf(raw: bytes) -> Leaf:
    """Read a leaf.

    Raises: LeafError("leaf.form") for anything that is not exactly what the database writes.
    Not checked: that it is in a tree; that its body is its own (`open_body`).
    """
    head, newline, rest = raw.partition(b"\n")
    match = _HEADER.fullmatch(head)
    if not newline or match is None:
        raise LeafError("leaf.form", f"got the first line {head[:80]!r}")
    try:
        found = parse_json(rest)
        is_canonical = write_json(found) == rest
    except JsonError as error:
        raise LeafError("leaf.form", f"entry {match['entry'].decode()}: {error}") from None
    if not is_canonical or not isinstance(found, dict) or set(found) != _FIELDS:
        raise LeafError("leaf.form", f"entry {match['entry'].decode()}: its content is not canonical or not complete")
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    principal = found["principal"]
    if len(texts) != len(_FIELDS) - 1 or not isinstance(principal, int) or isinstance(principal, bool):
        raise LeafError("leaf.form", f"entry {match['entry'].decode()}: a value has the wrong type")
    return Leaf(
        entry=int(match["entry"]),
        at=_EPOCH + timedelta(microseconds=int(match["time"])),
        login=match["login"].decode("utf-8", "replace"),
        lane=(match["lane"] or b"").decode("utf-8", "replace"),
        kind=texts["kind"],
        principal=principal,
        role=texts["role"],
        subject=texts["subject"],
        body_sha256=texts["bodySha256"],
    )


def open_body(leaf: Leaf, salt: bytes, body: bytes) -> dict[str, JsonValue]:
    """The body of a leaf, once it is sure that it is its own.

    Raises: LeafError("leaf.body").
    """
    found = hashlib.sha256(salt + body).hexdigest()
    if len(salt) != SALT_BYTES or found != leaf.body_sha256:
        raise LeafError("leaf.body", f"entry {leaf.entry}: got a body with the digest {found}, not the leaf's")
    try:
        value = parse_json(body, max_bytes=MAX_BODY_BYTES)
    except JsonError as error:
        raise LeafError("leaf.body", f"entry {leaf.entry}: {error}") from None
    if not isinstance(value, dict):
        raise LeafError("leaf.body", f"entry {leaf.entry}: the body is no object")
    return value
