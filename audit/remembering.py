"""What this process wrote into the log is in it, as it was written: looked at until each entry has its place.

An act without a row of its own (a sign-in, a refusal) is named by nothing in the database. Whoever owns that can take
its entry away, or write another, between commit and place; a rolled-back transaction leaves the same gap. The process
that acted knows better, and its memory is not the database's.
Shape: at most 10,000 entries, the newest; one query each time the guard looks (`audit.rollback`).
Not noticed: what a process wrote that ended before it looked again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import Final

from django.db import connection, transaction

from audit.keeping import epoch_number
from audit.leaves import LeafError, parse_leaf
from audit.models import LogEntry
from audit.rollback import Trouble

log = logging.getLogger(__name__)
MOST: Final = 10_000

type Said = tuple[str, int, str, str, str]
"""Kind, principal, role, subject, and the SHA-256 of salt and body: all of a leaf that is not the database's own."""


class Memory:
    """The entries that this process committed and has not seen in the tree."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[int, Said] = {}
        self._epoch: int | None = None

    def remember(self, entry: LogEntry) -> None:
        """Once the transaction it belongs to is committed; of one that is rolled back nothing is expected."""
        body = hashlib.sha256(bytes(entry.salt or b"") + bytes(entry.body or b"")).hexdigest()
        said = (entry.kind, entry.principal, entry.role, entry.subject, body)
        transaction.on_commit(lambda: self._add(entry.pk, said))

    def _add(self, number: int, said: Said) -> None:
        with self._lock:
            self._said[number] = said
            if len(self._said) > MOST:
                del self._said[next(iter(self._said))]

    def forget(self) -> None:
        """Expect nothing."""
        with self._lock:
            self._said.clear()

    def look(self) -> Trouble | None:
        """What is not in the log as this process wrote it; what has its place is not looked at again.

        A new epoch may have begun with a restore that lost entries: two people said so, and nothing older is expected.
        """
        with self._lock:
            epoch, expected = epoch_number(), dict(self._said)
            if self._epoch not in {None, epoch}:
                self._said.clear()
                expected = {}
            self._epoch = epoch
            for number, (is_placed, leaf) in _found(list(expected)).items():
                if _says(leaf, number) != expected[number]:
                    return _trouble("log.leaf_changed", number, "is not what this process wrote")
                if is_placed:
                    del self._said[number]
                del expected[number]
            return _trouble("log.leaf_missing", min(expected), "is gone, and was committed") if expected else None


def _found(numbers: list[int]) -> dict[int, tuple[bool, bytes]]:
    if not numbers:
        return {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT entry, is_placed, leaf FROM leo_log_written(%s::bigint[])", [numbers])
        return {number: (is_placed, bytes(leaf)) for number, is_placed, leaf in cursor.fetchall()}


def _says(raw: bytes, number: int) -> Said | None:
    try:
        leaf = parse_leaf(raw)
    except LeafError:
        return None
    return (leaf.kind, leaf.principal, leaf.role, leaf.subject, leaf.body_sha256) if leaf.entry == number else None


def _trouble(code: str, number: int, what: str) -> Trouble:
    log.error("%s: entry %s %s", code, number, what)
    return Trouble(code, f"entry {number} {what}")


memory: Final = Memory()
