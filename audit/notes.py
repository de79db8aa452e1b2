"""Signed notes: a text with signature lines under it, keys as one line of text, plain and timestamped signatures.

Source: C2SP signed-note (format, Ed25519, key ids, verifier keys) and C2SP tlog-cosignature (cosignature/v1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.coded import CodedError

MAX_NOTE_BYTES: Final = 1 << 16
MAX_SIGNATURES: Final = 64
ID_BYTES: Final = 4
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TIME_BYTES: Final = 8
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_LINE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")


class NoteError(CodedError):
    """A note or key that is not well-formed, or that no trusted key signed. `code` is stable."""


class KeyType(IntEnum):
    """The first byte of an encoded key. Source: C2SP signed-note, signature types."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True)
class Signature:
    """One signature line: who claims to have signed, with which key, and the bytes after the key id."""

    name: str
    key_id: bytes
    raw: bytes

    @property
    def line(self) -> str:
        """The line, its newline included."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.raw).decode()}\n"


@dataclass(frozen=True)
class Verified:
    """A signature that holds. `time` is when a cosigner says it signed, None for a plain signature.

    Units: seconds since 1970, UTC.
    """

    signature: Signature
    time: int | None


@dataclass(frozen=True)
class VerifierKey:
    """A public key with its name and its use."""

    name: str
    key_type: KeyType
    public: bytes

    def __post_init__(self) -> None:
        _refuse_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise NoteError("note.key", f"got a key of {len(self.public)} bytes, expected {KEY_BYTES}")

    @property
    def key_id(self) -> bytes:
        """The first four bytes of the hash over name, use and key."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([self.key_type]) + self.public).digest()[:ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as one line: name+id+key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.key_type]) + self.public).decode()}"

    def verify(self, text: str, signature: Signature) -> Verified:
        """Check one signature over `text`.

        Raises: NoteError("note.signature").
        """
        raw, time, message = signature.raw, None, text
        if self.key_type == KeyType.COSIGNATURE:
            time = int.from_bytes(raw[:TIME_BYTES])
            raw, message = raw[TIME_BYTES:], cosigned_message(text, time)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(raw, message.encode())
        except (InvalidSignature, ValueError):
            raise NoteError("note.signature", f"the signature of {self.name} does not hold") from None
        return Verified(signature, time)


@dataclass(frozen=True)
class SignerKey:
    """A private key with its name. `time` of a signature makes it a cosignature."""

    name: str
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new key."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a private key's line, PRIVATE+KEY+name+id+key.

        Raises: NoteError("note.key"), which quotes nothing of it.
        """
        fields = text.strip().removeprefix("PRIVATE+KEY+").split("+", 2)
        if not text.startswith("PRIVATE+KEY+") or len(fields) != 3:
            raise NoteError("note.key", "got no line PRIVATE+KEY+name+id+key")
        raw = _decode(fields[2], "the private key")
        if len(raw) != 1 + KEY_BYTES or raw[0] != KeyType.ED25519:
            raise NoteError("note.key", "expected an Ed25519 key")
        key = cls(fields[0], Ed25519PrivateKey.from_private_bytes(raw[1:]))
        if key.verifier().key_id.hex() != fields[1]:
            raise NoteError("note.key", f"the key of {fields[0]} has another id than {fields[1]}")
        return key

    @property
    def line(self) -> str:
        """The private key as one line. A secret."""
        raw = bytes([KeyType.ED25519]) + self.private.private_bytes_raw()
        return f"PRIVATE+KEY+{self.name}+{self.verifier().key_id.hex()}+{base64.b64encode(raw).decode()}"

    def verifier(self, key_type: KeyType = KeyType.ED25519) -> VerifierKey:
        """The public half, for plain signatures or for cosignatures."""
        return VerifierKey(self.name, key_type, self.private.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """A plain signature over `text`."""
        return Signature(self.name, self.verifier().key_id, self.private.sign(text.encode()))

    def cosign(self, text: str, time: int) -> Signature:
        """A cosignature: a witness saw this checkpoint, consistent with all it saw before.

        Units: seconds since 1970, UTC.
        """
        raw = time.to_bytes(TIME_BYTES) + self.private.sign(cosigned_message(text, time).encode())
        return Signature(self.name, self.verifier(KeyType.COSIGNATURE).key_id, raw)


@dataclass(frozen=True)
class Note:
    """A text and the signature lines under it, unverified. The text ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]

    @property
    def raw(self) -> bytes:
        """The note's bytes."""
        return f"{self.text}\n{''.join(signature.line for signature in self.signatures)}".encode()

    def verify(self, keys: Collection[VerifierKey]) -> tuple[Verified, ...]:
        """The signatures of these keys, all of which hold; other signatures are ignored.

        Raises: NoteError("note.signature") if one of a known key does not hold, or "note.unsigned" if there is none.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found: dict[tuple[str, bytes], Verified] = {}
        for signature in self.signatures:
            who = (signature.name, signature.key_id)
            if who in known and who not in found:
                found[who] = known[who].verify(self.text, signature)
        if not found:
            names = ", ".join(sorted(key.name for key in keys)) or "nobody"
            raise NoteError("note.unsigned", f"expected a signature of {names}")
        return tuple(found.values())


def cosigned_message(text: str, time: int) -> str:
    """What a cosigner signs. Source: C2SP tlog-cosignature, Ed25519 signed message."""
    return f"cosignature/v1\ntime {time}\n{text}"


def parse_vkey(line: str) -> VerifierKey:
    """Read a public key's line, name+id+key.

    Raises: NoteError("note.key") also for an id that is not this key's.
    """
    fields = line.strip().split("+", 2)
    if len(fields) != 3:
        raise NoteError("note.key", f"got {line[:80]!r}, expected name+id+key")
    raw = _decode(fields[2], "the key")
    if not raw or raw[0] not in set(KeyType):
        raise NoteError("note.key", f"got a key of type {raw[:1].hex() or 'none'}, expected 01 or 04")
    key = VerifierKey(fields[0], KeyType(raw[0]), raw[1:])
    if key.key_id.hex() != fields[1]:
        raise NoteError("note.key", f"got the id {fields[1][:20]}, expected {key.key_id.hex()} for this key")
    return key


def parse_note(raw: bytes) -> Note:
    """Read a signed note.

    Raises: NoteError with a stable code.
    Not checked: any signature; see `Note.verify`.
    """
    if len(raw) > MAX_NOTE_BYTES:
        raise NoteError("note.too_long", f"got {len(raw)} bytes, expected at most {MAX_NOTE_BYTES}")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("note.not_utf8", f"byte {error.start} is not UTF-8") from None
    if _CONTROL.search(whole):
        raise NoteError("note.control", "got a control character")
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not text or not lines.endswith("\n"):
        raise NoteError("note.form", "expected a text, an empty line and signature lines, each with its newline")
    signatures = parse_signatures(lines)
    if not signatures:
        raise NoteError("note.unsigned", "got no signature line")
    return Note(f"{text}\n", signatures)


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Read signature lines, such as a witness answers with.

    Raises: NoteError.
    """
    if lines and not lines.endswith("\n"):
        raise NoteError("note.form", "the last signature line has no newline")
    found = []
    for line in lines.split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise NoteError("note.form", f"got {line[:80]!r}, expected '— name base64'")
        raw = _decode(match[2], "a signature")
        if len(raw) <= ID_BYTES:
            raise NoteError("note.form", f"got a signature of {len(raw)} bytes")
        found.append(Signature(match[1], raw[:ID_BYTES], raw[ID_BYTES:]))
    if len(found) > MAX_SIGNATURES:
        raise NoteError("note.too_many", f"got {len(found)} signatures, expected at most {MAX_SIGNATURES}")
    return tuple(found)


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise NoteError(
            "note.key_name", f"got the key name {name[:80]!r}, expected 1 to 200 characters, no space, no +"
        )


def _decode(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("note.base64", f"{what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise NoteError("note.base64", f"{what} is not written in the one canonical way")
    return raw
