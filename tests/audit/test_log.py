"""The log as it works: sequencer, signer, witness, quorum, epochs, and what happens to whoever rewrites it."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client

from audit import covering
from audit.actions import append_event, create_principal
from audit.checkpoint import parse_checkpoint
from audit.covering import is_covered, log_state, raise_alarm
from audit.epochs import open_epoch, set_quorum
from audit.events import Actor, AuditError, Role
from audit.fsck import check_log
from audit.leaves import parse_leaf
from audit.merkle import inclusion_proof, leaf_hash, root_of, verify_inclusion
from audit.models import (
    ErasableText,
    Kind,
    LogCheckpoint,
    LogCosignature,
    LogEntry,
    LogLeaf,
    LogTile,
    Principal,
)
from audit.notes import SignerKey, parse_note
from audit.sequencing import integrate_log, nodes_at, read_tile, refuse_lost
from audit.signer import LogSigner
from audit.tiles import Tile, nodes_from, parse_bundle, subtree_root
from leoportal import setup
from leoportal.management.commands.log import Sequencer
from tests.audit.growing import ORIGIN, grow
from tests.audit.tampering import ACTOR, append, edit, rewrite, superuser, trial
from tests.support.log import settle_log

OPERATOR = Actor(0, "operator", Role.OPERATOR)


def test_an_entry_is_placed_signed_and_proved(signer: LogSigner):
    row = grow(signer, 300)
    note = parse_note(bytes(row.note))
    note.verify([signer.key.verifier()])
    signed = parse_checkpoint(note.text)
    assert (signed.origin, signed.size) == (ORIGIN, 300)
    node = nodes_at(300)
    assert root_of(300, node) == signed.root
    leaf = LogLeaf.objects.select_related("entry").get(index=271)
    verify_inclusion(bytes(leaf.entry.leaf_hash), 271, 300, inclusion_proof(271, 300, node), signed.root)
    assert LogTile.objects.get().hashes == read_tile(Tile(0, 0))
    assert len(parse_bundle(read_tile(Tile(-1, 1, 44)))) == 44
    assert check_log((signer.key.verifier(),)) == []
    assert is_covered([leaf.entry_id])
    assert signer.sign() is None


@pytest.mark.threat("AUD-07")
def test_the_database_writes_number_time_and_login_whatever_is_claimed(signer: LogSigner):
    with transaction.atomic():
        LogEntry.objects.create(
            kind="x", principal=1, role="PLAN", subject='H-1 "\\\u00e9\x1f', body=b'{}', salt=bytes(16),
            leaf=b"forged", leaf_hash=bytes(32), xid=1, created_at="2001-01-01T00:00:00Z",
        )  # fmt: skip
    entry = LogEntry.objects.get()
    leaf = parse_leaf(bytes(entry.leaf))
    assert (leaf.entry, leaf.at, leaf.subject) == (entry.pk, entry.created_at, 'H-1 "\\\u00e9\x1f')
    assert entry.created_at.year > 2001
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user")
        assert leaf.login == cursor.fetchone()[0]
    settle_log()
    assert check_log() == []


@pytest.mark.threat("AUD-04")
def test_no_leaf_is_skipped_that_commits_late_and_none_counts_that_was_taken_back(signer: LogSigner):
    """The trap: numbers are given before the commit, so a later number may be seen first."""
    go, done = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            append_event("export.made", ACTOR, "", {"late": True})
            go.set()
            done.wait(10)
        connection.close()

    thread = threading.Thread(target=late)
    thread.start()
    go.wait(10)
    append(3)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        append_event("export.made", ACTOR, "", {})
        raise ZeroDivisionError
    assert integrate_log() == 0
    done.set()
    thread.join()
    settle_log()
    assert [leaf.index for leaf in LogLeaf.objects.order_by("index")] == [0, 1, 2, 3]
    assert LogEntry.objects.count() == 4
    assert check_log() == []


def test_tiles_are_the_same_however_many_leaves_come_at_once(signer: LogSigner):
    grow(signer, 100)
    append(700)
    settle_log(batch=600)
    hashes = [bytes(raw) for raw in LogLeaf.objects.order_by("index").values_list("leaf_hash", flat=True)]
    whole = [b"".join(hashes[at : at + 256]) for at in (0, 256, 512)]
    stored = LogTile.objects.order_by("level", "index")
    assert [(bytes(tile.hashes), bytes(tile.root)) for tile in stored] == [(raw, subtree_root(raw)) for raw in whole]


CHECKPOINT = "INSERT INTO leo_log_checkpoint (origin, size, root, note) VALUES ('x', 1, '', '')"
LEAF = "INSERT INTO leo_log_leaf (index, entry_id, leaf_hash) VALUES (9, 1, '')"
REFUSED = {
    "plan": ("DELETE FROM leo_log_entry", LEAF, CHECKPOINT, "INSERT INTO leo_log_alarm (code, detail) VALUES ('', '')"),
    "verifier": ("DELETE FROM leo_log_entry", LEAF, CHECKPOINT),
    "sequencer": ("DELETE FROM leo_log_entry", "UPDATE leo_log_leaf SET index = 9", CHECKPOINT, "TABLE auth_user"),
    "signer": ("DELETE FROM leo_log_checkpoint", LEAF, "INSERT INTO leo_log_head (size) VALUES (9)", "TABLE auth_user"),
}


@pytest.mark.parametrize("login", REFUSED)
def test_no_login_can_lose_a_leaf_and_the_logs_own_add_only_what_is_theirs(signer: LogSigner, address, login: str):
    grow(signer, 3)
    with psycopg.connect(address(login), autocommit=True) as own:
        for statement in REFUSED[login]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)


def test_a_governed_row_whose_entry_was_taken_away_is_an_alarm(signer: LogSigner):
    epoch = set_quorum(0, by=OPERATOR)
    refuse_lost()
    with superuser() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'leo_log_quorum'::regclass AND contype = 'f'"
        )
        name = cursor.fetchone()[0]
        cursor.execute(f"ALTER TABLE leo_log_quorum DROP CONSTRAINT {name}")
        cursor.execute("DELETE FROM leo_log_entry WHERE id = %s", [epoch.log_entry_id])
    try:
        with pytest.raises(AuditError, match=r"log\.leaf_missing"):
            refuse_lost()
        with pytest.raises(AuditError, match=r"log\.leaf_missing"):
            Sequencer()()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE leo_log_quorum DISABLE TRIGGER USER")
            cursor.execute("DELETE FROM leo_log_quorum")
            cursor.execute("ALTER TABLE leo_log_quorum ENABLE ALWAYS TRIGGER append_only_rows")
            cursor.execute(
                f"ALTER TABLE leo_log_quorum ADD CONSTRAINT {name} FOREIGN KEY (log_entry_id)"
                " REFERENCES leo_log_entry (id) DEFERRABLE INITIALLY DEFERRED"
            )
            for table in ("leo_log_entry", "leo_log_leaf", "leo_log_head", "leo_log_tile"):
                for trigger in ("append_only_rows", *(("write_entry",) if table == "leo_log_entry" else ())):
                    cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


# ---- The signer.


# ---- What may be relied on.


@pytest.mark.threat("AUD-05")
def test_nothing_counts_before_a_checkpoint_with_its_quorum_covers_it(signer: LogSigner):
    append(1)
    entry = LogEntry.objects.latest("pk").pk
    assert not is_covered([entry])
    settle_log()
    assert not is_covered([entry])
    row = signer.sign()
    assert row is not None
    assert is_covered([entry])
    assert not is_covered([entry, entry + 1])
    set_quorum(1, by=OPERATOR)
    assert not is_covered([entry])
    LogCosignature.objects.create(checkpoint=row, witness="w", line="x")
    assert is_covered([entry])
    with pytest.raises(IntegrityError), transaction.atomic():
        LogCosignature.objects.create(checkpoint=row, witness="w", line="y")
    set_quorum(2, by=OPERATOR)
    assert not is_covered([entry]), "one witness counts once"
    set_quorum(1, by=OPERATOR)
    newer = LogEntry.objects.latest("pk").pk
    settle_log()
    later = signer.sign()
    assert later is not None
    assert covering.covered_of([entry, newer]) == {entry}, "the newest with its quorum, not the newest"
    LogCosignature.objects.create(checkpoint=later, witness="w", line="x")
    assert covering.covered_of([entry, newer]) == {entry, newer}, "nor the oldest"
    assert raise_alarm("log.rollback", "a test")
    assert not raise_alarm("log.rollback", "once is enough")
    assert not is_covered([entry])
    assert log_state().is_read_only
    assert covering.wait_covered([entry], seconds=5) is False


def test_an_epoch_takes_two_people_quotes_the_last_checkpoint_and_ends_the_alarm(signer: LogSigner):
    grow(signer, 3)
    for name in ("ada", "bob"):
        create_principal(name, kind=Kind.HUMAN, role=Role.PLAN, by=OPERATOR)
    settle_log()
    raise_alarm("log.rollback", "the database was restored")
    args: dict[str, Any] = {
        "reason": "restored from last night's backup",
        "last": b"",
        "name": "portal.example/log",
        "by": OPERATOR,
    }
    for operators in (["ada"], ["ada", "ada"], ["ada", "nobody"], ["ada", "bob", "eve"]):
        with pytest.raises(AuditError, match=r"epoch\.operators"):
            open_epoch(operators, **args)
    with pytest.raises(AuditError, match=r"epoch\.last"):
        open_epoch(["ada", "bob"], **{**args, "last": b"no note"})
    epoch = open_epoch(["ada", "bob"], **args)
    assert epoch.origin == "portal.example/log/2"
    body = LogEntry.objects.get(pk=epoch.log_entry_id).open()
    assert body["operators"] == [*Principal.objects.order_by("pk").values_list("pk", flat=True)]
    assert str(ErasableText.objects.get(digest=body["reason"])) == args["reason"]
    assert body["last_checkpoint"] == bytes(LogCheckpoint.objects.get().note).decode()
    assert not log_state().alarms
    assert not is_covered([epoch.log_entry_id])
    append(2)
    settle_log()
    second = LogSigner(SignerKey(epoch.origin, signer.key.private), signer.path.with_name("second.json"))
    assert second.sign() is not None
    assert is_covered([epoch.log_entry_id])
    assert check_log((signer.key.verifier(), second.key.verifier())) == []


# ---- The witness.


# ---- What outsiders fetch.


def test_checkpoint_and_tiles_are_served_and_entries_only_to_who_sees_the_trail(signer: LogSigner, client: Client):
    assert client.get("/log/checkpoint").status_code == 404
    row = grow(signer, 300)
    append(5)
    settle_log()
    answer = client.get("/log/checkpoint")
    assert answer.content == bytes(row.note)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    size = parse_checkpoint(parse_note(answer.content).text).size

    def fetch(tile: Tile) -> bytes:
        found = client.get(f"/log/{tile.path}")
        assert found.status_code == 200
        return found.content

    assert root_of(size, nodes_from(size, fetch)) == bytes(row.root)
    for path in ("tile/0/001.p/49", "tile/0/002", "tile/1/000", "tile/0/1", "tile/9/000"):
        assert client.get(f"/log/{path}").status_code == 404, path
    assert client.get("/log/tile/entries/000").status_code == 302
    setup.ensure_person("olga", Role.AUDITOR)
    client.force_login(User.objects.get(username="olga"), backend="leoportal.roles.SignInBackend")
    leaves = parse_bundle(client.get("/log/tile/entries/000").content)
    assert [leaf_hash(leaf) for leaf in leaves[:2]] == [fetch(Tile(0, 0))[:32], fetch(Tile(0, 0))[32:64]]
    page = client.get("/audit/").content.decode()
    assert "300 leaves signed" in page
    raise_alarm("log.rollback", "the log has 3 leaves, 300 were signed")
    assert "The log is not what it was (log.rollback)" in client.get("/audit/").content.decode()


def test_before_a_checkpoint_a_rewriting_with_all_hashes_is_not_found_which_is_the_window(signer: LogSigner):
    append(40)
    settle_log()
    assert trial(rewrite, 9, signer, None) == set()
    assert trial(edit, 9, signer, None) != set()
