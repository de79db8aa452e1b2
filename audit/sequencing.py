"""The sequencer: committed entries get their place in the tree, in batches, by one process at a time.

Entries are read by (transaction, number) below the oldest transaction that still runs: whatever comes later sorts
later, so that nothing is skipped and no queue is needed that somebody could empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import psycopg
from django.apps import apps
from django.db import connection, models, transaction

from audit.events import AuditError
from audit.merkle import Frontier, Node, leaf_hash
from audit.models import LogEntry, LogEpoch, LogLeaf, LogTile, TreeHead
from audit.tiles import ENTRIES, HASH_BYTES, WIDTH, Tile, TileError, nodes_from, subtree_root, tiles_of, write_bundle

LOCK: Final = 0x1E0_106
BATCH: Final = 10_000
# The columns stay qualified: ORDER BY an alias of the same name would lose the index.
DUE: Final = """
SELECT e.id, e.xid, e.leaf, e.leaf_hash FROM leo_log_entry e
WHERE (e.xid, e.id) > (%s, %s) AND e.xid < coalesce(%s, pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
  AND NOT EXISTS (SELECT FROM leo_log_leaf l WHERE l.entry_id = e.id)
ORDER BY e.xid, e.id LIMIT %s
"""
# Objects for each leaf cost the sequencer most of its time. COPY is refused where rows are guarded.
PLACE: Final = """
INSERT INTO leo_log_leaf (index, entry_id, leaf_hash)
SELECT %s + place - 1, entry, substring(%b::bytea FROM (32 * (place - 1) + 1)::int FOR 32)
FROM unnest(%s::bigint[]) WITH ORDINALITY AS placed (entry, place)
"""
HASHES: Final = """
SELECT string_agg(leaf_hash, ''::bytea ORDER BY index) FROM leo_log_leaf WHERE index >= %s AND index < %s
"""
ROOTS: Final = """
SELECT string_agg(root, ''::bytea ORDER BY index) FROM leo_log_tile WHERE index >= %s AND index < %s AND level = %s
"""
RECENT: Final = 10_000  # entries whose rows are looked at again, about a minute of the fastest load


@transaction.atomic(durable=True)
def integrate_log(*, batch: int = BATCH, below: int | None = None) -> int:
    """Give committed entries their place in the tree and store the new root. Returns how many were placed.

    `below` is the transaction whose entries, and later ones, are left for another time; if not given, the oldest that
    still runs.
    Raises: AuditError("log.leaf_changed") for an entry that does not hash to what was stored with it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
        if (epoch := LogEpoch.objects.filter(log_entry__tree_leaf=None).order_by("number").first()) is not None:
            _place_epoch(epoch.log_entry_id)
            return 1
        head = newest_head()
        place = (head.last_xid, head.last_entry) if head else (0, 0)
        due = _read_due(*place, below, batch)
    if due:
        _place(head, due, last=(due[-1][1], due[-1][0]))
    return len(due)


@contextmanager
def _binary_cursor() -> Iterator[psycopg.Cursor[Any]]:
    """A cursor that speaks binary, which Django's does not: bytes as text are half of a batch's time."""
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor


def _read_due(*parameters: int | None) -> list[tuple[int, int, bytes, bytes]]:
    with _binary_cursor() as cursor:
        return cursor.execute(DUE, parameters, binary=True).fetchall()


def _place_epoch(pk: int) -> None:
    """Give an epoch's first entry the next place, and read on from the oldest transaction that still runs.

    After a restore transactions may be numbered anew, so that where reading stood before says nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
        oldest = cursor.fetchone()[0]
    entry = LogEntry.objects.get(pk=pk)
    _place(newest_head(), [(pk, entry.xid, bytes(entry.leaf), bytes(entry.leaf_hash))], last=(oldest, 0))


def _place(head: TreeHead | None, due: Sequence[tuple[int, int, bytes, bytes]], *, last: tuple[int, int]) -> None:
    for pk, _, leaf, stored in due:
        if leaf_hash(leaf) != stored:
            raise AuditError("log.leaf_changed", f"entry {pk} no longer has the hash it was appended with")
    before = frontier_at(head)
    after = before.extend(stored for *_, stored in due)
    hashes = b"".join(stored for *_, stored in due)
    with _binary_cursor() as cursor:
        cursor.execute(PLACE, [before.size, hashes, f"{{{','.join(str(pk) for pk, *_ in due)}}}"])
    _store_tiles(before.size, after.size, hashes)
    TreeHead.objects.create(
        size=after.size,
        root=after.root,
        frontier=b"".join(after.hashes),
        last_xid=last[0],
        last_entry=last[1],
    )


def newest_head() -> TreeHead | None:
    """The newest tree head."""
    return TreeHead.objects.order_by("-size").first()


def frontier_at(head: TreeHead | None) -> Frontier:
    """The frontier that a head stores."""
    raw = bytes(head.frontier) if head else b""
    return Frontier(head.size if head else 0, tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)))


def governed_columns() -> list[tuple[type[models.Model], str]]:
    """The columns that name an entry of the log, each with its table: an act's row has one for each act."""
    return [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields  # noqa: SLF001  Django documents it
        if field.related_model is LogEntry and model is not LogLeaf
    ]


def find_lost(*, since: int = 0) -> list[str]:
    """Rows whose entry is not in the log: their leaf was taken away after the act was committed."""
    with connection.cursor() as cursor:
        cursor.execute(_lost(), {"since": since})
        return [row for (row,) in cursor.fetchall()]


@cache
def _lost() -> str:
    """One statement: a query for each column, each second, was a tick's whole time."""
    return "\nUNION ALL ".join(
        f"(SELECT '{model.__name__} ' || {model._meta.pk.column}::text FROM {model._meta.db_table} named "  # noqa: S608, SLF001  the models' own names; Django documents it
        f"WHERE {name}_id >= %(since)s AND NOT EXISTS (SELECT FROM leo_log_entry WHERE id = named.{name}_id) LIMIT 20)"
        for model, name in governed_columns()
    )


def refuse_lost() -> None:
    """Look at the newest rows of the governed tables for a leaf that was taken away.

    Raises: AuditError("log.leaf_missing").
    """
    newest = LogEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    if lost := find_lost(since=newest - RECENT):
        raise AuditError("log.leaf_missing", f"no entry of the log for {', '.join(lost[:20])}")


def read_tile(tile: Tile) -> bytes:
    """The bytes of a tile or a bundle of entries, as the database has them.

    Raises: TileError("tile.missing").
    """
    if tile.level == ENTRIES:
        leaves = _between(tile).values_list("entry__leaf", flat=True)
        found = [bytes(leaf) for leaf in leaves]
        _refuse_short(tile, len(found))
        return write_bundle(found)
    if tile.width == WIDTH:
        row = LogTile.objects.filter(level=tile.level, index=tile.index).first()
        if row is not None:
            return bytes(row.hashes)
    hashes = _hashes_of(tile)
    _refuse_short(tile, len(hashes) // HASH_BYTES)
    return hashes


def nodes_at(size: int) -> Node:
    """The perfect subtrees of the tree of `size` leaves, from its tiles."""
    return nodes_from(size, read_tile)


def _store_tiles(before: int, after: int, hashes: bytes) -> None:
    """Each tile that became full, lowest level first: a tile is made of the ones below it, the lowest of `hashes`."""
    full = (tile for tile in tiles_of(after, since=before) if tile.level != ENTRIES and tile.width == WIDTH)
    for level, tiles in groupby(full, key=attrgetter("level")):
        made = [(tile, _hashes_of(tile) if level else _lowest(tile, before, hashes)) for tile in tiles]
        LogTile.objects.bulk_create(
            LogTile(level=level, index=tile.index, root=subtree_root(raw), hashes=raw) for tile, raw in made
        )


def _lowest(tile: Tile, before: int, hashes: bytes) -> bytes:
    """The hashes of a tile of leaves: what was placed `before`, and its part of the `hashes` of the new leaves."""
    missing = before - tile.first_leaf
    placed = _hashes_of(replace(tile, width=missing)) if missing > 0 else b""
    first = max(-missing, 0) * HASH_BYTES
    return placed + hashes[first : first + WIDTH * HASH_BYTES - len(placed)]


def _hashes_of(tile: Tile) -> bytes:
    """One after the other, as many as there are."""
    first = tile.index * WIDTH
    below = [] if tile.level == 0 else [tile.level - 1]
    with connection.cursor() as cursor:
        cursor.execute(ROOTS if below else HASHES, [first, first + tile.width, *below])
        return bytes(cursor.fetchone()[0] or b"")


def _between(tile: Tile) -> models.QuerySet[LogLeaf]:
    first = tile.index * WIDTH
    return LogLeaf.objects.filter(index__gte=first, index__lt=first + tile.width).order_by("index")


def _refuse_short(tile: Tile, found: int) -> None:
    if found != tile.width:
        raise TileError("tile.missing", f"got {found} of {tile.path}, expected {tile.width}")
