"""The anchors in an evidence pack: checkpoints that left the portal, as a git commit and as an entry in Rekor.

    {"git": null | {commit, object, tree, checkpoint, consistency},
     "rekor": null | {checkpoint, bundle, identity, issuer, consistency}}

`object` and `tree` are git's own bytes in base64, `checkpoint` is the file in the tree; `consistency` is the proof
between its leaves and the pack's, whichever are more. Written after the manifest: it proves itself.
Not checked: that the commit is in the anchors' repository as others have it; whoever has a clone compares its name.
Source: C2SP tlog-checkpoint, RFC 9162; git's object format.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from audit.canonical import JsonError, JsonValue, parse_json
from audit.checkpoint import Checkpoint
from audit.merkle import ProofError, verify_consistency
from audit.pack_findings import NOT_CHECKED, Judges
from audit.pack_heads import Heads
from audit.pack_leaves import decoded
from audit.pack_reading import PackError, parse_object
from audit.pack_writing import ANCHORS


@dataclass(frozen=True)
class Anchors:
    """The anchors of a pack, against the tree head it was made at."""

    heads: Heads
    head: Checkpoint
    judges: Judges | None

    def check(self) -> str:
        """What is anchored is the pack's log: signed by its key, and one tree with the pack's.

        Raises: PackError, NoteError.
        """
        report = self.heads.report
        if ANCHORS not in self.heads.pack.names:
            report.gap("anchors", "none is in the pack: that the log was not replaced whole, no anchor of it shows")
            return "none"
        match parse_object(self.heads.pack.read(ANCHORS), ANCHORS):
            case {"git": git, "rekor": rekor, **rest} if not rest:
                pass
            case _:
                raise PackError(ANCHORS, "expected git and rekor, and nothing else")
        said, sizes = [], [0]
        for told, look in ((git, self._git), (rekor, self._rekor)):
            if told is not None:
                size, words = look(told if isinstance(told, dict) else {})
                sizes.append(size)
                said.append(words)
        if (left := self.head.size - max(sizes)) > 0:
            report.gap("anchors", f"the newest {left} leaves of the pack's tree are in no anchor that it has")
        return "; ".join(said) or "none"

    def _git(self, told: Mapping[str, JsonValue]) -> tuple[int, str]:
        where = f"{ANCHORS}: git"
        match told:
            case {
                "commit": str(name),
                "object": str(),
                "tree": str(),
                "checkpoint": str(text),
                "consistency": list(),
                **rest,
            } if not rest:
                pass
            case _:
                raise PackError(where, "expected a commit, its object, tree and checkpoint, and a proof")
        commit, tree, blob = _raw(told, "object"), _raw(told, "tree"), text.encode()
        length = len(name)
        if _object_id("commit", commit, length) != name:
            raise PackError(where, f"the object is not the commit {name[:12]}")
        first = commit.partition(b"\n")[0].decode("ascii", "replace")
        if first != f"tree {_object_id('tree', tree, length)}":
            raise PackError(where, f"the commit {name[:12]} has another tree")
        if tree != b"100644 checkpoint\0" + bytes.fromhex(_object_id("blob", blob, length)):
            raise PackError(where, f"the commit {name[:12]} holds another checkpoint")
        size = self._size(blob, told, where)
        return (
            size,
            f"git commit {name} holds the tree of {size} leaves: compare its name with your clone of the anchors",
        )

    def _rekor(self, told: Mapping[str, JsonValue]) -> tuple[int, str]:
        where = f"{ANCHORS}: rekor"
        match told:
            case {
                "checkpoint": str(text), "bundle": str(bundle), "identity": str(identity), "issuer": str(issuer),
                "consistency": list(), **rest,
            } if not rest:  # fmt: skip
                pass
            case _:
                raise PackError(where, "expected a checkpoint, its bundle, identity, issuer and a proof")
        size, digest = self._size(text.encode(), told, where), hashlib.sha256(text.encode())
        if _signed_digest(bundle) != digest.digest():
            raise PackError(where, "the bundle is about another checkpoint")
        problem = self.judges.anchor(bundle.encode(), digest.hexdigest()) if self.judges else NOT_CHECKED
        if problem == NOT_CHECKED:
            who = f"{identity} by {issuer}"
            asked = "give --trusted-root, --anchor-identity and --anchor-issuer"
            self.heads.report.gap("anchors", f"the entry in Rekor is said to be of {who}; not checked: {asked}")
        elif problem:
            raise PackError(where, problem)
        return size, f"Rekor's entry is about the tree of {size} leaves"

    def _size(self, raw: bytes, told: Mapping[str, JsonValue], where: str) -> int:
        """How many leaves an anchored checkpoint covers, once it is sure that they are this log's."""
        found, head = self.heads.signed(raw), self.head
        if found.origin != head.origin:
            raise PackError(where, f"it is of the log {found.origin}, the pack of {head.origin}")
        old, new = (found, head) if found.size <= head.size else (head, found)
        try:
            verify_consistency(old.size, new.size, old.root, new.root, decoded(told.get("consistency"), where))
        except ProofError as error:
            raise PackError(where, f"what is anchored is not the pack's log: {error}") from None
        return found.size


def _raw(told: Mapping[str, JsonValue], name: str) -> bytes:
    try:
        return base64.b64decode(str(told.get(name)), validate=True)
    except binascii.Error:
        raise PackError(f"{ANCHORS}: git", f"its {name} is not base64") from None


def _object_id(kind: str, raw: bytes, length: int) -> str:
    """Git's name of an object, in the algorithm whose names are so long."""
    content = f"{kind} {len(raw)}\0".encode() + raw
    return (hashlib.sha256(content) if length == 64 else hashlib.sha1(content, usedforsecurity=False)).hexdigest()


def _signed_digest(bundle: str) -> bytes:
    """What a Sigstore bundle says that it is about; empty if it does not say it."""
    try:
        value = parse_json(bundle.encode(), max_bytes=1 << 20)
    except JsonError:
        return b""
    match value:
        case {"messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": str(text)}}}:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error:
                return b""
        case _:
            return b""
