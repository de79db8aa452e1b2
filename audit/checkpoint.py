"""Checkpoints: the log's name, size and root as the text of a signed note, and the proof that goes with one.

Source: C2SP tlog-checkpoint; tlog-witness (the body of add-checkpoint).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from audit.merkle import EMPTY_ROOT
from audit.notes import Note, NoteError, parse_note

MAX_PROOF: Final = 63
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_HASH: Final = re.compile(r"[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root. `extensions` are further lines that are signed with it."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note's text."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Submission:
    """What a log sends a witness: the size it believes the witness knows, the proof from there, the checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note

    @property
    def raw(self) -> bytes:
        """The body of add-checkpoint."""
        lines = [f"old {self.old_size}", *(base64.b64encode(found).decode() for found in self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note.raw


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint from a note's text.

    Raises: NoteError("checkpoint.form").
    Not checked: signatures (`Note.verify`); whether the origin is the one expected.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteError("checkpoint.form", "expected a name, a size, a root and no empty line")
    origin, size, root, *extensions = lines[:-1]
    if not _SIZE.fullmatch(size):
        raise NoteError("checkpoint.form", f"got the size {size[:40]!r}, expected a decimal number")
    found = Checkpoint(origin, int(size), parse_hash(root), tuple(extensions))
    if found.size == 0 and found.root != EMPTY_ROOT:
        raise NoteError("checkpoint.form", "a log without leaves has the root of the empty tree")
    return found


def parse_hash(text: str) -> bytes:
    """Read a hash in base64.

    Raises: NoteError("checkpoint.form").
    """
    raw = base64.b64decode(text) if _HASH.fullmatch(text) else b""
    if base64.b64encode(raw).decode() != text or not raw:
        raise NoteError("checkpoint.form", f"got {text[:60]!r}, expected 32 bytes in base64")
    return raw


def parse_submission(raw: bytes) -> Submission:
    """Read the body of add-checkpoint.

    Raises: NoteError with a stable code.
    Not checked: the proof and the signatures.
    """
    head, blank, note = raw.partition(b"\n\n")
    try:
        first, *proof = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteError("submission.form", "the lines above the checkpoint are not ASCII") from None
    size = first.removeprefix("old ")
    if not blank or not first.startswith("old ") or not _SIZE.fullmatch(size):
        raise NoteError("submission.form", f"got {first[:40]!r}, expected 'old <size>'")
    if len(proof) > MAX_PROOF:
        raise NoteError("submission.form", f"got {len(proof)} hashes, expected at most {MAX_PROOF}")
    return Submission(int(size), tuple(parse_hash(line) for line in proof), parse_note(note))
