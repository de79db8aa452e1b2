"""A guard of the database that is taken away stops every process and is in the log; put back, work goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from audit.actions import append_event
from audit.events import Actor, AuditError, Role
from audit.models import LogEntry
from audit.rollback import guard
from audit.tasks import guard_log
from leoportal.lanes.agreeing import make_grants
from leoportal.lanes.watching import catalogue_trouble
from leoportal.stack.postgres import TESTER
from leoportal.tasks import guard_catalogue

AWAY = "ALTER TABLE pr_approval_audit DISABLE TRIGGER append_only_rows"
BACK = "ALTER TABLE pr_approval_audit ENABLE ALWAYS TRIGGER append_only_rows"
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "leoportal.settings",
    "SECRET_KEY": "x" * 50,
    "SIGNING_KEY_PASSWORD": "5f0e9c8b7a6d4e3f2a1b0c9d8e7f6a5b",
}
ACTOR = Actor(0, "operator", Role.OPERATOR)

pytestmark = pytest.mark.threat("AUD-06")


@pytest.fixture
def watching(transactional_db) -> Iterator[None]:
    looks = guard._looks
    guard.watch(catalogue_trouble)
    yield
    guard._looks = looks
    owner(BACK)
    guard.forget()


def owner(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
    guard.forget()


def act() -> LogEntry:
    with transaction.atomic():
        return append_event("export.made", ACTOR, "", {})


def recorded() -> list[tuple[str, Any]]:
    rows = LogEntry.objects.filter(kind__startswith="catalog.").order_by("pk")
    return [(row.kind, row.open()["differences"]) for row in rows]


def test_without_a_guard_nothing_is_done_and_everybody_is_told(watching, client: Client):
    assert act().pk
    owner(AWAY)
    with pytest.raises(AuditError, match=r"catalog\.drift: trigger pr_approval_audit append_only_rows.*leo db lanes"):
        act()
    ready = client.get("/healthz/ready").json()
    assert (ready["status"], ready["log"]) == ("read-only", "catalog.drift")
    assert "The database is not what it was (catalog.drift)" in client.get("/accounts/login/").content.decode()
    assert not guard_log(), "no alarm: that only a new epoch would end"
    owner(BACK)
    assert act().pk
    assert client.get("/healthz/ready").json()["log"] == "ok"


def test_the_log_keeps_when_it_was_seen_and_when_it_was_over(watching):
    assert not guard_catalogue(), "nothing to say"
    owner(AWAY)
    assert guard_catalogue()
    assert not guard_catalogue(), "once"
    owner("GRANT DELETE ON leo_log_entry TO leo_plan")
    assert guard_catalogue(), "there is more"
    make_grants(connection.connection, others=frozenset({TESTER}))
    owner(BACK)
    assert guard_catalogue()
    assert not guard_catalogue()
    kinds, told = zip(*recorded(), strict=True)
    assert kinds == ("catalog.drifted", "catalog.drifted", "catalog.agreed")
    trigger, more = told[0][0], "too much: DELETE on leo_log_entry to leo_plan"
    assert told == ([trigger], [more, trigger], [])


@pytest.mark.parametrize(
    "program",
    [
        "import leoportal.wsgi",
        "import django; django.setup(); from celery.signals import worker_init; worker_init.send(sender=None)",
    ],
    ids=["web", "worker"],
)
def test_every_process_that_acts_looks(program: str):
    asked = f"{program}; from audit.rollback import guard; print(*(look.__name__ for look in guard._looks))"
    done = subprocess.run(
        [sys.executable, "-c", asked], check=False, capture_output=True, text=True, env=os.environ | SETTINGS
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["compare_with_signer", "catalogue_trouble", "look"]
