"""The witness: what it signs, what it refuses, and that it remembers before it signs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import transaction

from audit.checkpoint import Checkpoint, Submission
from audit.merkle import consistency_proof
from audit.models import (
    LogCheckpoint,
    TreeHead,
)
from audit.notes import KeyType, Note, SignerKey, parse_note
from audit.sequencing import newest_head, nodes_at
from audit.signer import LogSigner
from audit.witness import Witness, serve
from audit.witnessing import WitnessError, ask_witness
from tests.audit.growing import ORIGIN, grow
from tests.audit.tampering import rewrite, superuser


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
