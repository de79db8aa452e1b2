"""OpenPGP in process: what is signed verifies, here and with gpg; nothing else does."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pysequoia
import pytest

from handoffs.attestations.dsse import pae
from handoffs.attestations.vsa import VSA_TYPE, Verified, verification_summary
from handoffs.signatures.key_rules import Algorithm
from handoffs.signatures.openpgp import (
    NewKey,
    SignatureError,
    Signer,
    generate_key,
    open_envelope,
    verify_detached,
)

PASSWORD = "a-password-of-the-test-only"
DATA = b"artifact bytes"
NOW = datetime.now(UTC)


@cache
def key(number: int = 1) -> NewKey:
    """A key pair of the run."""
    return generate_key(
        f"Test {number} <test{number}@leoportal.invalid>", password=PASSWORD, algorithm=Algorithm.ED25519
    )


def signer(made: NewKey, *, now: datetime = NOW, password: str = PASSWORD) -> Signer:
    """The private half, opened."""
    return Signer(made.secret, password=password, fingerprint=made.fingerprint, now=now)


def verify(data: bytes, signature: str, made: NewKey) -> None:
    """Verify by that key and no other."""
    verify_detached(data, signature, public_key=made.public_key, fingerprint=made.fingerprint)


def test_a_key_is_valid_for_30_days_and_its_secret_is_encrypted():
    made = key()
    assert made.expires_at - made.created_at == timedelta(days=30)
    assert made.created_at <= datetime.now(UTC) < made.expires_at
    with pytest.raises((RuntimeError, ValueError)):
        pysequoia.Tsk.from_bytes(made.secret)
    assert "PRIVATE" not in made.public_key


def test_what_was_signed_verifies_and_one_changed_byte_does_not():
    signature = signer(key()).sign(DATA)
    verify(DATA, signature, key())
    with pytest.raises(SignatureError):
        verify(DATA + b"!", signature, key())


def test_a_signature_by_another_key_is_refused():
    signature = signer(key(2)).sign(DATA)
    with pytest.raises(SignatureError):
        verify(DATA, signature, key())
    with pytest.raises(SignatureError, match=r"signature\.signer"):
        verify_detached(DATA, signature, public_key=key(2).public_key, fingerprint=key().fingerprint)


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"])
def test_what_is_no_signature_is_refused(text: str):
    with pytest.raises(SignatureError):
        verify(DATA, text, key())


def test_two_signatures_in_one_text_are_refused():
    signature = signer(key()).sign(DATA)
    with pytest.raises(SignatureError, match=r"signature\.count"):
        verify(DATA, signature + signature, key())


def test_an_expired_key_does_not_sign():
    with pytest.raises(SignatureError, match=r"key\.expired"):
        signer(key(), now=key().expires_at)


def test_a_revoked_key_neither_signs_nor_verifies():
    made = key(3)
    secret = pysequoia.Tsk.generate("Revoked <r@leoportal.invalid>", cipher_suite=pysequoia.CipherSuite.Cv25519)
    certificate = secret.extract_certificate()
    signature = pysequoia.sign(secret.signer(), DATA, mode=pysequoia.SignatureMode.DETACHED).decode()
    revocation = certificate.revoke(secret.certifier())
    revoked = pysequoia.Cert.from_bytes(bytes(certificate) + bytes(revocation))
    assert revoked.is_revoked
    with pytest.raises(SignatureError):
        verify_detached(DATA, signature, public_key=str(revoked), fingerprint=revoked.fingerprint.upper())
    assert made.fingerprint != revoked.fingerprint.upper()


def test_the_wrong_password_or_another_keys_fingerprint_opens_nothing():
    with pytest.raises(SignatureError, match=r"key\.password"):
        signer(key(), password="another-password-altogether")
    with pytest.raises(SignatureError, match=r"key\.password"):
        signer(key(), password="short")
    with pytest.raises(SignatureError, match=r"key\.mismatch"):
        signer(replace(key(), fingerprint=key(2).fingerprint))


def verified() -> Verified:
    """Some verified facts."""
    return Verified(
        digest="ab" * 32,
        handoff="H-1",
        merge_base="cd" * 20,
        result_tree="ef" * 20,
        verified_at=datetime(2026, 11, 23, 10, 0, tzinfo=UTC),
        checks=("archive.readable", "patch.applies"),
        verifier_id="https://portal.example",
        policy_digest="12" * 32,
        attestation_digest="34" * 32,
    )


def test_the_statement_is_deterministic_and_its_envelope_opens_only_unchanged():
    statement = verification_summary(verified(), fingerprint=key().fingerprint)
    assert statement == verification_summary(verified(), fingerprint=key().fingerprint)
    raw = signer(key()).envelope(statement)
    opened = open_envelope(raw, public_key=key().public_key, fingerprint=key().fingerprint)
    assert opened == statement
    assert isinstance(opened, dict)
    assert opened["predicateType"] == VSA_TYPE
    document = json.loads(raw)
    for change in (
        {"payloadType": "application/json"},
        {"payload": base64.b64encode(base64.b64decode(document["payload"]).replace(b"PASSED", b"FAILED")).decode()},
        {"signatures": []},
        {"signatures": document["signatures"] * 2},
        {"signatures": [{**document["signatures"][0], "keyid": "00" * 20}]},
    ):
        with pytest.raises(SignatureError):
            open_envelope(
                json.dumps({**document, **change}).encode(),
                public_key=key().public_key,
                fingerprint=key().fingerprint,
            )


def test_the_pae_is_that_of_the_dsse_protocol():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.skipif(
    shutil.which("gpg") is None, reason="no gpg here: the independent check of our signatures is skipped"
)
def test_gpg_verifies_what_we_signed_and_refuses_a_changed_artifact(tmp_path: Path):
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    files = {"key.asc": key().public_key.encode(), "a": DATA, "a.asc": signer(key()).sign(DATA).encode(), "b": b"other"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def gpg(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["gpg", "--homedir", str(home), "--batch", "--status-fd", "1", "--trust-model", "always", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, errors="replace")

    assert gpg("--import", "key.asc").returncode == 0
    good = gpg("--verify", "a.asc", "a")
    assert good.returncode == 0, good.stderr
    assert f"VALIDSIG {key().fingerprint}" in good.stdout or key().fingerprint in good.stdout
    assert "GOODSIG" in good.stdout
    bad = gpg("--verify", "a.asc", "b")
    assert bad.returncode != 0
    assert "BADSIG" in bad.stdout
