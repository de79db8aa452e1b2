"""The evidence pack of a pull request, a period or the whole log, gathered from the database and the repositories.

Two steps, since the manifest is sealed by the log itself: the files and the manifest, whose digest becomes a leaf; and,
once a signed checkpoint covers that leaf, its proof and the tar.
Shape: one leaf, row or commit is in memory at a time, but for the proofs' hashes.
Source: product.md section 9; the format is in `audit.pack_writing`.
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from django.utils import timezone

from audit.canonical import JsonValue, parse_json, write_json
from audit.checkpoint import parse_checkpoint
from audit.covering import log_state
from audit.events import AuditError
from audit.export import Head, Sheet
from audit.merkle import ProofError, consistency_proof
from audit.models import LogEntry, LogLeaf
from audit.notes import NoteError, VerifierKey, parse_note
from audit.pack_text import verify_text
from audit.pack_writing import (
    ANCHORS,
    SEAL,
    PackedLeaf,
    PackWriter,
    artifact_name,
    encoded,
    one_leaf,
    run_of_leaves,
    write_tar,
)
from audit.principals import PersonLink, Principal, in_force_at
from audit.separation import assurance
from audit.sequencing import nodes_at
from handoffs.models import SigningKey
from handoffs.published_keys import published_keys
from verdicts.models import (
    PolicyVersion,
)
from verdicts.packing_anchors import packed_anchors
from verdicts.packing_commits import packed_commits
from verdicts.packing_scope import Scope
from verdicts.packing_signatures import packed_artifacts, packed_signatures, trusted_root
from verdicts.separation_proof import packed_document
from verdicts.tables import TABLES, plain, sheet_of

BATCH: Final = 500


def write_pack(scope: Scope, folder: Path, facts: Mapping[str, JsonValue], keys: Sequence[VerifierKey]) -> str:
    """Every file and the manifest. Returns the manifest's SHA-256, for a leaf to hold.

    Raises: AuditError("pack.checkpoint") for an earlier checkpoint that is not this log's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer, node = PackWriter(folder), nodes_at(scope.size)
    proofs = [one_leaf(index, scope.size, node) for index in scope.others]
    if scope.first < scope.end:
        proofs.append(run_of_leaves(scope.first, scope.end, scope.size, node))
    writer.add_rows("proofs.jsonl", sorted(proofs, key=_first_of))
    rows = scope.leaves.values_list("entry__leaf", "entry__body", "entry__salt")
    leaves = writer.add_leaves(PackedLeaf(*map(_bytes, row)) for row in rows.iterator(chunk_size=BATCH))
    records = writer.add_rows("records.jsonl", _records(scope))
    commits = writer.add_rows("commits.jsonl", packed_commits(scope))
    writer.add_rows("policies.jsonl", _policies(scope))
    writer.add_rows("principals.jsonl", _principals(scope))
    head = Head(scope.size, bytes(scope.checkpoint.root).hex())
    separations = [packed_document(pull, head) for pull in scope.pulls]
    writer.add_rows("separation.jsonl", separations)
    writer.add_rows("signatures.jsonl", packed_signatures(scope))
    for digest, raw in packed_artifacts(scope):
        writer.add(artifact_name(digest), raw)
    cosignatures = "".join(scope.checkpoint.cosignatures.order_by("pk").values_list("line", flat=True))
    writer.add("checkpoint", bytes(scope.checkpoint.note) + cosignatures.encode())
    signing = SigningKey.objects.select_related("replaces").order_by("-pk")
    published = parse_json(published_keys(list(signing), now=timezone.now()), max_bytes=64 << 20)
    writer.add("keys.json", write_json({"log": [key.vkey for key in keys], "signing": published}))
    if root := trusted_root(scope):
        writer.add("trusted_root.json", root)
    if text := scope.filters.get("earlier"):
        writer.add("earlier.json", write_json(_earlier(text, scope, keys)))
    writer.add("VERIFY.md", verify_text(scope.kind).encode())
    return writer.finish(
        {
            **facts,
            "scope": {
                "kind": scope.kind,
                **{name: value for name, value in scope.filters.items() if name != "earlier"},
            },
            "log": {"origin": scope.checkpoint.origin, "size": scope.size, "root": bytes(scope.checkpoint.root).hex()},
            "assurance": assurance(Principal.objects.registry(size=scope.size)).value,
            "counts": {"leaves": leaves, "records": records, "commits": commits, "pulls": len(separations)},
        }
    )


def seal_pack(folder: Path, entry: LogEntry, scope_size: int, path: Path) -> bool:
    """Add seal and anchors and make the tar, once a checkpoint covers the leaf. Returns whether one does.

    Raises: AuditError("pack.anchor").
    """
    leaf = LogLeaf.objects.filter(entry=entry).first()
    later = log_state().covered
    if leaf is None or later is None or later.size <= leaf.index:
        return False
    node = nodes_at(later.size)
    seal: dict[str, JsonValue] = {
        "leaf": bytes(entry.leaf).decode(),
        "body": bytes(entry.body or b"").decode(),
        "salt": bytes(entry.salt or b"").hex(),
        "index": leaf.index,
        "path": one_leaf(leaf.index, later.size, node)["path"],
        "checkpoint": bytes(later.note).decode(),
        "consistency": encoded(consistency_proof(scope_size, later.size, node)),
    }
    (folder / SEAL).write_bytes(write_json(seal))
    anchors = packed_anchors(scope_size)
    if any(anchors.values()):
        (folder / ANCHORS).write_bytes(write_json(anchors))
    write_tar(folder, path)
    shutil.rmtree(folder)
    return True


def _first_of(proof: Mapping[str, JsonValue]) -> int:
    found = proof.get("index", proof.get("first"))
    return found if isinstance(found, int) else 0


def _bytes(value: Any) -> Any:
    return bytes(value) if value is not None else None


def _records(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    """The rows of the SOP's four tables whose leaves are in the pack, in the order of the leaves."""
    head = Head(scope.size, "")
    tables = [_rows_of(sheet_of(name, {}), scope, head) for name, _ in TABLES if name != "leo_log_entry"]
    for _, row in heapq.merge(*tables, key=lambda found: found[0]):
        yield row


def _rows_of(sheet: Sheet, scope: Scope, head: Head) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    rows = sheet.rows.filter(scope.holds(sheet.index), **{f"{sheet.index}__lt": head.size}).order_by(sheet.index)
    lookups = [lookup for _, lookup in sheet.columns]
    for index, leaf_hash, *values in rows.values_list(sheet.index, sheet.leaf_hash, *lookups).iterator(
        chunk_size=BATCH
    ):
        row = {name: plain(value) for (name, _), value in zip(sheet.columns, values, strict=True)}
        yield index, {"table": sheet.name, "leafIndex": index, "leafHash": bytes(leaf_hash).hex(), "row": row}


def _policies(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    for version in PolicyVersion.objects.filter(log_entry__tree_leaf__index__lt=scope.size).order_by("number"):
        yield {"number": version.number, "document": version.document}


def _principals(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    for principal in Principal.objects.order_by("pk").iterator():
        yield {"id": principal.pk, "kind": principal.kind, "sponsor": principal.sponsor_id}
    links = PersonLink.objects.filter(in_force_at(scope.size)).order_by("pk")
    for one, other in links.values_list("one_id", "other_id"):
        yield {"one": one, "other": other}


def _earlier(text: str, scope: Scope, keys: Sequence[VerifierKey]) -> dict[str, JsonValue]:
    try:
        note = parse_note(text.encode())
        note.verify(keys)
        old = parse_checkpoint(note.text)
        path = consistency_proof(old.size, scope.size, nodes_at(scope.size))
    except (NoteError, ProofError) as error:
        raise AuditError("pack.checkpoint", f"your earlier checkpoint is none of this log: {error}") from None
    return {"checkpoint": text, "path": encoded(path)}
