"""The rows of an evidence pack against their leaves: every column says what its leaf says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from audit.canonical import JsonValue
from audit.commitments import is_committed
from audit.leaves import Leaf, open_body
from audit.pack_findings import Act
from audit.pack_reading import PackError

# Columns of texts beside the log: the column is the digest, and the text can be erased.
TEXTS: Final = frozenset({"justification", "question"})
TEXT_PARTS: Final = frozenset(f"{name}_{part}" for name in TEXTS for part in ("text", "salt", "erased_at"))
# How a column is named in the body of its leaf; what is not named has the same name.
RENAMED: Final = {
    "head_sha": "head", "base_sha": "base", "bundle_digest": "bundle", "policy_digest": "policy", "pull_request": "pr",
    "is_override": "override", "verdict_id": "verdict", "supersedes_id": "supersedes",
}  # fmt: skip


def check_record(where: str, record: Mapping[str, JsonValue], act: Act) -> None:
    """A row says what its leaf says.

    Raises: PackError.
    """
    row = record.get("row")
    if record.get("leafHash") != act.digest or not isinstance(row, dict):
        raise PackError(where, f"its leaf is {record.get('leafHash')}, leaf {act.index} is {act.digest}")
    for name, value in row.items():
        if name not in TEXT_PARTS and not _agrees(name, value, act):
            raise PackError(where, f"{name} is {str(value)[:60]!r}, leaf {act.index} says otherwise")
    for name in sorted(TEXTS & row.keys()):
        if not holds_text(*(row.get(f"{name}{part}") for part in ("", "_text", "_salt", "_erased_at"))):
            raise PackError(where, f"its {name} is not what leaf {act.index} holds the digest of")


def holds_text(digest: JsonValue, text: JsonValue, salt: JsonValue, erased_at: JsonValue) -> bool:
    """Whether a text is the one that was committed to; or was erased, and says when; or there never was one."""
    match digest, text, salt:
        case (None, None, None):
            return erased_at is None
        case (str(), None, None):
            return moment_of(erased_at) is not None
        case (str(said), str(words), str(hexadecimal)) if erased_at is None:
            key = bytes.fromhex(hexadecimal) if re.fullmatch("[0-9a-f]{64}", hexadecimal) else b""
            return bool(key) and is_committed(said, key, words)
        case _:
            return False


def _agrees(name: str, value: JsonValue, act: Act) -> bool:
    leaf, body = act.leaf, act.body
    match name:
        case "id" | "policy_version":  # its own number; and what follows from the policy's digest
            return True
        case "event":
            return value == leaf.kind
        case "role":
            return value == leaf.role
        case "principal":
            return value == leaf.principal and type(value) is int
        case "handoff":
            return f"H-{value}" == leaf.subject
        case "created_at":
            return moment_of(value) == leaf.at
    if body is None:
        return True
    if name == "detail":
        return isinstance(value, dict) and value.items() <= body.items()
    told = body.get(RENAMED.get(name, name))
    return told == value or (name == "expires_at" and moment_of(told) == moment_of(value) is not None)


def moment_of(value: JsonValue) -> datetime | None:
    """A time in ISO 8601 with its zone; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else None


def salt_of(text: str, where: str) -> bytes:
    """A salt as a pack writes it.

    Raises: PackError.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if raw.hex() != text:
        raise PackError(where, "the salt is not lower-case hexadecimal")
    return raw


def body_of(leaf: Leaf, told: Mapping[str, JsonValue], where: str) -> dict[str, JsonValue] | None:
    """The body of a leaf, once it is sure that it is its own; None where it was erased.

    Raises: PackError, LeafError.
    """
    match told:
        case {"body": None, "salt": None}:
            return None
        case {"body": str(body), "salt": str(salt)}:
            return open_body(leaf, salt_of(salt, where), body.encode())
        case _:
            raise PackError(where, "expected body and salt, or null for both")
