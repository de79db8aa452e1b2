"""Each process looks at its database's guards before its first act and each minute; while one is gone, nothing is done.

A guard is a grant, a row policy, a trigger, a constraint, a unique index or a function of the reviewed release. Not
noticed: one that is taken away and put back between two looks. The log's signer and the nightly check look at what was
done meanwhile.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import connection, transaction

from audit import events
from audit.actions import append_event
from audit.covering import open_alarms
from audit.events import Actor, Role
from audit.models import LogEntry
from audit.remembering import memory
from audit.rollback import Trouble, guard
from leoportal.lanes.agreeing import find_differences

CODE: Final = "catalog.drift"
NEXT: Final = "nothing is done until `leo db lanes` says that the database does what it should (docs/trail.md)"
WATCH: Final = Actor(0, "portal", Role.REPORTER)  # as the verifier's worker, whose task writes it down
MOST_TOLD: Final = 20


def watch_database() -> None:
    """This process looks from now on at its database's guards, and whether the log has what it wrote into it.

    Called where a process begins (`leoportal.wsgi`, `leoportal.celery`).
    """
    guard.watch(catalogue_trouble)
    guard.watch(memory.look)


def catalogue_trouble() -> Trouble | None:
    """What is not as this release made it; None if everything is."""
    found = differences()
    if not found:
        return None
    return Trouble(CODE, f"{found[0]}{f', and {len(found) - 1} more' if len(found) > 1 else ''}", NEXT)


def differences() -> list[str]:
    """Every difference, as a sentence for a person."""
    connection.ensure_connection()
    others = frozenset(settings.DATABASE_OTHER_ROLES)
    return [difference.what for difference in find_differences(connection.connection, others=others)]


def record_drift() -> bool:
    """Write into the log what changed about the guards since the last time; whether it did.

    While an alarm is open the log takes nothing; then it is written once that is over.
    """
    if open_alarms().exists():
        return False
    found = differences()
    past = LogEntry.objects.filter(kind__in=(events.CATALOG_DRIFTED, events.CATALOG_AGREED))
    last = past.order_by("-created_at", "-pk").first()
    known = last.open()["differences"] if last is not None else []
    told, kind = [*found[:MOST_TOLD]], events.CATALOG_DRIFTED if found else events.CATALOG_AGREED
    if told == known:
        return False
    with transaction.atomic():
        append_event(kind, WATCH, "", {"differences": [*told], "count": len(found)})
    return True
