"""The signed tree heads of an evidence pack: its checkpoint, the seal of its manifest, the earlier one, the reader's.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature; RFC 9162.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.canonical import JsonValue, write_json
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.leaves import open_body, parse_leaf
from audit.merkle import ProofError, leaf_hash, verify_consistency, verify_inclusion
from audit.notes import VerifierKey, parse_note
from audit.pack_findings import Report
from audit.pack_leaves import decoded
from audit.pack_reading import Pack, PackError, parse_object
from audit.pack_records import salt_of
from audit.pack_writing import MANIFEST, SEAL


@dataclass(frozen=True)
class Heads:
    """What the log's keys signed, as far as a pack has it."""

    pack: Pack
    keys: Sequence[VerifierKey]
    report: Report

    def check_checkpoint(self, manifest: Mapping[str, JsonValue]) -> Checkpoint:
        """A trusted key signed the tree head, and the manifest names this one.

        Raises: PackError, NoteError.
        """
        head = self.signed(self.pack.read("checkpoint"))
        if manifest.get("log") != {"origin": head.origin, "size": head.size, "root": head.root.hex()}:
            raise PackError(MANIFEST, f"it names the tree head {manifest.get('log')}, another one is signed")
        return head

    def signed(self, raw: bytes) -> Checkpoint:
        """A checkpoint that one of the keys signed."""
        note = parse_note(raw)
        note.verify(self.keys)
        return parse_checkpoint(note.text)

    def check_witnesses(self, witnesses: Sequence[VerifierKey]) -> str:
        """Each witness that the reader trusts signed the checkpoint; others are named, and not checked."""
        note = parse_note(self.pack.read("checkpoint"))
        log = {(key.name, key.key_id) for key in self.keys}
        known = {(key.name, key.key_id) for key in witnesses}
        others = {found.name for found in note.signatures if (found.name, found.key_id) not in log | known}
        if others:
            names = ", ".join(sorted(others))
            self.report.gap("witnesses", f"{names} signed it, too; not checked: no --witness KEY was given for them")
        signed = [found for found in note.signatures if (found.name, found.key_id) in known]
        for key in witnesses:
            if key.name not in {found.name for found in signed}:
                self.report.broken("witnesses", f"{key.name} did not sign this checkpoint")
        moments = [found.time or 0 for found in (note.verify(witnesses) if signed else ())]
        times = ", ".join(f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}" for moment in moments)
        return f"{len(moments)} signed it" + (f", at {times} UTC" if times else "")

    def check_seal(self, head: Checkpoint) -> str:
        """The manifest's digest stands in a leaf of a later tree of the same log."""
        raw = self.pack.read(SEAL)
        seal = parse_object(raw, SEAL)
        match seal:
            case {
                "leaf": str(leaf), "body": str(body), "salt": str(salt), "index": int(index), "path": list(path),
                "checkpoint": str(checkpoint), "consistency": list(consistency), **rest,
            } if not rest and write_json(seal) == raw:  # fmt: skip
                pass
            case _:
                raise PackError(SEAL, "expected exactly its seven members, written canonically")
        later = self.signed(checkpoint.encode())
        if len(parse_note(checkpoint.encode()).signatures) != 1:
            raise PackError(SEAL, "expected one signature under its checkpoint")
        verify_inclusion(leaf_hash(leaf.encode()), index, later.size, decoded(path, SEAL), later.root)
        verify_consistency(head.size, later.size, head.root, later.root, decoded(consistency, SEAL))
        found = parse_leaf(leaf.encode())
        told = open_body(found, salt_of(salt, SEAL), body.encode()).get("manifestSha256")
        _, digest = self.pack.digest(MANIFEST)
        if (found.kind, told, later.origin) != ("export.sealed", digest, head.origin):
            raise PackError(MANIFEST, f"got the SHA-256 {digest}, the log has sealed {told}")
        return f"leaf {index} of {later.size}"

    def check_earlier(self, head: Checkpoint) -> str:
        """The pack's tree begins with the one of the earlier checkpoint that is in it."""
        old, path = self._earlier()
        if old.origin != head.origin:
            raise PackError("earlier.json", f"it is of the log {old.origin}, the pack of {head.origin}")
        verify_consistency(old.size, head.size, old.root, head.root, path)
        return f"extends {old.size} leaves"

    def _earlier(self) -> tuple[Checkpoint, list[bytes]]:
        value = parse_object(self.pack.read("earlier.json"), "earlier.json")
        match value:
            case {"checkpoint": str(text), "path": list(path)}:
                return self.signed(text.encode()), decoded(path, "earlier.json")
            case _:
                raise PackError("earlier.json", "expected a checkpoint and a path")

    def check_own(self, head: Checkpoint, earlier: bytes | None) -> str:
        """The pack's tree begins with the one that the auditor saw before."""
        if earlier is None:
            self.report.gap("consistency", "no checkpoint of yours was given: another log would not show")
            return "none was given"
        mine = self.signed(earlier)
        if mine.origin != head.origin or mine.size > head.size:
            raise PackError(
                "your checkpoint", f"it is {mine.origin} at {mine.size}, the pack's {head.origin} at {head.size}"
            )
        path = self._earlier()[1] if "earlier.json" in self.pack.names and mine.size < head.size else []
        try:
            verify_consistency(mine.size, head.size, mine.root, head.root, path)
        except ProofError as error:
            raise PackError(
                "your checkpoint",
                f"the pack does not extend it, or has no proof from it; ask for one with it ({error})",
            ) from None
        return f"the log begins with your {mine.size} leaves"
