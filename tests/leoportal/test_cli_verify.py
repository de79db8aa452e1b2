"""`leo verify`, as somebody types it: what holds, what is refused with which code and exit status, and offline."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pysequoia
import pytest
from typer.testing import CliRunner

from audit.canonical import JsonValue
from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from leoportal.cli import app
from leoportal.cli_output import say_json
from tests.support.bundles import honest_handover
from tests.support.sigstore import (
    IDENTITY,
    STRANGER,
    Signed,
    sha256,
    signed_artifact,
    signed_statement,
    statement_about,
)
from verdicts.policy_document import default_policy_yaml

MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'
IMAGE_DIGEST = hashlib.sha256(MANIFEST).hexdigest()
IMAGE = f"registry.acme.example:5000/payments/api@sha256:{IMAGE_DIGEST}"
PROVENANCE: dict[str, Any] = {
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {"buildType": "https://acme.example/build", "externalParameters": {"ref": "main"}},
        "runDetails": {"builder": {"id": "https://acme.example/builder"}},
    },
}


@dataclass
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return dict(json.loads(self.out))


def leo(*arguments: object) -> Answer:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Answer(done.exit_code, done.stdout, done.stderr)


def laid_out(folder: Path, made: Signed, name: str = "signed.sigstore.json") -> list[object]:
    """The bundle and its root as files, and the options of whoever signed."""
    (folder / name).write_text(made.bundle)
    root = folder / f"{name}.root.json"
    root.write_text(json.dumps(made.root_document))
    return ["--identity", made.signer.identity, "--issuer", made.signer.issuer, "--trusted-root", root]


def cosign_statement(digest: str = IMAGE_DIGEST) -> bytes:
    subject = [{"digest": {"sha256": digest}}]
    return statement_about(digest, subject=subject, predicateType="https://sigstore.dev/cosign/sign/v1", predicate={})


@pytest.mark.parametrize("kind", ["message", "statement"])
def test_an_image_is_verified_by_its_digest(tmp_path: Path, kind: str):
    made = signed_artifact(MANIFEST) if kind == "message" else signed_statement(cosign_statement())
    options = laid_out(tmp_path, made)
    found = leo("image", IMAGE, "--bundle", tmp_path / "signed.sigstore.json", *options, "--json")
    assert found.status == 0, found.err
    assert found.json["verified"] is True
    assert found.json["signature"]["identity"] == IDENTITY
    assert found.json["trusted_root"]["sha256"] == made.root.digest
    assert any("attestation" in note for note in found.json["notes"])


def test_an_images_attestation_is_about_the_same_digest(tmp_path: Path):
    """Both signatures and the root are of one Sigstore, as in life."""
    attested = signed_statement(statement_about(IMAGE_DIGEST, **PROVENANCE))
    options = laid_out(tmp_path, attested)
    found = leo("attestation", tmp_path / "signed.sigstore.json", "--digest", f"sha256:{IMAGE_DIGEST}", *options)
    assert found.status == 0, found.err
    assert "VERIFIED" in found.out
    other = leo("attestation", tmp_path / "signed.sigstore.json", "--digest", f"sha256:{'1' * 64}", *options)
    assert (other.status, "statement.subject" in other.err) == (5, True)


@pytest.mark.parametrize(("said", "status"), [("separated", 0), ("single_operator", 0), ("three_persons", 5)])
def test_a_portals_attestation_tells_who_stands_behind_its_lanes(tmp_path: Path, key: Key, said: str, status: int):
    predicate = {"leoportal_assurance": said}
    statement = statement_about(IMAGE_DIGEST, predicateType="https://acme.example/verdict/v1", predicate=predicate)
    (tmp_path / "v.dsse").write_text(envelope(key, statement))
    asked = ["attestation", tmp_path / "v.dsse", "--digest", f"sha256:{IMAGE_DIGEST}", *key.options]
    found = leo(*asked, "--predicate-type", "https://acme.example/verdict/v1", "--json")
    assert found.status == status, found.err
    assert found.json["assurance"] == {"assurance": said} if status == 0 else found.json["code"] == "summary.assurance"


@pytest.mark.parametrize(
    "image",
    [
        "registry.acme.example/payments/api",
        "registry.acme.example/payments/api:1.2",
        "registry.acme.example/payments/api:latest",
        f"registry.acme.example/payments/api@sha1:{'1' * 40}",
        f"registry.acme.example/payments/api@sha256:{'1' * 63}",
        f"registry.acme.example/payments/api@sha256:{'A' * 64}",
        f"registry.acme.example/payments/api@sha256:{'1' * 64}\n",
        f"@sha256:{'1' * 64}",
    ],
)
def test_a_tag_or_half_a_digest_is_wrong_usage(tmp_path: Path, image: str):
    options = laid_out(tmp_path, signed_artifact(MANIFEST))
    found = leo("image", image, "--bundle", tmp_path / "signed.sigstore.json", *options)
    assert (found.status, "image.no_digest" in found.err) == (2, True)


@pytest.mark.threat("ATT-04")
@pytest.mark.parametrize(
    ("option", "value", "code", "status"),
    [
        ("--identity", STRANGER, "sigstore.identity", 1),
        ("--identity", IDENTITY[:-1], "sigstore.identity", 1),
        ("--identity", ".*", "sigstore.vague", 2),
        ("--identity", "https://ci.acme.example/*", "sigstore.vague", 2),
        ("--identity", "^https://ci.acme.example/builder$", "sigstore.vague", 2),
        ("--identity", "", "sigstore.vague", 2),
        ("--issuer", "https://token.actions.githubusercontent.com", "sigstore.issuer", 1),
        ("--issuer", "http://issuer.example", "sigstore.vague", 2),
        ("--issuer", "", "sigstore.vague", 2),
        ("--trusted-root", "/nonexistent.json", "sigstore.root", 2),
    ],
)
def test_identity_and_issuer_are_exact(tmp_path: Path, option: str, value: str, code: str, status: int):
    options = laid_out(tmp_path, signed_artifact(MANIFEST))
    found = leo("image", IMAGE, "--bundle", tmp_path / "signed.sigstore.json", *options, option, value, "--json")
    assert (found.json["code"], found.status) == (code, status)
    assert found.json["verified"] is False
    assert all(found.json[key] for key in ("got", "expected", "next"))


def test_the_public_root_is_used_when_none_is_given(tmp_path: Path):
    options = laid_out(tmp_path, signed_artifact(MANIFEST))[:-2]
    found = leo("image", IMAGE, "--bundle", tmp_path / "signed.sigstore.json", *options)
    assert found.status == 5
    assert "refused: sigstore." in found.err
    assert "Next: " in found.err


def test_another_image_and_a_signature_of_another_kind_are_refused(tmp_path: Path):
    options = laid_out(tmp_path, signed_artifact(MANIFEST))
    other = f"registry.acme.example/payments/api@sha256:{'1' * 64}"
    found = leo("image", other, "--bundle", tmp_path / "signed.sigstore.json", *options)
    assert (found.status, "sigstore.digest" in found.err) == (5, True)
    provenance = signed_statement(statement_about(IMAGE_DIGEST, **PROVENANCE))
    options = laid_out(tmp_path, provenance)
    found = leo("image", IMAGE, "--bundle", tmp_path / "signed.sigstore.json", *options)
    assert (found.status, "statement.predicate_type" in found.err) == (1, True), "an attestation is no signature"


@pytest.mark.threat("ATT-08")
def test_an_attestation_is_of_the_wanted_kind_about_the_artifact(tmp_path: Path):
    file = tmp_path / "artifact"
    file.write_bytes(b"artifact")
    made = signed_statement(statement_about(sha256(b"artifact")))
    options = laid_out(tmp_path, made)
    wanted = ["attestation", tmp_path / "signed.sigstore.json", "--artifact", file, *options]
    assert "statement.predicate_type" in leo(*wanted).err
    vsa = ["--predicate-type", "https://slsa.dev/verification_summary/v1"]
    assert leo(*wanted, *vsa).status == 0
    file.write_bytes(b"artifact ")
    assert "statement.subject" in leo(*wanted, *vsa).err
    assert leo(*wanted, *vsa, "--digest", "sha256:" + "1" * 64).status == 2


@dataclass
class Key:
    certificate: Path
    fingerprint: str
    secret: pysequoia.Tsk

    def sign(self, data: bytes) -> str:
        return pysequoia.sign(self.secret.signer(), data, mode=pysequoia.SignatureMode.DETACHED).decode()

    @property
    def options(self) -> list[object]:
        return ["--key", self.certificate, "--fingerprint", self.fingerprint]


@pytest.fixture
def key(tmp_path: Path) -> Key:
    secret = pysequoia.Tsk.generate("Enforcer <enforcer@leoportal.invalid>", validity_seconds=86_400)
    certificate = tmp_path / "key.asc"
    public = secret.extract_certificate()
    certificate.write_text(str(public))
    return Key(certificate, public.fingerprint.upper(), secret)


def envelope(key: Key, statement: bytes) -> str:
    signature = key.sign(pae(PAYLOAD_TYPE, statement)).encode()
    return json.dumps(
        {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(statement).decode(),
            "signatures": [{"keyid": key.fingerprint, "sig": base64.b64encode(signature).decode()}],
        }
    )


def test_a_bundle_is_verified_by_sigstore_or_openpgp_with_its_summary(tmp_path: Path, key: Key):
    raw = honest_handover().raw
    file = tmp_path / "artifact.tar.gz"
    file.write_bytes(raw)
    made = signed_artifact(raw)
    options = laid_out(tmp_path, made)
    found = leo("bundle", file, "--bundle", tmp_path / "signed.sigstore.json", *options, "--json")
    assert found.status == 0, found.err
    assert any("summary" in note for note in found.json["notes"])
    (tmp_path / "a.asc").write_text(key.sign(raw))
    (tmp_path / "vsa.json").write_text(envelope(key, statement_about(sha256(raw))))
    wanted = ["bundle", file, "--signature", tmp_path / "a.asc", *key.options, "--vsa", tmp_path / "vsa.json"]
    found = leo(*wanted, "--verifier", "https://portal.example", "--json")
    assert found.status == 0, found.err
    assert found.json["summary"] == {"result": "PASSED", "verifier": "https://portal.example"}
    assert "summary.verifier" in leo(*wanted, "--verifier", "https://else.example").err
    (tmp_path / "vsa.json").write_text(envelope(key, statement_about("1" * 64)))
    assert "statement.subject" in leo(*wanted).err
    contradiction = statement_about(sha256(raw)).replace(
        b'"predicate": {', b'"predicate": {"verifiedLevels": ["FAILED"], '
    )
    (tmp_path / "vsa.json").write_text(envelope(key, contradiction))
    assert "summary.malformed" in leo(*wanted).err
    file.write_bytes(raw + b"\n")
    assert leo(*wanted).status == 5


def test_an_openpgp_key_is_pinned_whole_and_judged_by_the_time_of_receipt(tmp_path: Path, key: Key):
    file = tmp_path / "artifact.tar.gz"
    file.write_bytes(b"raw")
    (tmp_path / "a.asc").write_text(key.sign(b"raw"))
    wanted = ["bundle", file, "--signature", tmp_path / "a.asc", "--key", key.certificate]
    assert leo(*wanted, "--fingerprint", key.fingerprint).status == 0
    assert "openpgp.fingerprint" in leo(*wanted, "--fingerprint", key.fingerprint[-16:]).err
    assert "openpgp.fingerprint" in leo(*wanted, "--fingerprint", "0" * 40).err
    assert leo(*wanted).status == 2
    received = ["--fingerprint", key.fingerprint, "--received-at"]
    assert "time.untrusted" in leo(*wanted, *received, "2020-01-01T00:00:00Z").err
    assert "time.untrusted" in leo(*wanted, *received, "2999-01-01T00:00:00Z").err
    assert leo(*wanted, *received, datetime.now(UTC).isoformat()).status == 0
    for wrong in ("yesterday", "2026-03-01T12:00:00", "0001-01-01T00:00:00+14:00"):
        assert leo(*wanted, *received, wrong).status == 2


def test_a_policy_is_a_policy_signed_and_attested(tmp_path: Path, key: Key):
    file = tmp_path / "policy.yaml"
    file.write_bytes(default_policy_yaml())
    (tmp_path / "p.asc").write_text(key.sign(default_policy_yaml()))
    attested = statement_about(sha256(default_policy_yaml()), predicateType="https://acme.example/policy/v1")
    (tmp_path / "p.dsse").write_text(envelope(key, attested))
    wanted = ["policy", file, *key.options]
    signature, attestation = ["--signature", tmp_path / "p.asc"], ["--attestation", tmp_path / "p.dsse"]
    for given, missing in (
        ([], "no signature and attestation"),
        (signature, "no attestation"),
        (attestation, "no signature"),
    ):
        refused = leo(*wanted, *given, "--json")
        assert (refused.status, refused.json["code"]) == (1, "policy.evidence_missing")
        assert refused.json["got"] == missing
    both = leo(*wanted, *signature, *attestation, "--json")
    assert both.status == 0, both.err
    assert both.json["attestation"]["predicateType"] == "https://acme.example/policy/v1"
    assert "notes" not in both.json
    (tmp_path / "other.asc").write_text(key.sign(b"another text"))
    assert leo(*wanted, "--signature", tmp_path / "other.asc", *attestation).status == 5, "the signature is looked at"
    (tmp_path / "other.dsse").write_text(envelope(key, statement_about("1" * 64)))
    other = leo(*wanted, *signature, "--attestation", tmp_path / "other.dsse")
    assert (other.status, "statement.subject" in other.err) == (5, True), "and so is the attestation"
    file.write_bytes(default_policy_yaml() + b"# a comment\n")
    assert leo(*wanted, *signature, *attestation).status == 5
    file.write_bytes(b"threshold: 10\n")
    assert "policy." in leo(*wanted, *signature, *attestation).err


@pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg on this machine")
def test_a_signature_that_gpg_made_verifies_here(tmp_path: Path):
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--batch", "--quiet", "--homedir", str(home), "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run(
        [*gpg, "--quick-generate-key", "a@b.invalid", "ed25519", "sign", "1d"], check=True, capture_output=True
    )
    file = tmp_path / "artifact.tar.gz"
    file.write_bytes(b"raw")
    subprocess.run([*gpg, "--armor", "--detach-sign", str(file)], check=True, capture_output=True)
    certificate = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
    (tmp_path / "key.asc").write_bytes(certificate)
    fingerprint = pysequoia.Cert.from_bytes(certificate).fingerprint.upper()
    signature = tmp_path / "artifact.tar.gz.asc"
    found = leo("bundle", file, "--signature", signature, "--key", tmp_path / "key.asc", "--fingerprint", fingerprint)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    assert found.status == 0, found.err


@pytest.mark.parametrize("arguments", [[], ["--identity", "x@y.example"], ["--key", "k"], ["--fingerprint", "F" * 40]])
def test_no_or_half_a_signer_is_wrong_usage(tmp_path: Path, arguments: list[str]):
    file = tmp_path / "artifact.tar.gz"
    file.write_bytes(b"raw")
    assert leo("bundle", file, *arguments).status == 2


def test_nothing_printed_can_move_the_terminal(tmp_path: Path):
    file = tmp_path / "bad.json"
    file.write_bytes(b'{"mediaType": "\\u001b[31m"}')
    options = laid_out(tmp_path, signed_artifact(MANIFEST))
    found = leo("image", IMAGE, "--bundle", file, *options)
    assert found.status == 1
    assert "\x1b" not in found.out + found.err


def test_json_for_programs_cannot_move_the_terminal_either(capsys: pytest.CaptureFixture[str]):
    value: JsonValue = {"a\u202e": "\x1b[31m\x9b31m\u200b\U000e0041 ü"}
    say_json(value)
    told = capsys.readouterr().out.rstrip("\n")
    assert told.isprintable()
    assert json.loads(told) == value
