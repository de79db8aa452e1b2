"""Signed notes and checkpoints: the vectors of Go's note package, openssl as a second opinion, and broken forms."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, Submission, parse_checkpoint, parse_hash, parse_submission
from audit.merkle import EMPTY_ROOT
from audit.notes import KeyType, Note, NoteError, SignerKey, VerifierKey, cosigned_message, parse_note, parse_vkey

# Published with golang.org/x/mod/sumdb/note: keys, text and signatures of its example.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETERS_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of C2SP tlog-cosignature and tlog-witness.
COSIGNED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""
LOG = SignerKey.generate("leo.example/audit/1")
WITNESS = SignerKey.generate("witness.example/w1")


def test_the_published_key_signs_and_verifies_the_published_note():
    key = SignerKey.parse(PETERS_KEY)
    assert key.line == PETERS_KEY
    assert key.verifier().vkey == PETER
    note = Note(TEXT, (key.sign(TEXT),))
    assert note.raw.decode() == f"{TEXT}\n{PETERS_LINE}"
    (verified,) = parse_note(note.raw).verify([parse_vkey(PETER)])
    assert (verified.signature.name, verified.time) == ("PeterNeumann", None)


def test_the_published_checkpoint_is_read():
    note = parse_note(COSIGNED.encode())
    assert note.raw.decode() == COSIGNED
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text
    assert int.from_bytes(note.signatures[1].raw[:8]) == 1679315147
    assert cosigned_message(note.text, 1679315147).startswith("cosignature/v1\ntime 1679315147\nexample.com/")


def test_a_cosignature_says_when_and_is_no_plain_signature():
    text = Checkpoint(LOG.name, 3, bytes(32)).text
    note = Note(text, (LOG.sign(text), WITNESS.cosign(text, 1_800_000_000)))
    keys = [LOG.verifier(), WITNESS.verifier(KeyType.COSIGNATURE)]
    assert [found.time for found in parse_note(note.raw).verify(keys)] == [None, 1_800_000_000]
    with pytest.raises(NoteError, match=r"note\.unsigned"):
        note.verify([WITNESS.verifier()])
    later = WITNESS.cosign(text, 1_800_000_000)
    moved = Note(text, (type(later)(later.name, later.key_id, (1_800_000_001).to_bytes(8) + later.raw[8:]),))
    with pytest.raises(NoteError, match=r"note\.signature"):
        moved.verify([WITNESS.verifier(KeyType.COSIGNATURE)])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_agrees(tmp_path: Path):
    text = Checkpoint(LOG.name, 5, bytes(32)).text
    plain, cosigned = LOG.sign(text).raw, LOG.cosign(text, 1_800_000_000).raw[8:]
    der = bytes.fromhex("302a300506032b6570032100") + LOG.verifier().public
    (tmp_path / "key.pem").write_bytes(
        b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    )
    for message, signature, holds in (
        (text, plain, True),
        (cosigned_message(text, 1_800_000_000), cosigned, True),
        (text, cosigned, False),
    ):
        (tmp_path / "message").write_text(message)
        (tmp_path / "signature").write_bytes(signature)
        argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "message"]
        done = subprocess.run([*argv, "-sigfile", "signature"], cwd=tmp_path, check=False, capture_output=True)
        assert (done.returncode == 0) is holds, done.stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"\n3\n", b"\n4\n"),
        lambda raw: raw.replace("— leo".encode(), "— lea".encode()),
        lambda raw: raw[:-20] + b"A" + raw[-19:],
        lambda raw: raw.replace(b"\n\n", b"\nextension\n\n"),
    ],
)
def test_a_changed_note_is_refused(change):
    text = Checkpoint(LOG.name, 3, bytes(32)).text
    raw = Note(text, (LOG.sign(text),)).raw
    assert change(raw) != raw
    with pytest.raises(NoteError):
        parse_note(change(raw)).verify([LOG.verifier()])


def test_another_key_with_the_same_name_signs_nothing():
    text = Checkpoint(LOG.name, 3, bytes(32)).text
    note = Note(text, (SignerKey.generate(LOG.name).sign(text),))
    with pytest.raises(NoteError, match=r"note\.unsigned"):
        note.verify([LOG.verifier()])


def test_a_bad_signature_of_a_known_key_spoils_the_note_beside_a_good_one():
    text = Checkpoint(LOG.name, 3, bytes(32)).text
    other = WITNESS.sign("something else\n")
    with pytest.raises(NoteError, match=r"note\.signature"):
        Note(text, (LOG.sign(text), other)).verify([LOG.verifier(), WITNESS.verifier()])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"\n\n" + PETERS_LINE.encode(),
        TEXT.encode() + b"\n" + PETERS_LINE.encode().rstrip(),
        TEXT.encode() + b"\n" + PETERS_LINE.encode() + b"and more\n",
        TEXT.encode() + b"\n" + PETERS_LINE.encode().replace(b"=", b""),
        TEXT.encode() + b"\n" + PETERS_LINE.encode().replace("— ".encode(), b"- "),
        TEXT.encode() + "\n— a b AAAAAAA=\n".encode(),
        TEXT.encode() + "\n— a AAAA\n".encode(),
        TEXT.encode() + b"\r\n\n" + PETERS_LINE.encode(),
        b"\xff\n\n" + PETERS_LINE.encode(),
        TEXT.encode() + b"\n" + PETERS_LINE.encode() * 65,
        b"a" * 70_000 + b"\n\n" + PETERS_LINE.encode(),
    ],
)
def test_what_is_no_note_is_refused(raw: bytes):
    with pytest.raises(NoteError):
        parse_note(raw)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "PeterNeumann",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("+ARpc", "+AhRpc"),
        PETER[:-4],
        PETER.replace("Peter", "Peter "),
        PETER.replace("PeterNeumann", ""),
    ],
)
def test_what_is_no_key_is_refused(line: str):
    with pytest.raises(NoteError):
        parse_vkey(line)


def test_a_private_key_is_never_quoted():
    for line in (PETERS_KEY.replace("c74f20a3", "c74f20a4"), PETERS_KEY[12:], "PRIVATE+KEY+a+b", PETERS_KEY[:-4]):
        with pytest.raises(NoteError) as caught:
            SignerKey.parse(line)
        assert "AYEKFALVFGy" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        f"a\n01\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"a\n1\n{base64.b64encode(bytes(32)).decode()}",
        f"a\n1\n{base64.b64encode(bytes(32)).decode()}\n\nx\n",
        f"\n1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n0\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n99999999999999999999\n{base64.b64encode(bytes(32)).decode()}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str):
    with pytest.raises(NoteError):
        parse_checkpoint(text)


def test_base64_has_one_form():
    good = base64.b64encode(bytes(31) + b"\x01").decode()
    assert parse_hash(good)[-1] == 1
    with pytest.raises(NoteError):
        parse_hash(good[:-2] + "F=")


def test_a_submission_is_what_was_sent():
    text = Checkpoint(LOG.name, 9, bytes(32)).text
    sent = Submission(4, (bytes(32), EMPTY_ROOT), Note(text, (LOG.sign(text),)))
    assert parse_submission(sent.raw) == sent
    for old in (b"old 4\n", b"old 04\n", b"new 4\n", b"old -4\n"):
        changed = sent.raw.replace(b"old 4\n", old)
        if changed != sent.raw:
            with pytest.raises(NoteError):
                parse_submission(changed)
    with pytest.raises(NoteError, match="at most 63"):
        parse_submission(Submission(4, (bytes(32),) * 64, sent.note).raw)


def test_a_name_has_no_space_and_no_plus():
    for name in ("", "a b", "a+b", "a\u2003b", "a\nb"):
        with pytest.raises(NoteError):
            VerifierKey(name, KeyType.ED25519, bytes(32))
