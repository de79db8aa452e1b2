"""What may be relied on: entries below the newest signed checkpoint that has its quorum, and no alarm is open.

The same question is asked by the database's function for the repositories' hook (`leo_log_covers`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, QuerySet

from audit.events import AuditError
from audit.models import LogAlarm, LogCheckpoint, LogEpoch, LogLeaf, LogQuorum

POLL_SECONDS: Final = 0.05
PLACING: Final = "it takes a fraction of a second, then try again"
WAITING: Final = "the log's signer has not covered this yet; it takes a second, then try again"


@dataclass(frozen=True)
class LogState:
    """How the log stands: its newest checkpoint, the newest with its quorum, the alarms that are open."""

    newest: LogCheckpoint | None
    covered: LogCheckpoint | None
    quorum: int
    alarms: tuple[LogAlarm, ...]

    @property
    def is_read_only(self) -> bool:
        """Whether nothing is published."""
        return bool(self.alarms)


def log_state() -> LogState:
    """How the log stands now."""
    epoch = LogEpoch.objects.order_by("-number").first()
    rows = LogCheckpoint.objects.order_by("-pk")
    if epoch is not None:
        rows = rows.filter(origin=epoch.origin)
    quorum = LogQuorum.objects.order_by("-pk").values_list("witnesses", flat=True).first() or 0
    enough, newest = rows.annotate(seen=Count("cosignatures")).filter(seen__gte=quorum), rows.first()
    return LogState(newest, enough.first() if quorum else newest, quorum, tuple(open_alarms()[:20]))


def open_alarms() -> QuerySet[LogAlarm]:
    """The alarms that no new epoch has ended, oldest first."""
    ended = LogEpoch.objects.filter(created_at__gte=OuterRef("created_at"))
    return LogAlarm.objects.filter(~Exists(ended)).order_by("pk")


def log_alarm() -> str:
    """The code of the oldest open alarm; empty while there is none."""
    return open_alarms().values_list("code", flat=True).first() or ""


def raise_alarm(code: str, detail: str) -> bool:
    """Put an alarm on record, once; whether it is new."""
    with transaction.atomic():
        if open_alarms().filter(code=code).exists():
            return False
        LogAlarm.objects.create(code=code, detail=detail[:2000])
    return True


def is_covered(entries: Iterable[int]) -> bool:
    """Whether each of these entries is below the newest checkpoint with its quorum, and no alarm is open."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT bool_and(leo_log_covers(e)) FROM unnest(%s::bigint[]) AS e", [list(entries)])
        return bool(cursor.fetchone()[0])


def covered_of(entries: Iterable[int]) -> frozenset[int]:
    """Those of these entries that may be relied on: the same question, entry by entry."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT e FROM unnest(%s::bigint[]) AS e WHERE leo_log_covers(e)", [list(entries)])
        return frozenset(number for (number,) in cursor.fetchall())


def refuse_unplaced(entry_id: int | None) -> None:
    """Let a row name another entry only once the one it names is in the tree: nothing else would name it till then.

    Raises: AuditError("log.not_placed"). A trigger asks the same (`appendonly.keeps_until_placed`).
    """
    if entry_id is not None and not LogLeaf.objects.filter(entry_id=entry_id).exists():
        raise AuditError("log.not_placed", f"entry {entry_id} is not in the log's tree yet; {PLACING}")


def wait_covered(entries: Iterable[int], *, seconds: float) -> bool:
    """Wait until they are, at most so long. Not inside a transaction: it would hold the sequencer back."""
    numbers, deadline = list(entries), time.monotonic() + seconds
    while not is_covered(numbers):
        if time.monotonic() >= deadline or open_alarms().exists():
            return False
        time.sleep(POLL_SECONDS)
    return True
