"""A Sigstore bundle with other bytes: never accepted as something else, never a crash, each text in one spelling."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import (
    verify_artifact,
)
from tests.support.sigstore import (
    refused,
    sha256,
    signed_artifact,
)

DIGEST = sha256(b"artifact")


def respelt(text: str) -> str:
    """The same bytes in base64 whose last, unread bits are others; for 32 bytes or a length of 1 modulo 3."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    end = len(text.rstrip("=")) - 1
    other = text[:end] + alphabet[alphabet.index(text[end]) ^ 1] + text[end + 1 :]
    assert base64.b64decode(other) == base64.b64decode(text)
    return other


@pytest.mark.threat("ATT-08")
@pytest.mark.parametrize("part", ["hashes", "rootHash", "keyId", "inclusionPromise"])
def test_what_a_second_spelling_of_the_same_bytes_would_hide_is_refused(part: str):
    made = signed_artifact()

    def respell(document):
        entry = document["verificationMaterial"]["tlogEntries"][0]
        match part:
            case "hashes":
                entry["inclusionProof"]["hashes"][0] = respelt(entry["inclusionProof"]["hashes"][0])
            case "rootHash":
                entry["inclusionProof"]["rootHash"] = respelt(entry["inclusionProof"]["rootHash"])
            case "keyId":
                entry["logId"]["keyId"] = respelt(entry["logId"]["keyId"])
            case _:
                entry["inclusionPromise"]["signedEntryTimestamp"] += "===="

    found = refused(verify_artifact, DIGEST, made.edited(respell), signer=made.signer, root=made.root)
    assert found == "sigstore.malformed"


@pytest.mark.threat("ATT-08")
@pytest.mark.parametrize("name", ["logIndex", "treeSize"])
@pytest.mark.parametrize("number", ["=", "", "-1", "01", "1e3", "\u0661", "9" * 30])
def test_a_number_of_a_proof_is_a_number(name: str, number: str):
    made = signed_artifact()
    raw = made.edited(lambda d: d["verificationMaterial"]["tlogEntries"][0]["inclusionProof"].update({name: number}))
    assert refused(verify_artifact, DIGEST, raw, signer=made.signer, root=made.root) == "sigstore.malformed"


def test_a_message_digest_by_another_algorithm_cannot_be_judged():
    made = signed_artifact()
    raw = made.edited(lambda d: d["messageSignature"]["messageDigest"].update(algorithm="SHA3_256"))
    assert refused(verify_artifact, DIGEST, raw, signer=made.signer, root=made.root) == "sigstore.unsupported"


def test_a_key_of_another_kind_cannot_be_judged():
    made, key = signed_artifact(), ed25519.Ed25519PrivateKey.generate()
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(days=1), now + timedelta(days=1))
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= dict.fromkeys(("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    builder = builder.add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    der = builder.sign(key, None).public_bytes(serialization.Encoding.DER)
    raw = made.edited(partial(replace_certificate, raw_bytes=base64.b64encode(der).decode()))
    assert refused(verify_artifact, DIGEST, raw, signer=made.signer, root=made.root) == "sigstore.unsupported"


def replace_certificate(document: dict[str, Any], *, raw_bytes: str) -> None:
    document["verificationMaterial"]["certificate"]["rawBytes"] = raw_bytes


@pytest.mark.threat("ATT-08")
def test_a_certificate_is_read_to_its_end_before_anything_is_judged_by_it():
    made = signed_artifact()
    der = base64.b64decode(json.loads(made.bundle)["verificationMaterial"]["certificate"]["rawBytes"])
    codes = set()
    for at in range(len(der)):
        broken = base64.b64encode(der[:at] + bytes([der[at] ^ 0x20]) + der[at + 1 :]).decode()
        raw = made.edited(partial(replace_certificate, raw_bytes=broken))
        codes.add(refused(verify_artifact, DIGEST, raw, signer=made.signer, root=made.root))
    assert {"sigstore.malformed", "sigstore.certificate"} <= codes


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_mutation_is_accepted_and_none_crashes(data):
    made = signed_artifact()
    raw = bytearray(made.raw)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        verify_artifact(DIGEST, bytes(raw), signer=made.signer, root=made.root)
    except RefusedError:
        return
    assert _bound_parts(bytes(raw)) == _bound_parts(made.raw)


def _bound_parts(raw: bytes) -> list[object]:
    """What a signature covers; the outer log index and the last bytes of a log's id are nobody's word."""
    document = json.loads(raw)
    entry = document["verificationMaterial"]["tlogEntries"][0]
    proof = entry["inclusionProof"]
    certificate = document["verificationMaterial"]["certificate"]
    return [document["messageSignature"], certificate, entry["canonicalizedBody"], proof["hashes"], proof["rootHash"]]
