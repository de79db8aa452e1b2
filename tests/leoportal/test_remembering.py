"""An act that left no row is missed all the same: by the process that acted, until its entry has a place in the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction
from django.test import Client

from audit.actions import append_event
from audit.events import Actor, AuditError, Role
from audit.models import LogEntry
from audit.remembering import MOST, Memory, memory
from audit.rollback import guard
from leoportal import setup
from leoportal.lanes.matrix import read_matrix
from leoportal.lanes.switching import acting_in
from leoportal.signing_in import record_refusal
from tests.support.log import settle_log

ACTOR = Actor(0, "operator", Role.OPERATOR)
pytestmark = pytest.mark.threat("AUD-04")


@pytest.fixture(autouse=True)
def watching(transactional_db) -> Iterator[None]:
    """This process looks at each act."""
    looks = guard._looks
    memory.forget()
    guard.watch(memory.look)
    yield
    guard._looks = looks
    memory.forget()
    guard.forget()


def act(**body: str) -> LogEntry:
    with transaction.atomic():
        entry = append_event("session.refused", ACTOR, "", {**body})
    guard.forget()
    return entry


def superuser(statement: str, *values: int) -> None:
    """As whoever owns the database, between commit and place."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows")
        cursor.execute(statement, values)
        cursor.execute("ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER append_only_rows")
    guard.forget()


DONE = {
    "taken away": ("DELETE FROM leo_log_entry WHERE id = %s", "log.leaf_missing"),
    "made somebody else's": (
        """UPDATE leo_log_entry SET (principal, leaf, leaf_hash) = (9, told, sha256('\\x00'::bytea || told))
        FROM (SELECT convert_to(replace(convert_from(leaf, 'UTF8'), '"principal":0', '"principal":9'), 'UTF8') AS told
              FROM leo_log_entry WHERE id = %s) AS other""",
        "log.leaf_changed",
    ),
}


@pytest.mark.parametrize("what", DONE)
def test_an_entry_without_a_row_is_missed_by_who_wrote_it(client: Client, what: str):
    statement, code = DONE[what]
    entry = act()
    superuser(statement, entry.pk)
    with pytest.raises(AuditError, match=rf"{code}: entry {entry.pk} .*new epoch"):
        act()
    ready = client.get("/healthz/ready").json()
    assert (ready["status"], ready["log"]) == ("read-only", code)


def test_a_refused_sign_in_that_vanished_is_missed():
    setup.ensure_person("olga", Role.AUDITOR)
    settle_log()
    record_refusal(credentials={"username": "olga"})
    (entry,) = LogEntry.objects.filter(kind="session.refused")
    superuser("DELETE FROM leo_log_entry WHERE id = %s", entry.pk)
    with pytest.raises(AuditError, match=r"log\.leaf_missing"):
        act()


def rolled_back() -> None:
    with transaction.atomic():
        append_event("session.refused", ACTOR, "", {})
        transaction.set_rollback(True)


def half_rolled_back() -> None:
    with transaction.atomic():
        with transaction.atomic():
            append_event("session.refused", ACTOR, "", {})
            transaction.set_rollback(True)
        append_event("session.refused", ACTOR, "", {})


@pytest.mark.parametrize("work", [rolled_back, half_rolled_back, act])
def test_what_was_taken_back_or_is_there_is_no_trouble(work: Callable[[], object]):
    work()
    assert guard.look(is_now=True) is None
    settle_log()
    assert guard.look(is_now=True) is None


def test_what_has_its_place_is_not_asked_for_again(django_assert_num_queries):
    act()
    settle_log()
    assert memory.look() is None
    with django_assert_num_queries(1):  # which epoch it is
        assert memory.look() is None


def test_after_a_restore_nothing_older_is_expected(monkeypatch):
    entry = act()
    assert memory.look() is None
    superuser("DELETE FROM leo_log_entry WHERE id = %s", entry.pk)
    assert memory.look() is not None
    monkeypatch.setattr("audit.remembering.epoch_number", lambda: 2)
    assert memory.look() is None


def test_a_process_remembers_the_newest():
    mine = Memory()
    for number in range(MOST + 5):
        mine._add(number, ("", 0, "", "", ""))
    assert (min(mine._said), len(mine._said)) == (5, MOST)


def test_every_lane_that_acts_may_look():
    matrix = read_matrix()
    act()
    lanes = [lane for lane, role in matrix.roles.items() if role.name in writers(matrix)]
    assert len(lanes) > 8
    for lane in lanes:
        with transaction.atomic(), acting_in(lane):
            assert memory.look() is None


def writers(matrix) -> set[str]:
    return {grant.role for grant in matrix.tables["leo_log_entry"].grants if grant.privilege == "INSERT"}
