"""The log's signer: what it refuses to sign, and that it remembers what it signed before anybody sees it."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection

from audit.events import AuditError
from audit.models import (
    LogCheckpoint,
)
from audit.signer import LogSigner
from tests.audit.growing import grow
from tests.audit.tampering import append, superuser, trial, truncate
from tests.support.log import settle_log


@pytest.mark.threat("AUD-02")
def test_a_log_that_was_cut_or_set_back_is_not_signed(signer: LogSigner):
    grow(signer, 20)
    found = trial(truncate, 5, signer, None)
    assert "signer log.rollback" in found


@pytest.mark.threat("AUD-01")
def test_a_head_that_is_not_the_root_of_its_leaves_is_not_signed(signer: LogSigner):
    grow(signer, 3)
    append(2)
    settle_log()
    with superuser() as cursor:
        cursor.execute("UPDATE leo_log_head SET root = sha256(root) WHERE size = 5")
        for table in ("leo_log_entry", "leo_log_leaf", "leo_log_head", "leo_log_tile"):
            cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows")
        for trigger in ("write_entry",):
            cursor.execute(f"ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER {trigger}")
    with pytest.raises(AuditError, match=r"log\.false_root"):
        signer.sign()
    assert LogCheckpoint.objects.latest("pk").size == 3


def test_what_is_signed_is_in_the_signers_file_before_anybody_sees_it(signer: LogSigner, monkeypatch):
    append(1)
    settle_log()
    monkeypatch.setattr(LogSigner, "_publish", lambda *_: pytest.fail("shown") if signer.path.exists() else None)
    with pytest.raises(pytest.fail.Exception):
        signer.sign()
    assert signer.read().tree.size == 1


def test_a_signer_without_its_memory_signs_nothing(signer: LogSigner):
    grow(signer, 3)
    signer.path.unlink()
    append(1)
    settle_log()
    with pytest.raises(AuditError, match=r"signer\.state"):
        LogSigner(signer.key, signer.path).sign()
    signer.path.write_bytes(b"{}")
    with pytest.raises(AuditError, match=r"signer\.state"):
        LogSigner(signer.key, signer.path).sign()


def test_a_checkpoint_that_the_database_was_away_for_is_shown_although_nothing_comes_after_it(signer, monkeypatch):
    append(3)
    settle_log()
    with monkeypatch.context() as away, pytest.raises(OperationalError):
        away.setattr(LogCheckpoint.objects, "get_or_create", Mock(side_effect=OperationalError))
        signer.sign()
    signed = signer.path.read_bytes()
    signer.sign()
    assert LogCheckpoint.objects.get().size == 3
    assert signer.path.read_bytes() == signed


def test_a_signer_that_died_before_it_showed_its_checkpoint_shows_that_very_one(signer: LogSigner):
    row = grow(signer, 3)
    note = bytes(row.note)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE leo_log_checkpoint DISABLE TRIGGER append_only_rows")
        cursor.execute("DELETE FROM leo_log_checkpoint")
        cursor.execute("ALTER TABLE leo_log_checkpoint ENABLE ALWAYS TRIGGER append_only_rows")
    assert LogSigner(signer.key, signer.path).sign() is None
    assert bytes(LogCheckpoint.objects.get().note) == note
