"""Who keeps appending while the database server dies: one process for each login, until somebody ends it.

Each writes down what it was told is committed, once it was told, in a file of its own: "number entry". A number whose
answer was lost on the way stands there without an entry: it may be in the log or not, but not twice.

python -m tests.kill.writers enforcer | plan | web | hook
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    os.environ["DATABASE_URL"] = os.environ[f"DATABASE_{sys.argv[1].upper()}_URL"]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")
    import django

    django.setup()

import psycopg
from django.db import InterfaceError, OperationalError, connection, transaction

from audit import events
from audit.actions import actor_of, append_event
from audit.models import Principal
from handoffs.actions import record_event
from handoffs.models import Handoff
from handoffs.tasks import ENFORCER
from leoportal.lanes.switching import VISITOR, acting_in
from tests.support.faulty_worker import FOLDER

LANES: Final = ("enforcer", "plan", "web", "hook")
PAUSE_SECONDS: Final = {"hook": 0.02}  # its refusals wait for a sweep, which takes 200 at a time
GONE: Final = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


def told_file(folder: Path, lane: str) -> Path:
    """Where a writer writes down what it was told."""
    return folder / f"told-{lane}"


def handoff_event(name: str) -> int:
    """A row of leo_handoff_tracking and its entry, as each step of the lane writes them."""
    handoff = Handoff.objects.select_related("repository").earliest("pk")
    actor = actor_of(Principal.objects.get(name=ENFORCER))
    with transaction.atomic(durable=True):
        return record_event(handoff, events.HANDOFF_APPLYING, actor, {"append": name}).log_entry_id


def refused_verdict(name: str) -> int:
    with transaction.atomic(durable=True):
        actor = actor_of(Principal.objects.get(name="plan"))
        return append_event(events.VERDICT_REFUSED, actor, "", {"append": name}).pk


def sign_in(name: str) -> int:
    with acting_in(VISITOR), transaction.atomic(durable=True):
        actor = actor_of(Principal.objects.get(name="plan"))
        return append_event(events.SESSION_STARTED, actor, "", {"append": name}).pk


def refused_push(name: str) -> int:
    """What the repositories' hook does; the enforcer's worker puts it into the log. No entry yet: 0."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO leo_push_refusal (repository_path, ref, old, new, code) VALUES (%s, %s, %s, %s, %s)",
            ["crashed.git", f"refs/heads/{name}", "0" * 40, "1" * 40, "ref.not_allowed"],
        )
    return 0


ACTS: Final[dict[str, Callable[[str], int]]] = dict(
    zip(LANES, (handoff_event, refused_verdict, sign_in, refused_push), strict=True)
)


def write(lane: str, folder: Path) -> None:
    """Append, note what came back, go on; when the server is away, wait for it."""
    act, number, left = ACTS[lane], 0, os.getppid()
    file = os.open(told_file(folder, lane), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while os.getppid() == left:
        try:
            told = f"{number} {act(f'{lane}-{number}')}\n"
        except GONE:
            told = f"{number}\n"
            connection.close()
            time.sleep(0.05)
        os.write(file, told.encode())
        number += 1
        time.sleep(PAUSE_SECONDS.get(lane, 0.003))


if __name__ == "__main__":
    write(sys.argv[1], Path(os.environ[FOLDER]).parent)
