"""Signatures that nobody here made: Sigstore bundles, roots, certificates and OpenPGP of other projects.

No wrong acceptance, no crash, and a refusal for the reason the case is about. Which valid bundles are refused here all the
same is told by their form, never by their name, so that it holds for cases that nobody here has seen.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pysequoia
import pytest
from cryptography import x509

from audit.canonical import parse_json
from handoffs.attestations.attestations import parse_attestation
from handoffs.attestations.provenance import AnyStatement
from handoffs.attestations.statements import require_subject
from handoffs.bundles.bundle import BundleError
from handoffs.signatures.openpgp_verifying import PinnedKey, open_openpgp, verify_openpgp
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_signers import Signer, certified
from handoffs.signatures.sigstore_verifying import (
    VerifiedSignature,
    production_root,
    read_root_file,
    verify_artifact,
    verify_statement,
)
from handoffs.signatures.trust_roots import (
    TrustedRoot,
    authority_problem,
    is_authority,
    leaf_problem,
    read_trusted_root,
)
from tests.support.corpora import CORPORA, all_of, cases, fits, read

STAGING = CORPORA / "sigstore-python" / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstage.dev" / "trusted_root.json"
BAZEL = "https://github.com/bazel-contrib/.github/.github/workflows/release_ruleset.yaml@refs/tags/v7.1.0"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
# Signed with a certificate of no known Sigstore: nobody can be named, whoever was wanted.
NOBODY = Signer("https://nobody.example/none", "https://nobody.example")

# What a corpus says is wrong -> the codes of ours that say the same. The first kind that fits counts.
WHY = (
    (r"spki", {"sigstore.unsupported", "sigstore.certificate"}),
    (r"tlog-missing-validity|validity-borrow", {"sigstore.root", "sigstore.time"}),
    (r"swapped-tlog-entry", {"sigstore.entry", "sigstore.log"}),
    (r"set-invalid-signature|entry timestamp .* signature is invalid", {"sigstore.log"}),
    (r"checkpoint|inclusion.proof", {"sigstore.log"}),
    (r"no tlog entry|no_log_entry|not? upload", {"sigstore.log", "sigstore.unsupported"}),
    (r"managed.key", {"sigstore.unsupported"}),
    (r"unknown.(version|mediaType)|unsupported version", {"sigstore.unsupported", "sigstore.root"}),
    (r"malformed.json", {"sigstore.json"}),
    (r"negative log index", {"sigstore.malformed"}),
    (r"base64", {"sigstore.signature", "sigstore.malformed"}),
    (r"root.cert", {"sigstore.certificate"}),
    # Nothing in a bare envelope shows that it was logged, or when it was signed; so nobody can say more about one.
    (r"bare DSSE", {"sigstore.unsupported"}),
    (r"-invalid.sig|invalid.dsse.sig|signature-mismatch|signature in this bundle is incorrect", {"sigstore.signature"}),
    (r"outside|validity|expired|time.?stamp|integrated.time", {"sigstore.time"}),
    (r"no.signed.time", {"sigstore.time"}),
    (r"mismatch-(envelope|sig)|wrong-hashedrekord|other material|mismatch tlog", {"sigstore.entry"}),
    (r"wrong-material|artifact here is different", {"sigstore.digest"}),
    (r"another workflow|wrong.signer|identity", {"sigstore.identity"}),
    (r"issuer", {"sigstore.issuer"}),
    (r"sct|ct.?log", {"sigstore.sct", "sigstore.time"}),
    (r"certificate|chain", {"sigstore.certificate"}),
    (r"untrusted", {"sigstore.unsupported", "sigstore.certificate"}),
)
WHY_ROOT = ((r"mediaType", {"sigstore.root"}), (r"CA without certificates", {"sigstore.root"}))
WHY_STATEMENT = ((r"intotoheader", {"attestation.statement"}), (r"substitution", {"attestation.statement"}))

# Valid, and still not judged here: what of a bundle's form says so -> the words of the refusal.
BEYOND = {
    "bare": "a bare DSSE envelope",
    "managed": "a managed key",
    # Provenance of 2022 and 2023, before bundles carried proofs; the SOP asks for what can be checked offline.
    "no proof": "version 0.1 without an inclusion proof",
    "intoto": "a log entry of kind intoto 0.0.2",
}


def beyond(raw: bytes) -> str:
    """The words with which a valid bundle of this form is refused as unsupported; empty if it must be accepted."""
    bundle: Any = json.loads(raw)
    if "verificationMaterial" not in bundle:
        return BEYOND["bare"]
    material = bundle["verificationMaterial"]
    if "publicKey" in material:
        return BEYOND["managed"]
    if bundle["mediaType"].endswith("=0.1") and any("inclusionProof" not in entry for entry in material["tlogEntries"]):
        return BEYOND["no proof"]
    return (
        BEYOND["intoto"] if any(entry["kindVersion"]["kind"] == "intoto" for entry in material["tlogEntries"]) else ""
    )


@cache
def root_for(folder: str, given: str) -> TrustedRoot:
    if folder == "sigstore-python":
        for name in ("trusted-root.json", "trust_config.json"):
            beside = (CORPORA / folder / given).with_name(name)
            if beside.is_file():
                return read_trusted_root(as_root(beside.read_bytes()), source=name)
        return read_root_file(STAGING)
    return read_root_file(CORPORA / folder / given) if given.endswith(".json") else production_root()


def as_root(raw: bytes) -> bytes:
    """The trusted root in a client's trust config, or the staging root with one authority that was given alone."""
    document: Any = json.loads(raw)
    if "clienttrustconfig.v0.1" in document.get("mediaType", ""):
        return json.dumps(document["trustedRoot"]).encode()
    if "certChain" in document:
        return json.dumps({**json.loads(STAGING.read_bytes()), "certificateAuthorities": [document]}).encode()
    return raw


def judged(folder: str, case: dict) -> VerifiedSignature:
    """The answer to a bundle, over its artifact or with its statement read and compared."""
    raw = read(folder, case["bundle"])
    is_public = folder == "sigstore-python" and "production" in case.get("measured", "")
    given = case["bundle"] if folder == "sigstore-python" else case.get("trusted_root", "")
    root = production_root() if is_public else root_for(folder, given)
    named = case.get("identity") or []
    identity = named if isinstance(named, str) else named[0] if named else ""
    signer = Signer(identity, case["issuer"]) if identity else NOBODY
    if "wrong-signer" in case["id"]:
        signer = Signer(BAZEL, case["issuer"])
    if b'"messageSignature"' in raw and "artifact" in case:
        digest = hashlib.sha256(read(folder, case["artifact"])).hexdigest()
        return verify_artifact(digest, raw, signer=signer, root=root)
    found = verify_statement(raw, signer=signer, root=root)
    payload = found.payload or b""
    subjects = json.loads(payload)["subject"]
    wanted = case.get("subject_digests") or [subject["digest"] for subject in subjects]
    assert [subject["digest"] for subject in subjects] == wanted
    if folder == "sigstore-conformance":  # sigstore-python's is about a file of this corpus, too
        digests = {name: hashlib.new(name, read(folder, case["artifact"])).hexdigest() for name in ("sha256", "sha512")}
        # Whether a signature holds is one question, whether the predicate in it is whole another.
        require_subject(AnyStatement.model_validate(json.loads(payload)), digests)
    return found


def answer(folder: str, case: dict) -> tuple[str, str]:
    try:
        judged(folder, case)
    except RefusedError as error:
        return error.code, error.got
    return "", ""


BUNDLES = [
    *(("sigstore-conformance", case) for case in all_of("sigstore-conformance")),
    *(
        ("sigstore-python", case)
        for case in all_of("sigstore-python")
        if not case["id"].startswith(("x509/", "trusted_root/", "trust_config/"))
    ),
    *(("slsa-verifier", case) for case in all_of("slsa-verifier") if case.get("form") != "JSON"),
]


@pytest.mark.threat("ATT-08")
@pytest.mark.skipif(not BUNDLES, reason="no corpora of signatures in ../shared/corpora")
@pytest.mark.parametrize(("folder", "case"), [pytest.param(f, c, id=f"{f}:{c['id']}") for f, c in BUNDLES])
def test_bundles_are_judged_as_their_authors_say(folder, case):
    code, got = answer(folder, case)
    if case["expect"] == "fail":
        assert fits(WHY, case, code), (code, got)
    elif case["expect"] == "pass" and (words := beyond(read(folder, case["bundle"]))):
        assert code == "sigstore.unsupported"
        assert words in got
    elif case["expect"] == "pass":
        assert code == "", got


@pytest.mark.threat("ATT-04")
@pytest.mark.skipif(not BUNDLES, reason="no corpora of signatures in ../shared/corpora")
def test_no_valid_bundle_is_anybody_elses():
    for folder, case in BUNDLES:
        if case["expect"] == "pass" and not beyond(read(folder, case["bundle"])):
            for changed in ({"identity": [NOBODY.identity]}, {"issuer": NOBODY.issuer}):
                code, _ = answer(folder, {**case, **changed})
                assert code in {"sigstore.identity", "sigstore.issuer"}, case["id"]


@pytest.mark.skipif(not BUNDLES, reason="no corpora of signatures in ../shared/corpora")
def test_no_valid_bundle_holds_under_another_root():
    for folder, case in BUNDLES:
        if folder == "sigstore-python" and case["expect"] == "pass":
            code, _ = answer("slsa-verifier", {**case, "bundle": f"../{folder}/{case['bundle']}", "artifact": f"../{folder}/{case['artifact']}"})  # fmt: skip
            assert code.startswith("sigstore."), case["id"]


@pytest.mark.parametrize("case", cases("slsa-verifier"))
def test_provenance_of_others_is_read_without_a_crash(case):
    """What is no Statement v1 is refused as that, also inside a signature that holds."""
    raw = read("slsa-verifier", case["bundle"])
    code = ""
    try:
        parse_attestation(raw)
    except BundleError as error:
        code = error.code
    if case.get("form") == "JSON" and case["expect"] == "fail":
        assert fits(WHY_STATEMENT, case, code)
    if case.get("statementType", "https://in-toto.io/Statement/v1") != "https://in-toto.io/Statement/v1":
        assert code in {"attestation.statement", "attestation.envelope"}
    elif case["expect"] == "pass" and not beyond(raw):
        assert code == ""


@pytest.mark.parametrize("case", cases("sigstore-python"))
def test_roots_and_certificates_are_judged_as_their_authors_say(case):
    kind, _, name = case["id"].partition("/")
    if kind in {"trusted_root", "trust_config"}:
        code = ""
        try:
            read_trusted_root(as_root(read("sigstore-python", case["bundle"])), source=name)
        except RefusedError as error:
            code = error.code
        assert fits(WHY_ROOT, case, code) if case["expect"] == "fail" else code == ""
    if kind == "x509":
        certificate = x509.load_pem_x509_certificate(read("sigstore-python", case["bundle"]))
        is_leaf = "leaf" in name or "with-eku" in name
        problem = leaf_problem(certificate) if is_leaf else authority_problem(certificate)
        assert bool(problem) is (case["expect"] == "fail"), problem
        if case["expect"] == "pass":
            assert is_authority(certificate) is not is_leaf


@pytest.mark.parametrize("case", cases("pypi-attestations"))
def test_fulcios_certificates_are_read(case):
    if case["bundle"].endswith(".pem"):
        found = certified(x509.load_pem_x509_certificate(read("pypi-attestations", case["bundle"])))
        assert found.identity
        assert found.issuer.startswith("https://")
    else:
        with pytest.raises(RefusedError, match=r"sigstore\."):
            verify_statement(read("pypi-attestations", case["bundle"]), signer=NOBODY, root=production_root())


OLD_KEYS = {
    "signatures/debian-sid.sig.asc": ("A1BD8E9D78F7FE5C3E65D8AF8B48AD6246925553", "key.expired"),
    # A certificate bound by SHA-1: nothing it signs counts any more, whenever it was received.
    "signatures/ubuntu-precise.sig.asc": ("630239CC130E1A7FD81A27B140976EAF437D05B5", "openpgp.certificate"),
}


@pytest.mark.parametrize("case", cases("openpgp-pgpy"))
def test_openpgp_of_others_is_judged_by_policy_and_never_crashes(case):
    text = read("openpgp-pgpy", case.get("bundle", case["id"])).decode("utf-8", "replace")
    match case["expect"]:
        case "policy":
            certificate = read("openpgp-pgpy", case["key"]).decode()
            data = read("openpgp-pgpy", case["artifact"])
            fingerprint, wanted = OLD_KEYS.get(case["id"], ("0" * 40, "openpgp.fingerprint"))
            with pytest.raises(RefusedError) as found:
                verify_openpgp(data, text, PinnedKey(certificate, fingerprint, NOW))
            assert found.value.code == wanted
            if wanted == "key.expired":
                in_time = PinnedKey(certificate, fingerprint, NOW, datetime(2019, 1, 1, tzinfo=UTC))
                verify_openpgp(data, text, in_time)
                with pytest.raises(RefusedError, match="signature"):
                    verify_openpgp(data + b"\n", text, in_time)
                with pytest.raises(RefusedError, match=r"time\.untrusted"):
                    before = PinnedKey(certificate, fingerprint, NOW, datetime(2012, 1, 1, tzinfo=UTC))
                    verify_openpgp(data, text, before)
        case "revokes":
            assert pysequoia.Sig.from_bytes(text.encode())
            with pytest.raises(RefusedError, match=r"openpgp\.certificate"):
                verify_openpgp(b"data", text, PinnedKey(text, "0" * 40, NOW))
        case _:
            for key in (PinnedKey(text, "0" * 40, NOW), PinnedKey("", "0" * 40, NOW)):
                with pytest.raises(RefusedError):
                    verify_openpgp(b"data", text, key)
                with pytest.raises(RefusedError):
                    open_openpgp(text.encode(), key)


def test_a_skip_says_what_is_missing():
    if not CORPORA.is_dir():
        pytest.skip("no ../shared/corpora: the conformance suite did not run")
    assert parse_json(read("dsse", "cases.json"))
