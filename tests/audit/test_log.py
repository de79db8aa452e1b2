"""The log as it works: sequencer, signer, witness, quorum, epochs, and what happens to whoever rewrites it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client

from audit import covering
from audit.actions import append_event, create_principal
from audit.checkpoint import Checkpoint, Submission, parse_checkpoint
from audit.covering import is_covered, log_state, raise_alarm
from audit.epochs import open_epoch, set_quorum
from audit.events import Actor, AuditError, Role
from audit.fsck import check_log
from audit.leaves import parse_leaf
from audit.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of, verify_inclusion
from audit.models import (
    ErasableText,
    Kind,
    LogCheckpoint,
    LogCosignature,
    LogEntry,
    LogLeaf,
    LogTile,
    Principal,
    TreeHead,
)
from audit.notes import KeyType, Note, SignerKey, parse_note
from audit.sequencing import integrate_log, newest_head, nodes_at, read_tile, refuse_lost
from audit.signer import LogSigner
from audit.tiles import Tile, nodes_from, parse_bundle
from audit.witness import Witness, serve
from audit.witnessing import WitnessError, ask_witness
from leoportal import setup
from leoportal.management.commands.log import Sequencer
from tests.audit.tampering import ACTOR, append, edit, rewrite, superuser, trial, truncate
from tests.support.log import settle_log

ORIGIN = "portal.example/log/1"
OPERATOR = Actor(0, "operator", Role.OPERATOR)


@pytest.fixture
def signer(transactional_db, tmp_path: Path) -> LogSigner:
    return LogSigner(SignerKey.generate(ORIGIN), tmp_path / "signed.json")


def grow(signer: LogSigner, count: int) -> LogCheckpoint:
    append(count)
    settle_log()
    row = signer.sign()
    assert row is not None
    return row


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


@pytest.fixture
def witness(signer: LogSigner, tmp_path: Path) -> Witness:
    logs = {ORIGIN: signer.key.verifier()}
    return Witness(SignerKey.generate("witness.example/w1"), tmp_path / "witness", logs, lambda: 1_800_000_000.0)


def submit(witness: Witness, row: LogCheckpoint, old: int, proof: tuple[bytes, ...] | None = None):
    nodes = nodes_at(newest_head().size)
    proof = consistency_proof(old, row.size, nodes) if proof is None and old <= row.size else proof or ()
    return witness.add_checkpoint(Submission(old, proof, parse_note(bytes(row.note))).raw)


def test_a_witness_signs_what_extends_what_it_signed_and_nothing_else(signer: LogSigner, witness: Witness):
    first, second = grow(signer, 5), grow(signer, 6)
    assert submit(witness, first, 3).status == 409
    answer = submit(witness, first, 0)
    assert answer.status == 200
    key = witness.key.verifier(KeyType.COSIGNATURE)
    note = parse_note(bytes(first.note))
    (seen,) = Note(note.text, parse_note(note.raw + answer.body.encode()).signatures).verify([key])
    assert seen.time == 1_800_000_000
    assert submit(witness, second, 12).status == 400
    answer = submit(witness, second, 0, ())
    assert (answer.status, answer.body, answer.kind) == (409, "5\n", "text/x.tlog.size")
    assert submit(witness, second, 5, (bytes(32),)).status == 422
    assert submit(witness, second, 5).status == 200
    again = Witness(witness.key, witness.folder, witness.logs)
    assert submit(again, first, 5).status == 409
    assert submit(again, second, 11).status == 200
    other = SignerKey.generate(ORIGIN)
    note = parse_note(bytes(second.note))
    forged = Note(note.text, (other.sign(note.text),))
    assert witness.add_checkpoint(Submission(11, (), forged).raw).status == 403
    unknown = note.text.replace(ORIGIN, "elsewhere.example/log")
    assert witness.add_checkpoint(Submission(11, (), Note(unknown, (other.sign(unknown),))).raw).status == 404
    text = note.text.replace(note.text.split("\n")[2], "A" * 43 + "=")
    twin = Note(text, (signer.key.sign(text),))
    assert witness.add_checkpoint(Submission(11, (), twin).raw).status == 409
    assert witness.add_checkpoint(b"old 11\n\nnonsense").status == 400


@pytest.mark.threat("AUD-03")
def test_a_history_rewritten_with_the_logs_own_key_is_refused_by_the_witness(signer: LogSigner, witness: Witness):
    row = grow(signer, 20)
    assert submit(witness, row, 0).status == 200
    server = serve(witness, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, key = f"http://127.0.0.1:{server.server_address[1]}", witness.key.verifier(KeyType.COSIGNATURE)
    try:
        later = grow(signer, 5)
        signature, size = ask_witness(url, key, parse_note(bytes(later.note)), old=0, new=25, nodes=nodes_at)
        assert (signature.name, size) == ("witness.example/w1", 25)
        with transaction.atomic():
            with superuser() as cursor:
                rewrite(cursor, 7)
            head = TreeHead.objects.latest("size")
            checkpoint = Checkpoint(ORIGIN, head.size, bytes(head.root))
            note = Note(checkpoint.text, (signer.key.sign(checkpoint.text),))
            with pytest.raises(WitnessError, match=r"witness\.refused"):
                ask_witness(url, key, note, old=25, new=head.size, nodes=nodes_at)
            transaction.set_rollback(True)
    finally:
        server.shutdown()
        server.server_close()


def test_a_witness_stores_before_it_signs(signer: LogSigner, witness: Witness, monkeypatch):
    row = grow(signer, 2)
    stored: list[int] = []

    def cosign(*_: object) -> None:
        stored.append(Witness(witness.key, witness.folder, witness.logs).known(ORIGIN).size)
        raise OSError

    monkeypatch.setattr(SignerKey, "cosign", cosign)
    with pytest.raises(OSError):
        submit(witness, row, 0)
    assert stored == [2]


def test_only_the_witness_that_was_named_counts(signer: LogSigner, witness: Witness):
    row = grow(signer, 2)
    other = SignerKey.generate(witness.key.name).verifier(KeyType.COSIGNATURE)
    server = serve(witness, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(WitnessError, match="its signature does not hold"):
            ask_witness(url, other, parse_note(bytes(row.note)), old=0, new=2, nodes=nodes_at)
    finally:
        server.shutdown()
        server.server_close()


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
