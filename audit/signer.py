"""The signer: it keeps its own tree in its own file and signs only what extends it.

It runs as a process of its own, with a key the database never sees and a login that reads the log and adds
checkpoints. It hashes the leaves' bytes itself: the database's root has to be what it computes. Its file is written,
synced and renamed before a checkpoint is shown to anybody, so that it never signs two trees of one size.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from django.db import transaction

from audit.canonical import JsonError, parse_json, write_json
from audit.checkpoint import Checkpoint
from audit.events import AuditError
from audit.merkle import Frontier, leaf_hash
from audit.models import LogCheckpoint, LogLeaf, TreeHead
from audit.notes import Note, SignerKey, parse_note
from audit.sequencing import newest_head

TAIL: Final = 1000  # the newest leaves are hashed again before each signature
CHUNK: Final = 10_000
HASH_BYTES: Final = 32


@dataclass(frozen=True)
class State:
    """What was signed last: the tree, its newest leaf hashes, the note. `note` is empty before the first."""

    origin: str
    tree: Frontier
    tail: tuple[bytes, ...]
    note: bytes


class LogSigner:
    """One log's signer."""

    def __init__(self, key: SignerKey, path: Path) -> None:
        self.key = key
        self.path = path
        self._state: State | None = None

    def sign(self) -> LogCheckpoint | None:
        """Sign the newest tree head, if there is one that is newer than the last; None if there is nothing to sign.

        Raises: AuditError, and nothing is signed: "log.rollback" (the log is shorter than what was signed),
        "log.rewritten" (leaves are not what was signed), "log.false_root" (the head is not the root of its leaves),
        "signer.state" (the file is missing or not ours).
        """
        state = self._state
        if state is None:
            state = self.read()
            self._publish(state)
            self._state = state
        head = newest_head()
        size = head.size if head else 0
        if size < state.tree.size:
            raise AuditError("log.rollback", f"the log has {size} leaves, {state.tree.size} were signed")
        if head is not None and size == state.tree.size and bytes(head.root) != state.tree.root:
            raise AuditError("log.rewritten", f"the root of the {size} leaves that were signed is another one now")
        if head is None or size == state.tree.size:
            return None
        self.look(state)
        grown = self._extend(state, head)
        checkpoint = Checkpoint(self.key.name, size, grown.tree.root)
        grown = replace(grown, note=Note(checkpoint.text, (self.key.sign(checkpoint.text),)).raw)
        self._state = None  # until it is shown: otherwise the next time begins with the file, and shows what is in it
        self._write(grown)
        row = self._publish(grown)
        self._state = grown
        return row

    def read(self) -> State:
        """The state, from the file; an empty one before the first signature of this log.

        Raises: AuditError("signer.state").
        """
        if not self.path.exists():
            if LogCheckpoint.objects.filter(origin=self.key.name).exists():
                raise AuditError(
                    "signer.state",
                    f"{self.path} is gone, but {self.key.name} has checkpoints; put it back, or open a new epoch",
                )
            return State(self.key.name, Frontier(), (), b"")
        try:
            return _parse(self.path.read_bytes(), self.key.name)
        except (JsonError, KeyError, TypeError, ValueError) as error:
            raise AuditError("signer.state", f"{self.path} cannot be read: {error}") from None

    def _extend(self, state: State, head: TreeHead) -> State:
        tree, tail = state.tree, list(state.tail)
        while tree.size < head.size:
            end = min(tree.size + CHUNK, head.size)
            hashes = _leaf_hashes(tree.size, end)
            tree, tail = tree.extend(hashes), [*tail, *hashes][-TAIL:]
        if tree.root != bytes(head.root):
            raise AuditError("log.false_root", f"the head at {head.size} is not the root of its leaves")
        return State(self.key.name, tree, tuple(tail), b"")

    def look(self, state: State | None = None) -> None:
        """Hash the newest leaves that were signed again. Raises: AuditError("log.rewritten"), ("log.not_dense")."""
        state = state or self._state or self.read()
        first = state.tree.size - len(state.tail)
        if tuple(_leaf_hashes(first, state.tree.size)) != state.tail:
            raise AuditError("log.rewritten", f"leaves {first} to {state.tree.size - 1} are not what was signed")

    def _write(self, state: State) -> None:
        """Write, sync, rename, sync the folder: after this the signature may be seen."""
        raw = write_json(
            {
                "origin": state.origin,
                "size": state.tree.size,
                "frontier": _encode(state.tree.hashes),
                "tail": _encode(state.tail),
                "note": state.note.decode(),
            }
        )
        draft = self.path.with_suffix(f".{os.getpid()}")
        with draft.open("wb") as file:
            draft.chmod(0o600)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _publish(self, state: State) -> LogCheckpoint | None:
        """Show the checkpoint; again after a crash between writing and showing. None if it was shown."""
        if not state.note:
            return None
        with transaction.atomic():
            row, is_new = LogCheckpoint.objects.get_or_create(
                origin=state.origin,
                size=state.tree.size,
                defaults={"root": state.tree.root, "note": state.note},
            )
        if bytes(row.note) != state.note:
            raise AuditError("log.rewritten", f"another checkpoint of {state.tree.size} leaves stands in the database")
        return row if is_new else None


def read_note(path: Path) -> Note:
    """The newest checkpoint in a signer's file, whatever log it is of.

    Raises: OSError, JsonError, NoteError, KeyError, TypeError.
    """
    found = parse_json(path.read_bytes())
    if not isinstance(found, dict):
        raise TypeError("the file is no object")
    return parse_note(str(found["note"]).encode())


def _leaf_hashes(first: int, end: int) -> list[bytes]:
    """The hashes of the leaves in [first, end), from their bytes.

    Raises: AuditError("log.not_dense") if one is missing.
    """
    rows = LogLeaf.objects.filter(index__gte=first, index__lt=end).order_by("index")
    found = list(rows.values_list("index", "entry__leaf"))
    if [index for index, _ in found] != list(range(first, end)):
        raise AuditError("log.not_dense", f"got {len(found)} leaves from {first} to {end - 1}")
    return [leaf_hash(bytes(leaf)) for _, leaf in found]


def _encode(hashes: Sequence[bytes]) -> str:
    return base64.b64encode(b"".join(hashes)).decode()


def _decode(text: object) -> tuple[bytes, ...]:
    raw = base64.b64decode(str(text), validate=True)
    return tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES))


def _parse(raw: bytes, origin: str) -> State:
    found = parse_json(raw)
    if not isinstance(found, dict) or found["origin"] != origin:
        raise ValueError(f"it is not about {origin}")
    size, note = found["size"], str(found["note"]).encode()
    if not isinstance(size, int):
        raise TypeError("its size is no number")
    parse_note(note)
    return State(origin, Frontier(size, _decode(found["frontier"])), _decode(found["tail"]), note)
