"""The database's leaves and tiles against the second copy: which of the two has the wrong bit, and putting it right.

Each leaf's hash is told five times: by the bytes in the database and in the copy, by two columns, by the copy's hash
tile. Most of them, all of the copy or all of the database is believed: what leads to the root that the signer signed.
Not checked: bodies, which are in no copy; that a leaf or a row is missing altogether (`audit.fsck`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import connection, transaction

from audit.checkpoint import Checkpoint
from audit.copying import CopyError, TileCopy, hashes_in
from audit.events import AuditError
from audit.fsck import MAX_FINDINGS, Finding
from audit.merkle import Frontier, leaf_hash
from audit.models import LogLeaf, LogTile
from audit.notes import NoteError, VerifierKey, parse_note
from audit.tiles import ENTRIES, WIDTH, Tile, TileError, parse_bundle, subtree_root, tiles_of, write_bundle

IN_COPY: Final = "Next: `manage.py log restore copy` writes it anew from the database"
IN_DATABASE: Final = "Next: `manage.py log restore database`, as the owner of the schema, takes it from the copy"


@dataclass
class Damage:
    """What differs from what was signed. `leaves`: the right hash and bytes of leaves that the database has wrong."""

    findings: list[Finding] = field(default_factory=list)
    files: dict[Tile, bytes] = field(default_factory=dict)
    leaves: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def add(self, code: str, detail: str) -> None:
        """One more finding, if there are not too many."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, detail))


@dataclass(frozen=True)
class _Row:
    index: int
    leaf: bytes
    hashes: tuple[bytes, bytes]


def compare_copies(copy: TileCopy, keys: tuple[VerifierKey, ...]) -> Damage:
    """Everything in which database or copy are not what was signed, as far as the copy goes. Empty: both are whole.

    Shape: 256 leaves and one hash for each 256 are in memory.
    """
    try:
        head = _signed_head(copy, keys)
    except CopyError as error:
        return Damage([Finding(error.code, error.detail)])
    for believe in (_most, _copy_first, _database_first):
        damage, tree, roots = Damage(), Frontier(), list[bytes]()
        for tile in (one for one in tiles_of(head.size) if one.level == ENTRIES):
            hashes = _of_bundle(copy, tile, damage, believe)
            tree = tree.extend(hashes)
            if tile.width == WIDTH:
                roots.append(subtree_root(b"".join(hashes)))
        if tree.root == head.root:
            _of_upper_tiles(copy, head, roots, damage)
            return damage
    detail = f"neither the database nor {copy.folder} leads to the signed root of {head.size} leaves; a backup may"
    return Damage([Finding("copy.unsure", detail)])


def _most(said: list[bytes]) -> bytes:
    return Counter(said).most_common(1)[0][0]


def _copy_first(said: list[bytes]) -> bytes:
    return said[1]


def _database_first(said: list[bytes]) -> bytes:
    return said[0]


def restore_copy(copy: TileCopy, keys: tuple[VerifierKey, ...]) -> Damage:
    """Write the copy's wrong files anew. What could not be put right is still in what comes back."""
    for tile, raw in compare_copies(copy, keys).files.items():
        copy.write(tile, raw)
    return compare_copies(copy, keys)


@transaction.atomic(durable=True)
def restore_database(copy: TileCopy, keys: tuple[VerifierKey, ...]) -> tuple[list[Finding], Damage]:
    """Put the signed bytes of leaves and tiles back, as the owner of the tables. Returns what was wrong, what is left.

    Each leaf that is written hashes to what leads to the signed root; nothing else can come in this way.
    Raises: AuditError("copy.unsure") if nobody knows what is right.
    """
    damage = compare_copies(copy, keys)
    if any(finding.code == "copy.unsure" for finding in damage.findings):
        raise AuditError("copy.unsure", damage.findings[-1].detail)
    tables = ("leo_log_entry", "leo_log_leaf", "leo_log_tile")
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only_rows")
        for index, (found, raw) in damage.leaves.items():
            cursor.execute(
                "UPDATE leo_log_entry SET leaf = %s, leaf_hash = %s"
                " WHERE id = (SELECT entry_id FROM leo_log_leaf WHERE index = %s)",
                [raw, found, index],
            )
            cursor.execute("UPDATE leo_log_leaf SET leaf_hash = %s WHERE index = %s", [found, index])
        for (level, index), raw in damage.tiles.items():
            cursor.execute(
                "UPDATE leo_log_tile SET hashes = %s, root = %s WHERE level = %s AND index = %s",
                [raw, subtree_root(raw), level, index],
            )
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows")
    return damage.findings, compare_copies(copy, keys)


def _signed_head(copy: TileCopy, keys: tuple[VerifierKey, ...]) -> Checkpoint:
    head = copy.head()
    if head.size and keys:
        try:
            parse_note(copy.note()).verify([key for key in keys if key.name == head.origin])
        except NoteError as error:
            raise CopyError("copy.checkpoint", f"{copy.folder}/checkpoint: {error.detail}") from None
    return head


def _of_bundle(copy: TileCopy, tile: Tile, damage: Damage, believe: Callable[[list[bytes]], bytes]) -> list[bytes]:
    """The hashes of a bundle's leaves as they are believed; what says something else is damage."""
    copied, told = _copied(copy, tile), _told(copy, Tile(0, tile.index, tile.width))
    believed, right = list[bytes](), list[bytes]()
    is_copy_wrong = False
    for nth, row in enumerate(_rows(tile)):
        own, other = leaf_hash(row.leaf), leaf_hash(copied[nth])
        said = [own, other, *row.hashes, told[nth]]
        best = believe(said)
        believed.append(best)
        right.append(row.leaf if own == best else copied[nth])
        if {own, *row.hashes} != {best}:
            damage.add(
                "copy.database_changed", f"leaf {row.index} in the database is not what was signed. {IN_DATABASE}"
            )
            if best in {own, other}:
                damage.leaves[row.index] = (best, right[-1])
        is_copy_wrong |= other != best
    if is_copy_wrong:
        _bad_file(copy, tile, write_bundle(right), damage)
    if b"".join(told) != b"".join(believed):
        _bad_file(copy, Tile(0, tile.index, tile.width), b"".join(believed), damage)
    return believed


def _bad_file(copy: TileCopy, tile: Tile, raw: bytes, damage: Damage) -> None:
    damage.add("copy.changed", f"{copy.folder / tile.path} is not what was signed. {IN_COPY}")
    damage.files[tile] = raw


def _of_upper_tiles(copy: TileCopy, head: Checkpoint, roots: list[bytes], damage: Damage) -> None:
    """Hash tiles above the leaves, in both copies, and the database's full ones at level 0."""
    for tile in (one for one in tiles_of(head.size) if one.level != ENTRIES):
        if tile.level == 0:
            if tile.width == WIDTH:
                _of_database_tile(tile, None, roots[tile.index], damage, copy)
            continue
        first = tile.index << 8
        level = _level(roots, tile.level - 1)
        raw = b"".join(level[first : first + tile.width])
        try:
            is_same = copy.read(tile) == raw
        except CopyError:
            is_same = False
        if not is_same:
            _bad_file(copy, tile, raw, damage)
        if tile.width == WIDTH:
            _of_database_tile(tile, raw, subtree_root(raw), damage, copy)


def _of_database_tile(tile: Tile, raw: bytes | None, root: bytes, damage: Damage, copy: TileCopy) -> None:
    row = LogTile.objects.filter(level=tile.level, index=tile.index).first()
    if row is None or (bytes(row.root) == root and subtree_root(bytes(row.hashes)) == root):
        return
    damage.add("copy.database_changed", f"{tile.path} in the database is not what was signed. {IN_DATABASE}")
    damage.tiles[(tile.level, tile.index)] = raw if raw is not None else damage.files.get(tile) or copy.read(tile)


def _level(roots: list[bytes], level: int) -> list[bytes]:
    """The roots of the full tiles of a level, from those of level 0."""
    for _ in range(level):
        whole = len(roots) // WIDTH * WIDTH
        roots = [subtree_root(b"".join(roots[at : at + WIDTH])) for at in range(0, whole, WIDTH)]
    return roots


def _copied(copy: TileCopy, tile: Tile) -> list[bytes]:
    """The copy's leaves; one that is missing is an empty text, whose hash no leaf has."""
    try:
        found = parse_bundle(copy.read(tile))
    except (CopyError, TileError):
        found = []
    return (found + [b""] * tile.width)[: tile.width]


def _told(copy: TileCopy, tile: Tile) -> list[bytes]:
    try:
        found = hashes_in(copy.read(tile))
    except CopyError:
        found = []
    return (found + [b""] * tile.width)[: tile.width]


def _rows(tile: Tile) -> Iterator[_Row]:
    first = tile.index * WIDTH
    rows = LogLeaf.objects.filter(index__gte=first, index__lt=first + tile.width).order_by("index")
    found = {
        index: _Row(index, bytes(leaf), (bytes(one), bytes(two)))
        for index, leaf, one, two in rows.values_list("index", "entry__leaf", "leaf_hash", "entry__leaf_hash")
    }
    for index in range(first, first + tile.width):
        yield found.get(index, _Row(index, b"", (b"", b"")))
