"""A database that was set back: the portal itself refuses to act, says so, and goes on in a new epoch only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from audit.actions import append_event, create_principal
from audit.covering import is_covered, open_alarms
from audit.events import Actor, AuditError, Role
from audit.fsck import check_log
from audit.keeping import log_vkeys, signer_from_settings
from audit.models import Kind, LogEntry
from audit.rollback import guard, log_trouble
from audit.tasks import guard_log
from leoportal import setup
from leoportal.setup import OPERATOR
from tests.audit.tampering import append
from tests.support.log import settle_log

ACTOR = Actor(0, "operator", Role.OPERATOR)


def admin(statement: str) -> None:
    """One statement beside the test's database, to which nobody is connected meanwhile."""
    connection.close()
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def set_back(transactional_db, settings, tmp_path: Path) -> Iterator[None]:
    """Ten leaves were signed; then yesterday's copy of the database, with six, takes its place."""
    settings.LOG_KEY_FILE = tmp_path / "log-key" / "log.key"
    for name in ("ada", "bob"):
        create_principal(name, kind=Kind.HUMAN, role=Role.PLAN, by=OPERATOR)
    setup.ensure_person("olga", Role.AUDITOR)
    grow(4)
    before = connection.settings_dict["NAME"]
    older = f"{before}_older"
    admin(f'CREATE DATABASE "{older}" TEMPLATE "{before}"')
    grow(4)
    assert guard.look(is_now=True) is None
    connection.close()
    connection.settings_dict["NAME"] = older
    try:
        guard.forget()
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before
        admin(f'DROP DATABASE "{older}"')
        guard.forget()


def grow(count: int) -> None:
    append(count)
    settle_log()
    assert signer_from_settings().sign() is not None


def act() -> LogEntry:
    with transaction.atomic():
        return append_event("export.made", ACTOR, "", {})


@pytest.mark.threat("AUD-02")
def test_a_database_that_was_set_back_acts_no_more_and_says_so(set_back, client: Client):
    """No signer and no beat runs: the web process alone has to see it."""
    with pytest.raises(AuditError, match=r"log\.rollback"):
        act()
    ready = client.get("/healthz/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["log"]) == (200, "read-only", "log.rollback")
    client.force_login(User.objects.get(username="olga"), backend="leoportal.roles.SignInBackend")
    for path in ("/audit/", "/nowhere/"):
        assert "The database is not what it was (log.rollback)" in client.get(path).content.decode()


@pytest.mark.threat("AUD-02")
def test_the_beat_makes_it_an_alarm_that_the_database_enforces(set_back, monkeypatch):
    assert guard_log()
    assert not guard_log(), "once"
    assert [alarm.code for alarm in open_alarms()] == ["log.rollback"]
    monkeypatch.setattr("audit.actions.refuse_in_trouble", lambda: None)
    with pytest.raises(AuditError, match=r"log\.rollback.*were signed; nothing is done until two operators"):
        act()


@pytest.mark.threat("AUD-02")
def test_after_a_restore_two_operators_open_an_epoch_and_everybody_sees_it(set_back, client: Client):
    guard_log()
    with pytest.raises(CommandError, match=r"epoch\.operators"):
        call_command("log", "epoch", "--operator", "ada", "--reason", "restored last night's backup")
    call_command("log", "epoch", "--operator", "ada", "--operator", "bob", "--reason", "restored last night's backup")
    assert guard.look(is_now=True) is None
    assert log_trouble() is None
    entry = act()
    settle_log()
    assert signer_from_settings().sign() is not None
    assert is_covered([entry.pk])
    assert guard.look(is_now=True) is None
    assert check_log(log_vkeys()) == []
    client.force_login(User.objects.get(username="olga"), backend="leoportal.roles.SignInBackend")
    page = client.get("/audit/").content.decode()
    assert "/log/2" in page
    assert "epoch.opened" in page
    assert "The database is not what it was" not in page


def test_an_epoch_that_a_restore_lost_is_not_opened_twice(set_back):
    django_settings.LOG_KEY_FILE.with_name("log-signed-2.json").write_text("{}")
    assert (found := guard.look(is_now=True)) is not None
    assert found.detail == "the database is in epoch 1, the signer has signed epoch 2"
    call_command("log", "epoch", "--operator", "ada", "--operator", "bob", "--reason", "restored last night's backup")
    assert guard.look(is_now=True) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"note":"x"}'])
def test_a_signers_file_that_cannot_be_relied_on_stops_everything(set_back, raw: bytes):
    django_settings.LOG_KEY_FILE.with_name("log-signed-1.json").write_bytes(raw)
    guard.forget()
    with pytest.raises(AuditError, match=r"log\.signer_file"):
        act()
