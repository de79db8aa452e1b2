"""Seven ways in which whoever owns the database rewrites the log, and what finds it.

As a database superuser with the triggers off; the signer's file is on another machine. Run as a program (`make tamper`)
it tries every kind at 100 places, before and after a checkpoint, and prints what was found by whom.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection, transaction

from audit.actions import append_event
from audit.events import Actor, AuditError, Role
from audit.fsck import check_log
from audit.merkle import Frontier, leaf_hash
from audit.models import LogEntry
from audit.signer import LogSigner
from audit.tiles import WIDTH, subtree_root
from tests.audit.forging import leaves_now, who_finds_it

ACTOR: Final = Actor(7, "pat", Role.AUDITOR)
AWAY: Final = 1 << 40  # where leaves wait while others change places


def append(count: int) -> None:
    """Acts, one transaction."""
    with transaction.atomic():
        for number in range(count):
            append_event("export.made", ACTOR, "", {"n": number})


@contextmanager
def superuser():
    """No trigger fires, no foreign key is looked at; undone at the end if the caller wants to try again."""
    tables = ("leo_log_entry", "leo_log_leaf", "leo_log_head", "leo_log_tile")
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        yield cursor
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def edit(cursor: Any, place: int) -> None:
    """Another body, and its digest in the leaf."""
    cursor.execute(
        "UPDATE leo_log_entry SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'export.made', 'token.issued'),"
        " 'UTF8') WHERE id = (SELECT entry_id FROM leo_log_leaf WHERE index = %s)",
        [place],
    )


def delete(cursor: Any, place: int) -> None:
    """One act is taken out, the rest moves up."""
    cursor.execute("SELECT entry_id FROM leo_log_leaf WHERE index = %s", [place])
    entry = cursor.fetchone()[0]
    cursor.execute("DELETE FROM leo_log_leaf WHERE index = %s", [place])
    cursor.execute("DELETE FROM leo_log_entry WHERE id = %s", [entry])
    cursor.execute("UPDATE leo_log_leaf SET index = index + %s WHERE index > %s", [AWAY, place])
    cursor.execute("UPDATE leo_log_leaf SET index = index - %s WHERE index > %s", [AWAY + 1, AWAY])


def insert(cursor: Any, place: int) -> None:
    """One act is put in, the rest moves down."""
    cursor.execute("UPDATE leo_log_leaf SET index = index + %s WHERE index >= %s", [AWAY, place])
    cursor.execute("UPDATE leo_log_leaf SET index = index - %s WHERE index >= %s", [AWAY - 1, AWAY])
    entry = append_event("token.issued", ACTOR, "", {"forged": True})
    rehash(cursor, entry.pk)
    cursor.execute(
        "INSERT INTO leo_log_leaf (index, entry_id, leaf_hash) SELECT %s, id, leaf_hash FROM leo_log_entry WHERE id = %s",
        [place, entry.pk],
    )


def reorder(cursor: Any, place: int) -> None:
    """Two acts change places."""
    cursor.execute("UPDATE leo_log_leaf SET index = %s WHERE index = %s", [AWAY, place])
    cursor.execute("UPDATE leo_log_leaf SET index = %s WHERE index = %s", [place, place + 1])
    cursor.execute("UPDATE leo_log_leaf SET index = %s WHERE index = %s", [place + 1, AWAY])


def backdate(cursor: Any, place: int) -> None:
    """A year earlier, in the column and in the leaf."""
    cursor.execute("SELECT entry_id FROM leo_log_leaf WHERE index = %s", [place])
    entry = LogEntry.objects.get(pk=cursor.fetchone()[0])
    head, _, rest = bytes(entry.leaf).partition(b"\n")
    version, number, time, login = head.split(b" ")
    earlier = b" ".join((version, number, str(int(time) - 365 * 86_400_000_000).encode(), login)) + b"\n" + rest
    cursor.execute(
        "UPDATE leo_log_entry SET leaf = %s, created_at = created_at - interval '365 days' WHERE id = %s",
        [earlier, entry.pk],
    )


def truncate(cursor: Any, place: int) -> None:
    """Everything from here on is gone, heads included."""
    cursor.execute("DELETE FROM leo_log_head WHERE size > %s", [place])
    cursor.execute("DELETE FROM leo_log_tile WHERE (index + 1) * 256 > %s", [place])
    cursor.execute(
        "DELETE FROM leo_log_entry WHERE id IN (SELECT entry_id FROM leo_log_leaf WHERE index >= %s)", [place]
    )
    cursor.execute("DELETE FROM leo_log_leaf WHERE index >= %s", [place])


def rewrite(cursor: Any, place: int) -> None:
    """An act is edited and all hashes, heads and tiles are computed again: nothing in the database contradicts it."""
    edit(cursor, place)
    cursor.execute("UPDATE leo_log_entry SET kind = 'token.issued' WHERE leaf LIKE '%%token.issued%%'::bytea")
    recompute(cursor)


def rehash(cursor: Any, entry: int) -> None:
    """The hash of an entry whose leaf the triggers did not write."""
    cursor.execute("UPDATE leo_log_entry SET leaf_hash = sha256('\\x00'::bytea || leaf) WHERE id = %s", [entry])


def recompute(cursor: Any) -> None:
    """All hashes, heads and tiles anew from what the leaves are now."""
    cursor.execute("UPDATE leo_log_entry SET leaf_hash = sha256('\\x00'::bytea || leaf)")
    cursor.execute(
        "UPDATE leo_log_leaf l SET leaf_hash = e.leaf_hash FROM leo_log_entry e WHERE e.id = l.entry_id"
        " AND l.leaf_hash <> e.leaf_hash"
    )
    cursor.execute("SELECT e.leaf FROM leo_log_leaf l JOIN leo_log_entry e ON e.id = l.entry_id ORDER BY l.index")
    hashes = [leaf_hash(bytes(leaf)) for (leaf,) in cursor.fetchall()]
    for index in range(len(hashes) // WIDTH):
        raw = b"".join(hashes[index * WIDTH : (index + 1) * WIDTH])
        cursor.execute(
            "UPDATE leo_log_tile SET hashes = %s, root = %s WHERE level = 0 AND index = %s",
            [raw, subtree_root(raw), index],
        )
    cursor.execute("SELECT size FROM leo_log_head")
    for (size,) in cursor.fetchall():
        tree = Frontier().extend(hashes[:size])
        cursor.execute(
            "UPDATE leo_log_head SET size = %s, root = %s, frontier = %s WHERE size = %s",
            [tree.size, tree.root, b"".join(tree.hashes), size],
        )


KINDS: Final[tuple[Callable[[Any, int], None], ...]] = (edit, delete, insert, reorder, backdate, truncate, rewrite)


class _UndoneError(Exception):
    """The trial is over; everything goes back."""


def trial(kind: Callable[[Any, int], None], place: int, signer: LogSigner, earlier: bytes | None) -> set[str]:
    """Tamper once, hashes recomputed as far as the kind does, ask everybody, undo. Who found it.

    `earlier` is a checkpoint that an auditor kept; a pack is made of what the database says afterwards.
    """
    kept, keys = leaves_now(), (signer.key.verifier(),)
    found: set[str] = set()
    memory = signer.path.read_bytes() if signer.path.exists() else None
    try:
        with transaction.atomic():
            with superuser() as cursor:
                kind(cursor, place)
                found |= {f"fsck {finding.code}" for finding in check_log(keys)}
                for act in (LogSigner.look, LogSigner.sign):
                    try:
                        act(LogSigner(signer.key, signer.path))
                    except AuditError as error:
                        found.add(f"signer {error.code}")
                found |= who_finds_it(signer.path.parent / "pack", signer.key, kept, earlier)
            raise _UndoneError
    except _UndoneError:
        return found
    finally:
        if memory is None:
            signer.path.unlink(missing_ok=True)
        else:
            signer.path.write_bytes(memory)


def places(size: int, count: int, seed: int = 1) -> list[int]:
    """Places in a log of `size` leaves: both ends, and others at random."""
    ends = [0, size - 2]
    return [*ends, *random.Random(seed).sample(range(1, size - 2), count - len(ends))]
