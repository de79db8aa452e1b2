"""Packs as whoever owns the database would make them: its leaves as they are now, under the checkpoint that was signed.

The log seals them in good faith, and the forger kept every hash there was before; only the log's key is out of reach.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from audit import standalone_verifier
from audit.canonical import JsonValue, write_json
from audit.checkpoint import parse_checkpoint
from audit.merkle import consistency_proof, leaf_hash, nodes_of, root_of
from audit.models import LogCheckpoint, LogLeaf
from audit.notes import SignerKey, parse_note
from audit.pack_checks import Verification
from audit.pack_findings import State
from audit.pack_reading import Pack
from audit.pack_writing import NEEDED, PackedLeaf, PackWriter, encoded, run_of_leaves
from tests.support.packs import Log, seal


def leaves_now() -> list[PackedLeaf]:
    """What the database says the log is."""
    rows = LogLeaf.objects.order_by("index").values_list("entry__leaf", "entry__body", "entry__salt")
    return [PackedLeaf(bytes(leaf), bytes(body or b""), bytes(salt or b"")) for leaf, body, salt in rows]


def who_finds_it(folder: Path, key: SignerKey, kept: Sequence[PackedLeaf], earlier: bytes | None) -> set[str]:
    """Make the pack, if there is a checkpoint to make it under; ask both verifiers. Whoever does not say that it holds."""
    if not LogCheckpoint.objects.exists():
        return set()
    forge(folder, key, kept, earlier)
    public = key.verifier()
    said = Verification(Pack(folder), [public], earlier).run()
    alone = [standalone_verifier.parse_key(public.vkey)]
    report = standalone_verifier.Verifier(standalone_verifier.Pack(folder), alone, earlier).run()
    shutil.rmtree(folder)
    found = {"portal"} if any(finding.state in {State.FAILED, State.BROKEN} for finding in said) else set()
    return found | ({"file"} if report.status else set())


def forge(folder: Path, key: SignerKey, kept: Sequence[PackedLeaf], earlier: bytes | None) -> None:
    """A pack of the whole log under its newest checkpoint, in every other respect as it should be."""
    note = bytes(LogCheckpoint.objects.latest("size").note)
    head = parse_checkpoint(parse_note(note).text)
    now = leaves_now()[: head.size]
    node = nodes_of([leaf_hash(found.leaf) for found in now])
    is_signed = len(now) == head.size and root_of(head.size, node) == head.root
    signed = now if is_signed else list(kept)
    node = nodes_of([leaf_hash(found.leaf) for found in signed])
    writer = PackWriter(folder)
    writer.add_leaves(now)
    writer.add_rows("proofs.jsonl", [run_of_leaves(0, len(now), head.size, node)])
    writer.add("checkpoint", note)
    writer.add("keys.json", write_json({"log": [key.verifier().vkey], "signing": []}))
    if earlier:
        old = parse_checkpoint(parse_note(earlier).text)
        path = encoded(consistency_proof(old.size, head.size, node))
        writer.add("earlier.json", write_json({"checkpoint": earlier.decode(), "path": path}))
    for name in NEEDED - writer.files.keys():
        writer.add(name, b"")
    log: dict[str, JsonValue] = {"origin": head.origin, "size": head.size, "root": head.root.hex()}
    digest = writer.finish({"scope": {"kind": "log"}, "log": log, "assurance": "separated"})
    seal(folder, Log(key, list(signed[: head.size])), head.size, digest)
