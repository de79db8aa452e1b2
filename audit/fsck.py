"""The whole log computed again from the bytes of its leaves, and everything beside them compared with it.

Shape: one leaf is in memory at a time. A finding has a stable code and says where.
Not checked: that the acts are true; the portal's rows (`sequencing.find_lost`, `verdicts.comparing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from audit.checkpoint import Checkpoint
from audit.leaves import LeafError, open_body, parse_leaf
from audit.merkle import EMPTY_ROOT, Frontier, leaf_hash
from audit.models import LogCheckpoint, LogEntry, LogLeaf, LogTile, TreeHead
from audit.notes import NoteError, VerifierKey, parse_note
from audit.sequencing import newest_head
from audit.tiles import WIDTH, subtree_root

MAX_FINDINGS = 100


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    code: str
    detail: str


def check_log(keys: tuple[VerifierKey, ...] = ()) -> list[Finding]:
    """Everything that is wrong with the log, at most 100 findings.

    `keys` are the log's public keys, one for each epoch, from where the database cannot change them.
    """
    return list(islice(_findings(keys), MAX_FINDINGS))


def _findings(keys: tuple[VerifierKey, ...]) -> Iterator[Finding]:
    roots = {size: bytes(root) for size, root in TreeHead.objects.values_list("size", "root")}
    wanted = {**roots, **dict(LogCheckpoint.objects.values_list("size", "root"))}
    computed: dict[int, bytes] = {0: EMPTY_ROOT}
    tree, tile = Frontier(), b""
    rows = LogLeaf.objects.select_related("entry").order_by("index")
    for row in rows.iterator(chunk_size=2000):
        if row.index != tree.size:
            yield Finding("log.not_dense", f"leaf {tree.size} is missing, {row.index} comes next")
            return
        found = leaf_hash(bytes(row.entry.leaf))
        if not found == bytes(row.leaf_hash) == bytes(row.entry.leaf_hash):
            yield Finding("log.leaf_changed", f"leaf {row.index}, entry {row.entry_id}: its bytes have another hash")
        yield from _of_entry(row.entry)
        tree = tree.extend([found])
        tile += found
        if tree.size % WIDTH == 0:
            yield from _of_tile(0, tree.size // WIDTH - 1, tile)
            tile = b""
        if tree.size in wanted:
            computed[tree.size] = tree.root
    for size, root in sorted(roots.items()):
        if computed.get(size) != bytes(root):
            yield Finding("log.false_head", f"the head at {size} is not the root of the leaves")
    yield from _of_checkpoints(computed, {key.name: key for key in keys})
    yield from _of_upper_tiles()
    yield from _of_rest(tree.size)


def _of_entry(entry: LogEntry) -> Iterator[Finding]:
    try:
        leaf = parse_leaf(bytes(entry.leaf))
        if entry.body and entry.salt:
            open_body(leaf, bytes(entry.salt), bytes(entry.body))
    except LeafError as error:
        yield Finding(f"log.{error.code.replace('.', '_')}", error.detail)
        return
    columns = (entry.pk, entry.created_at, entry.kind, entry.principal, entry.role, entry.subject)
    if columns != (leaf.entry, leaf.at, leaf.kind, leaf.principal, leaf.role, leaf.subject):
        yield Finding("log.column_changed", f"entry {entry.pk}: a column is not what its leaf says")


def _of_tile(level: int, index: int, hashes: bytes) -> Iterator[Finding]:
    row = LogTile.objects.filter(level=level, index=index).first()
    if row is None or bytes(row.hashes) != hashes or bytes(row.root) != subtree_root(hashes):
        yield Finding("log.false_tile", f"tile {level}/{index} is missing or not what its leaves make")


def _of_upper_tiles() -> Iterator[Finding]:
    for row in LogTile.objects.filter(level__gt=0).order_by("level", "index").iterator(chunk_size=100):
        below = LogTile.objects.filter(level=row.level - 1, index__gte=row.index * WIDTH)
        roots = below.filter(index__lt=(row.index + 1) * WIDTH).order_by("index").values_list("root", flat=True)
        hashes = b"".join(bytes(root) for root in roots)
        if len(hashes) != len(bytes(row.hashes)):
            yield Finding("log.false_tile", f"tile {row.level}/{row.index} has too few tiles below it")
        else:
            yield from _of_tile(row.level, row.index, hashes)


def _of_checkpoints(computed: dict[int, bytes], keys: dict[str, VerifierKey]) -> Iterator[Finding]:
    for row in LogCheckpoint.objects.order_by("pk").iterator(chunk_size=2000):
        said = Checkpoint(row.origin, row.size, bytes(row.root))
        try:
            note = parse_note(bytes(row.note))
            if keys:
                note.verify([keys[row.origin]] if row.origin in keys else [])
        except NoteError as error:
            yield Finding("log.false_checkpoint", f"{row}: {error.detail}")
            continue
        if note.text != said.text:
            yield Finding("log.false_checkpoint", f"{row}: its columns are not what was signed")
        elif computed.get(row.size) != said.root:
            yield Finding("log.rewritten", f"{row}: the leaves have another root than the one that was signed")


def _of_rest(size: int) -> Iterator[Finding]:
    head = newest_head()
    if head is not None and head.size != size:
        yield Finding("log.truncated", f"the newest head has {head.size} leaves, there are {size}")
    if head is not None:
        missed = LogEntry.objects.filter(tree_leaf=None, xid__lt=head.last_xid)
        yield from (
            Finding("log.not_integrated", f"entry {pk} has no leaf") for pk in missed.values_list("pk", flat=True)[:20]
        )
