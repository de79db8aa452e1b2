"""The detached OpenPGP signature over artifact.tar.gz in a pack: by the key and window in it, when the portal received it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from audit import standalone_verifier
from audit.pack_checks import Verification
from audit.pack_findings import Finding, Judges, State
from audit.pack_reading import Pack, parse_object
from handoffs.signatures.key_rules import Algorithm
from handoffs.signatures.openpgp import NewKey, Signer, generate_key
from tests.support.packs import KEY, whole_pack
from tests.support.sigstore import sha256
from verdicts.replaying import Keyring

ARTIFACT, OTHER = b"the bundle", b"another bundle"
NAME = f"artifact-{sha256(ARTIFACT)}.tar.gz"
PASSWORD = "a password of tests only"


@dataclass(frozen=True)
class Signed:
    """A key, another one, and what they signed."""

    key: NewKey
    stranger: NewKey
    over_artifact: str
    over_other: str
    by_stranger: str
    at: datetime


@cache
def signed() -> Signed:
    key, stranger = (
        generate_key(f"{name} <{name}@example.org>", password=PASSWORD, algorithm=Algorithm.ED25519)
        for name in ("a", "b")
    )
    at = datetime.now(UTC)
    mine, theirs = (Signer(k.secret, password=PASSWORD, fingerprint=k.fingerprint, now=at) for k in (key, stranger))
    return Signed(key, stranger, mine.sign(ARTIFACT), mine.sign(OTHER), theirs.sign(ARTIFACT), at)


def row(**changed: Any) -> dict[str, Any]:
    return {
        "kind": "bundle", "method": "openpgp", "handoff": 1, "digest": sha256(ARTIFACT), "envelope": "",
        "fingerprint": signed().key.fingerprint, "receivedAt": signed().at.isoformat(), "signature": signed().over_artifact,
        **changed,
    }  # fmt: skip


def published(**changed: Any) -> dict[str, Any]:
    keys = [
        {
            "fingerprint": key.fingerprint, "publicKey": key.public_key, "createdAt": key.created_at.isoformat(),
            "expiresAt": key.expires_at.isoformat(), **changed,
        } for key in (signed().key, signed().stranger)
    ]  # fmt: skip
    return {"keys": keys}


def made(folder: Path, signature: dict[str, Any], *, files: dict[str, bytes] | None = None, **changed: Any) -> Path:
    files = {NAME: ARTIFACT} if files is None else files
    whole_pack(folder, signature=signature, signing=published(**changed), files=files)
    return folder


def artifacts(folder: Path, given: dict[str, Path] | None = None) -> list[Finding]:
    pack = Pack(folder)
    keyring = Keyring.of({"signing": published_in(pack)})
    judges = Judges(lambda *_: "", lambda *_: "", lambda *_: "", keyring.check_artifact)
    found = Verification(pack, [KEY.verifier()], None, judges, artifacts=given or {}).run()
    assert not [f for f in found if f.state is State.FAILED and f.check not in {"artifacts", "keys", "signers"}]
    return [f for f in found if f.check == "artifacts"]


def published_in(pack: Pack) -> Any:
    return parse_object(pack.read("keys.json"), "keys.json")["signing"]


def by_the_file(folder: Path) -> int:
    return standalone_verifier.main([str(folder), "--key", KEY.verifier().vkey])


def test_a_detached_signature_over_the_artifact_in_the_pack_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (found,) = artifacts(made(tmp_path / "pack", row()))
    assert (found.state, found.detail) == (State.OK, "1 detached signatures hold")
    assert by_the_file(tmp_path / "pack") == 0
    assert "no OpenPGP and no Sigstore signature is checked here" in capsys.readouterr().out


def test_an_artifact_that_is_not_in_the_pack_is_given_or_it_is_said_that_nobody_checked(tmp_path: Path):
    folder = made(tmp_path / "pack", row(), files={})
    assert [(f.state, f.detail[:46]) for f in artifacts(folder)] == [
        (State.GAP, "1 over artifact.tar.gz were not checked: the a"), (State.OK, "0 detached signatures hold"),
    ]  # fmt: skip
    (tmp_path / "mine").write_bytes(ARTIFACT)
    (found,) = artifacts(folder, {sha256(ARTIFACT): tmp_path / "mine"})
    assert (found.state, found.detail) == (State.OK, "1 detached signatures hold")
    (tmp_path / "mine").write_bytes(OTHER)
    (found,) = artifacts(folder, {sha256(ARTIFACT): tmp_path / "mine"})
    assert (found.state, "another one" in found.detail) == (State.FAILED, True)


NOW, LATER = "now", "later"
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "over another artifact": ({"signature": "over_other"}, {}, "signature.bad"),
    "by another key": ({"signature": "by_stranger"}, {}, "signature."),
    "by a key that is not in the pack": ({"fingerprint": "0" * 40}, {}, "is not in keys.json"),
    "by the other key's name": ({"fingerprint": "stranger"}, {}, "signature."),
    "no signature": ({"signature": ""}, {}, "got 0 armoured"),
    "two signatures": ({"signature": "twice"}, {}, "got 2 armoured"),
    "received at another time than it says": ({"receivedAt": LATER}, {}, "time.untrusted"),
    "received before the key was made": ({}, {"createdAt": LATER}, "it was made later"),
    "received after the key expired": ({}, {"expiresAt": NOW}, "it had expired or retired"),
    "received after the key retired": ({}, {"retiredAt": NOW}, "it had expired or retired"),
    "a time without a zone": ({"receivedAt": "2026-11-26T02:00:00"}, {}, "with its zone"),
    "a key without a window": ({}, {"expiresAt": None}, "nobody says when"),
}  # fmt: skip


@pytest.mark.threat("ATT-07")
@pytest.mark.parametrize("name", WRONG)
def test_a_detached_signature_that_does_not_hold_is_named(tmp_path: Path, name: str):
    changed, key, wrong = WRONG[name]
    known = signed()
    words = {
        "over_other": known.over_other, "by_stranger": known.by_stranger, "stranger": known.stranger.fingerprint,
        "twice": known.over_artifact * 2, NOW: known.at.isoformat(), LATER: (known.at + timedelta(minutes=6)).isoformat(),
    }  # fmt: skip
    given, window = ({name: words.get(value, value) for name, value in part.items()} for part in (changed, key))
    (found,) = artifacts(made(tmp_path / "pack", row(**given), **window))
    assert found.state is State.FAILED
    assert found.detail.startswith("signatures.jsonl line 1: ")
    assert wrong in found.detail


@pytest.mark.parametrize(
    "files",
    [
        {f"artifact-{'0' * 64}.tar.gz": ARTIFACT},
        {NAME: OTHER},
        {f"artifact-{sha256(OTHER)}.tar.gz": OTHER, NAME: ARTIFACT},
    ],
    ids=["another name", "other bytes", "nobody signed it"],
)
def test_a_file_is_the_artifact_that_was_signed_by_both_verifiers(
    tmp_path: Path, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
):
    folder = made(tmp_path / "pack", row(), files=files)
    (found,) = artifacts(folder)
    assert found.state is State.FAILED
    assert found.detail.startswith("artifact-")
    assert by_the_file(folder) == 5
    assert "FAILED  artifacts              artifact-" in capsys.readouterr().out
