"""Sigstore signatures in a pack: judged by a root and a signer that the reader names, and said to be unchecked otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext

from audit.pack_checks import Verification
from audit.pack_findings import Judges, State
from audit.pack_reading import Pack
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.trust_roots import TrustedRoot
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.packs import KEY, whole_pack
from tests.support.sigstore import IDENTITY, STRANGER, root_of, sha256, signed_statement
from verdicts.replaying import Keyring, Sigstore

ARTIFACT = b"artifact"
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact.tar.gz", "digest": {"sha256": sha256(ARTIFACT)}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {},
    }
).encode()


@dataclass(frozen=True)
class Signed:
    """What one signer made under one root: the artifact's bundle and the statement's."""

    artifact: str
    statement: str
    root: TrustedRoot
    issuer: str


@cache
def signed() -> Signed:
    with LoopbackSigstore() as services:
        config = ClientTrustConfig.from_json(json.dumps(services.trust_config()))
        token = IdentityToken(services.token(IDENTITY))
        with SigningContext.from_trust_config(config).signer(token) as signer:
            artifact, statement = signer.sign_artifact(ARTIFACT), signer.sign_dsse(Statement(STATEMENT))
        root = root_of(services.trusted_root())
        return Signed(artifact.to_json(), statement.to_json(), root, token.federated_issuer)


def row(**changed: Any) -> dict[str, Any]:
    return {
        "kind": "bundle", "method": "sigstore", "handoff": 1, "digest": sha256(ARTIFACT), "fingerprint": "",
        "receivedAt": "2026-11-25T12:00:00+00:00", "envelope": "", "signature": "", "identity": "anybody",
        "issuer": "anybody", "artifactBundle": signed().artifact, "statementBundle": signed().statement, **changed,
    }  # fmt: skip


def said(folder: Path, signature: dict[str, Any], identity: str) -> tuple[State, str]:
    whole_pack(folder, signature=signature)
    sigstore = Sigstore(Signer(identity, signed().issuer), signed().root) if identity else None
    keyring = Keyring({}, sigstore)
    judges = Judges(lambda *_: "", lambda *_: "", keyring.check, keyring.check_artifact)
    found = Verification(Pack(folder), [KEY.verifier()], None, judges).run()
    return next((f.state, f.detail) for f in found if f.check.startswith("signatures") and f.detail != "0 hold")


def test_without_a_root_and_a_signer_it_is_said_that_nobody_checked(tmp_path: Path):
    state, detail = said(tmp_path / "pack", row(), "")
    assert (state, detail[:33]) == (State.GAP, "1 by Sigstore were not checked: g")


def test_both_bundles_are_judged_by_the_readers_root_and_signer(tmp_path: Path):
    assert said(tmp_path / "pack", row(), IDENTITY) == (State.OK, "1 hold")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another signer": ({}, STRANGER),
    "another artifact": ({"digest": sha256(b"another")}, IDENTITY),
    "no bundle over the artifact": ({"artifactBundle": "{}"}, IDENTITY),
    "no statement": ({"statementBundle": ""}, IDENTITY),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_hold_under_the_readers_root_fails(tmp_path: Path, wrong: str):
    changed, identity = WRONG[wrong]
    assert said(tmp_path / "pack", row(**changed), identity)[0] is State.FAILED


def test_a_statement_about_another_artifact_fails(tmp_path: Path):
    other = signed_statement(STATEMENT.replace(sha256(ARTIFACT).encode(), sha256(b"another").encode()))
    sigstore = Sigstore(other.signer, other.root)
    assert "another artifact" in sigstore.check_statement(row(statementBundle=other.bundle))
