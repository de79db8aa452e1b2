"""Sigstore signatures of others, judged offline: what holds, and everything that must not."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sigstore.verify import Verifier

from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from handoffs.attestations.statements import read_statement, require_predicate, require_subject, require_summary
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.sigstore_verifying import (
    PRODUCTION_SHA256,
    verify_artifact,
    verify_statement,
)
from tests.support.sigstore import (
    IDENTITY,
    STRANGER,
    payload_of,
    refused,
    sha256,
    signed_artifact,
    signed_statement,
    statement_about,
)

DIGEST = sha256(b"artifact")
STATEMENT = statement_about(DIGEST)
PAYLOAD_TYPES = (
    "application/vnd.in-toto+JSON",
    "Application/vnd.in-toto+json",
    "APPLICATION/VND.IN-TOTO+JSON",
    "application/vnd.in-toto+json;charset=utf-8",
    "application/vnd.in-toto+json; charset=utf-8",
    "application/vnd.in-toto+json;",
    "application/vnd.in-toto+json ",
    " application/vnd.in-toto+json",
    "application/vnd.in-toto+json\n",
    "application/vnd.in-toto+json\t",
    "application/vnd.in-toto",
    "application/vnd.in-toto+jso",
    "application/vnd.in-toto+jsonl",
    "application/vnd.in-toto.v1+json",
    "application/vnd.in-toto.provenance+dsse",
    "application/vnd.in-toto+yaml",
    "application/json",
    "text/json",
    "text/plain",
    "application/octet-stream",
    "vnd.in-toto+json",
    "application/vnd.in\u2010toto+json",
    "application/vnd.in-toto+js\u043en",
    "\ufeffapplication/vnd.in-toto+json",
    "https://in-toto.io/Statement/v1",
)  # fmt: skip


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_signature_by_the_wanted_signer_holds(rekor):
    made = signed_artifact(rekor=rekor)
    found = verify_artifact(DIGEST, made.raw, signer=made.signer, root=made.root)
    assert (found.signer.identity, found.signer.issuer) == (IDENTITY, made.signer.issuer)
    assert found.root_digest == made.root.digest
    stated = signed_statement(STATEMENT, rekor=rekor)
    assert verify_statement(stated.raw, signer=stated.signer, root=stated.root).payload == STATEMENT


@pytest.mark.threat("ATT-04")
def test_a_library_that_does_not_ask_whose_signature_it_is_verifies_nothing(monkeypatch: pytest.MonkeyPatch):
    made = signed_artifact()
    monkeypatch.setattr(Verifier, "verify_artifact", lambda *_: None)
    assert refused(verify_artifact, DIGEST, made.raw, signer=made.signer, root=made.root) == "sigstore.refused"


@pytest.mark.threat("ATT-04")
def test_another_identity_issuer_kind_or_repository_is_refused():
    made = signed_artifact()
    check = partial(verify_artifact, DIGEST, made.raw, root=made.root)
    issuer = made.signer.issuer
    assert refused(check, signer=Signer(STRANGER, issuer)) == "sigstore.identity"
    assert refused(check, signer=Signer(IDENTITY + "/", issuer)) == "sigstore.identity"
    assert refused(check, signer=Signer(IDENTITY.upper(), issuer)) == "sigstore.identity"
    assert refused(check, signer=Signer(".*", issuer)) == "sigstore.identity"
    assert refused(check, signer=Signer("", issuer)) == "sigstore.identity"
    assert refused(check, signer=Signer(IDENTITY, "https://token.actions.githubusercontent.com")) == "sigstore.issuer"
    assert refused(check, signer=Signer(IDENTITY, "")) == "sigstore.issuer"
    assert refused(check, signer=Signer(IDENTITY, issuer, repository="acme/payments")) == "sigstore.repository"
    assert refused(check, signer=Signer(IDENTITY, issuer, repository_id="123")) == "sigstore.repository"
    mail = signed_artifact(identity="ci@acme.example")
    assert verify_artifact(DIGEST, mail.raw, signer=mail.signer, root=mail.root).signer.kind == "email"


@pytest.mark.threat("ATT-08")
def test_every_part_of_a_bundle_is_bound_to_the_artifact():
    made, other = signed_artifact(), signed_artifact(b"other")
    check = partial(verify_artifact, signer=made.signer, root=made.root)
    assert refused(check, sha256(b"other"), made.raw) == "sigstore.digest"
    assert refused(check, DIGEST, other.raw).startswith("sigstore.")
    assert refused(check, DIGEST, made.raw, root=other.root).startswith("sigstore.")
    theirs = json.loads(other.bundle)

    def with_entry_of_the_other(document):
        document["verificationMaterial"]["tlogEntries"] = theirs["verificationMaterial"]["tlogEntries"]

    assert refused(check, DIGEST, made.edited(with_entry_of_the_other)).startswith("sigstore.")
    edits: tuple[tuple[Callable[[dict[str, Any]], object], str], ...] = (
        (lambda d: d["messageSignature"].pop("signature"), "sigstore.malformed"),
        (lambda d: d.update(messageSignature=theirs["messageSignature"]), "sigstore."),
        (lambda d: d["verificationMaterial"].update(tlogEntries=[]), "sigstore.log"),
        (lambda d: d["verificationMaterial"]["tlogEntries"][0].pop("inclusionProof"), "sigstore.log"),
        (lambda d: d["verificationMaterial"]["tlogEntries"][0]["inclusionProof"].pop("checkpoint"), "sigstore.log"),
        (lambda d: d["verificationMaterial"]["tlogEntries"][0].pop("inclusionPromise"), "sigstore.time"),
        (lambda d: d["verificationMaterial"]["tlogEntries"][0].update(integratedTime="1"), "sigstore.time"),
        (lambda d: d["verificationMaterial"].update(publicKey={"hint": "x"}), "sigstore.unsupported"),
        (lambda d: d["verificationMaterial"].update(unknown=1), "sigstore.malformed"),
        (lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"), "sigstore.unsupported"),
        (lambda d: d.update(mediaType=[]), "sigstore.unsupported"),
        (lambda d: d.update(media_type=d["mediaType"]), "sigstore.malformed"),
    )
    for edit, code in edits:
        assert refused(check, DIGEST, made.edited(edit)).startswith(code)


@pytest.mark.threat("ATT-08")
def test_a_statement_is_not_a_signature_over_an_artifact_and_the_other_way_round():
    made, stated = signed_artifact(), signed_statement(STATEMENT)
    check = partial(verify_statement, signer=made.signer, root=made.root)
    assert refused(check, made.raw) == "sigstore.content"
    assert refused(verify_artifact, DIGEST, stated.raw, signer=stated.signer, root=stated.root) == "sigstore.content"


@pytest.mark.threat("ATT-08")
def test_an_envelope_may_be_logged_by_the_digest_that_its_signature_covers():
    covered = pae(PAYLOAD_TYPE, STATEMENT)
    made = signed_statement(STATEMENT, logged=covered)
    check = partial(verify_statement, signer=made.signer, root=made.root)
    assert check(made.raw).payload == STATEMENT
    entry = json.loads(made.bundle)["verificationMaterial"]["tlogEntries"][0]
    assert entry["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.1"}

    def say(payload):
        return lambda d: d["dsseEnvelope"].update(payload=base64.b64encode(payload).decode())

    assert refused(check, made.edited(say(STATEMENT + b" "))) == "sigstore.signature"
    assert refused(check, made.edited(_broken_signature)) == "sigstore.signature"
    assert refused(
        partial(verify_statement, signer=replace(made.signer, identity=STRANGER), root=made.root), made.raw
    ) == ("sigstore.identity")
    other = signed_statement(STATEMENT, logged=covered + b" ")
    assert refused(verify_statement, other.raw, signer=other.signer, root=other.root) == "sigstore.entry"
    typed = signed_statement(STATEMENT, payload_type="text/plain", logged=pae("text/plain", STATEMENT))
    assert refused(verify_statement, typed.raw, signer=typed.signer, root=typed.root) == "sigstore.payload_type"


def _broken_signature(document):
    [signature] = document["dsseEnvelope"]["signatures"]
    raw = bytearray(base64.b64decode(signature["sig"]))
    raw[-1] ^= 1
    signature["sig"] = base64.b64encode(raw).decode()


@pytest.mark.threat("ATT-01")
@pytest.mark.parametrize("payload_type", PAYLOAD_TYPES)
def test_a_validly_signed_envelope_of_another_payload_type_is_refused(payload_type):
    made = signed_statement(STATEMENT, payload_type=payload_type)
    code = refused(verify_statement, made.raw, signer=made.signer, root=made.root)
    assert code == "sigstore.payload_type" if payload_type.isascii() else code == "sigstore.signature"
    relabelled = made.edited(lambda d: d["dsseEnvelope"].update(payloadType=PAYLOAD_TYPE))
    assert refused(verify_statement, relabelled, signer=made.signer, root=made.root) == "sigstore.signature"


@pytest.mark.threat("ATT-01")
def test_an_empty_payload_type_is_refused():
    made = signed_statement(STATEMENT)
    empty = made.edited(lambda d: d["dsseEnvelope"].update(payloadType=""))
    assert refused(verify_statement, empty, signer=made.signer, root=made.root) == "sigstore.malformed"


@pytest.mark.threat("JSN-03")
def test_the_bytes_are_verified_as_received():
    spaced = json.dumps(json.loads(STATEMENT), indent=2).encode()
    made = signed_statement(STATEMENT)
    assert payload_of(made.raw) == STATEMENT
    same_meaning = made.edited(lambda d: d["dsseEnvelope"].update(payload=base64.b64encode(spaced).decode()))
    assert refused(verify_statement, same_meaning, signer=made.signer, root=made.root) == "sigstore.signature"
    kept = signed_statement(spaced)
    assert verify_statement(kept.raw, signer=kept.signer, root=kept.root).payload == spaced


@pytest.mark.threat("JSN-03")
def test_a_payload_in_other_base64_is_refused():
    made = signed_statement(STATEMENT + b" " * (-len(STATEMENT) % 3 + 1))
    text = json.loads(made.bundle)["dsseEnvelope"]["payload"]
    assert text.endswith("IA==")
    same_bytes = text.removesuffix("IA==") + "IB=="
    assert base64.b64decode(same_bytes) == base64.b64decode(text)
    for other in (same_bytes, text + "\n", text.rstrip("=") + "====", text[:40] + " " + text[40:]):
        changed = made.edited(partial(_with_payload, other))
        assert refused(verify_statement, changed, signer=made.signer, root=made.root) == "sigstore.malformed"


def _with_payload(payload: str, document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payload"] = payload


def test_duplicate_keys_are_refused_before_the_library_sees_them():
    made = signed_artifact()
    doubled = made.raw[:-1] + b', "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'
    assert refused(verify_artifact, DIGEST, doubled, signer=made.signer, root=made.root) == "sigstore.json"


@pytest.mark.threat("ATT-07")
def test_a_timestamp_of_something_else_is_refused_also_where_the_log_vouches_for_the_time():
    made, other = signed_artifact(), signed_artifact(rekor=2)
    theirs = json.loads(other.bundle)["verificationMaterial"]["timestampVerificationData"]
    authorities = other.root_document["timestampAuthorities"]
    root = made.root_with(lambda d: d.update(timestampAuthorities=authorities))
    assert verify_artifact(DIGEST, made.raw, signer=made.signer, root=root)
    stamped = made.edited(lambda d: d["verificationMaterial"].update(timestampVerificationData=theirs))
    assert refused(verify_artifact, DIGEST, stamped, signer=made.signer, root=root) == "sigstore.time"


def test_a_certificate_of_an_unknown_authority_is_called_one():
    made, other = signed_artifact(), signed_artifact(rekor=2)

    def swap(document):
        document["certificateAuthorities"] = other.root_document["certificateAuthorities"]

    code = refused(verify_artifact, DIGEST, made.raw, signer=made.signer, root=made.root_with(swap))
    assert code == "sigstore.certificate"


@pytest.mark.threat("ATT-02")
@pytest.mark.parametrize(
    "subject",
    [
        [],
        [{"name": "artifact", "digest": {}}],
        [{"name": "artifact", "digest": {"sha256": ""}}],
        [
            {
                "name": "artifact",
                "digest": {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
            }
        ],
        [{"name": "artifact", "digest": {"sha256": DIGEST[:-1]}}],
        [{"name": "artifact", "digest": {"sha256": DIGEST.upper()}}],
        [{"name": "artifact", "digest": {"sha256": "1" * 64}}],
        [{"name": "artifact", "digest": {"sha1": "1" * 40}}],
        [{"name": "artifact", "digest": {"gitCommit": "1" * 40}}],
        [{"name": "artifact", "digest": {"sha256": DIGEST, "sha512": "1" * 128}}],
        [{"name": "artifact", "digest": {"sha256": DIGEST}}, {"name": "other", "digest": {"sha256": ""}}],
        [{"name": "artifact"}],
    ],
)
def test_a_subject_without_the_true_digest_is_refused(subject):
    with pytest.raises(RefusedError) as found:
        require_subject(read_statement(statement_about(DIGEST, subject=subject)), {"sha256": DIGEST})
    assert found.value.code in {"statement.subject", "statement.malformed"}


def test_one_of_several_subjects_may_be_the_artifact():
    subject = [{"digest": {"sha256": "1" * 64}}, {"name": "mine", "digest": {"sha256": DIGEST}}]
    found = require_subject(read_statement(statement_about(DIGEST, subject=subject)), {"sha256": DIGEST})
    assert found.name == "mine"


@pytest.mark.threat("ATT-09")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "statement.version"),
        ({"_type": "https://in-toto.io/Statement/v1 "}, "statement.version"),
        ({"unknown": 1}, "statement.malformed"),
        ({"predicate": None}, "statement.malformed"),
        ({"predicateType": ""}, "statement.malformed"),
        ({"predicateType": "https://slsa.dev/provenance/v0.2"}, "statement.predicate"),
        (
            {
                "predicateType": "https://slsa.dev/provenance/v0.2",
                "predicate": {"buildDefinition": {"buildType": "x:y", "externalParameters": {}}, "runDetails": {}},
            },
            "statement.predicate",
        ),
    ],
)
def test_other_versions_mixtures_and_unknown_fields_are_refused(changes, code):
    assert refused(read_statement, statement_about(DIGEST, **changes)) == code


def test_a_summary_must_say_passed_and_be_the_wanted_verifiers():
    statement = read_statement(STATEMENT)
    assert require_summary(statement, verifier="https://portal.example") == "https://portal.example"
    assert refused(require_summary, statement, verifier="https://else.example") == "summary.verifier"
    failed = {"verifier": {"id": "x"}, "verificationResult": "FAILED", "resourceUri": "x"}
    assert refused(require_summary, read_statement(statement_about(DIGEST, predicate=failed))) == "summary.result"
    assert refused(require_predicate, statement, ["https://slsa.dev/provenance/v1"]) == "statement.predicate_type"


OFFLINE = """
import json, sys
def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"}:
        raise RuntimeError("network: " + event)
    if event == "open" and isinstance(arguments[0], str) and "sigstore-python" in arguments[0]:
        raise RuntimeError("cache: " + arguments[0])
sys.addaudithook(refuse)
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.sigstore_verifying import production_root, verify_artifact, warm_signatures
from handoffs.signatures.trust_roots import read_trusted_root
work = json.load(sys.stdin)
root = read_trusted_root(work["root"].encode(), source="x")
signer = Signer(work["identity"], work["issuer"])
warm_signatures(root)
warm = set(sys.modules)
print(verify_artifact(work["digest"], work["bundle"].encode(), signer=signer, root=root).signer.identity)
print(production_root().digest, *(set(sys.modules) - warm))
"""


@pytest.mark.threat("ATT-08")
@pytest.mark.threat("ATT-14")
def test_verifying_needs_no_network_no_home_no_cache_and_once_warm_no_further_import(tmp_path: Path):
    made = signed_artifact()
    planted = tmp_path / "cache" / "sigstore-python" / "tuf" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
    planted.mkdir(parents=True)
    (planted / "trusted_root.json").write_text(json.dumps(made.root_document))
    work = {
        "root": json.dumps(made.root_document),
        "identity": IDENTITY,
        "issuer": made.signer.issuer,
        "digest": DIGEST,
        "bundle": made.bundle,
    }
    env = {**os.environ, "HOME": "/nonexistent", "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], input=json.dumps(work).encode(), env=env, capture_output=True, check=False
    )
    assert done.stderr == b""
    assert done.stdout.decode().split() == [IDENTITY, PRODUCTION_SHA256]
