"""The builder's own signature on its attestation: when it counts, when it fails, when it stays a claim. SLSA after it."""

from __future__ import annotations

import base64
import json
import random
from functools import cache
from typing import Any

import pytest

from audit.canonical import JsonValue, write_json
from handoffs.attestations.attestations import parse_attestation, parse_envelope
from handoffs.attestations.dsse import PAYLOAD_TYPE
from handoffs.attestations.slsa import Source, Standing, slsa_to_json
from handoffs.bundles.bundle import BundleError, Limits, read_archive, write_archive
from handoffs.checks.catalogue import Outcome
from handoffs.checks.evidence import BuilderTrust
from handoffs.checks.verification import Report
from handoffs.signatures.sigstore_signers import Signer
from tests.handoffs.test_sigstore_verifying import PAYLOAD_TYPES
from tests.support.bundles import BUILDER, Handover, failed_codes, honest_handover
from tests.support.sigstore import IDENTITY, STRANGER, Signed, signed_statement

MEMBER = "attestation.intoto.json"


def honest_statement() -> bytes:
    return honest_handover().members[MEMBER]


def with_attestation(handover: Handover, raw: bytes) -> bytes:
    return write_archive({**handover.members, MEMBER: raw})


@cache
def signed(identity: str = IDENTITY) -> Signed:
    return signed_statement(honest_statement(), identity=identity)


def trust(made: Signed, *, builder: str = BUILDER, identity: str = IDENTITY) -> BuilderTrust:
    return BuilderTrust(made.root, {builder: Signer(identity, made.signer.issuer)})


def verify(attestation: bytes, given: BuilderTrust | None) -> Report:
    handover = honest_handover()
    return handover.verify(with_attestation(handover, attestation), trust=given)


def outcome(report: Report, code: str = "attestation.signature") -> tuple[Outcome, str]:
    return next((result.outcome, result.got) for result in report.results if result.code == code)


def standing(report: Report, name: str) -> Standing:
    return next(item.standing for item in report.slsa if item.name == name)


@pytest.mark.threat("ATT-04")
def test_the_pinned_identity_passes_and_its_root_is_recorded():
    made = signed()
    report = verify(made.raw, trust(made))
    assert report.is_verified
    found, got = outcome(report)
    assert found is Outcome.PASSED
    assert IDENTITY in got
    assert made.root.digest in got
    assert report.trusted_root_digest == made.root.digest


@pytest.mark.threat("ATT-04")
def test_another_identity_fails_the_bundle():
    made = signed(STRANGER)
    report = verify(made.raw, trust(made))
    assert failed_codes(report) == {"attestation.signature"}
    assert "sigstore.identity" in outcome(report)[1]


def test_a_signature_that_does_not_hold_fails_the_bundle():
    made = signed()
    other = signed_statement(b"{}")
    forged = json.loads(made.bundle)
    forged["verificationMaterial"] = json.loads(other.bundle)["verificationMaterial"]
    report = verify(json.dumps(forged).encode(), trust(made))
    assert failed_codes(report) == {"attestation.signature"}


@pytest.mark.parametrize("given", ["no root", "another builder"])
def test_without_a_root_or_a_pinned_identity_a_signature_stays_a_claim(given):
    made = signed()
    known = None if given == "no root" else trust(made, builder="https://builders.acme.example/other")
    report = verify(made.raw, known)
    assert report.is_verified
    found, got = outcome(report)
    assert found is Outcome.CLAIMED
    assert "not verified" in got


@pytest.mark.threat("ATT-09")
def test_a_builder_whose_identity_is_pinned_must_sign():
    """Otherwise whoever writes a bundle leaves the signature out."""
    made = signed()
    bare = honest_statement()
    envelope: JsonValue = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(bare).decode(),
        "signatures": [{"sig": base64.b64encode(b"x").decode()}],
    }
    for raw in (bare, write_json(envelope)):
        assert failed_codes(verify(raw, trust(made))) == {"attestation.signature"}
        assert outcome(verify(raw, None))[0] is Outcome.CLAIMED


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["verificationMaterial"].update(publicKey={"hint": "x"}),
        lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
        lambda d: d.pop("dsseEnvelope"),
        lambda d: d.update(more=1),
        lambda d: d["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}),
        lambda d: d["verificationMaterial"].update(tlogEntries=[]),
    ],
)
def test_a_bundle_that_is_not_one_fails_also_where_nobody_is_pinned(edit):
    report = verify(signed().edited(edit), None)
    assert "attestation.envelope" in failed_codes(report)


def test_what_is_unsupported_is_called_that():
    managed = signed().edited(lambda d: d["verificationMaterial"].update(publicKey={"hint": "x"}))
    assert "sigstore.unsupported" in outcome(verify(managed, None), "attestation.envelope")[1]


@pytest.mark.threat("ATT-01")
@pytest.mark.parametrize("payload_type", PAYLOAD_TYPES)
def test_no_other_payload_type_is_read(payload_type):
    envelope = {
        "payloadType": payload_type,
        "payload": base64.b64encode(honest_statement()).decode(),
        "signatures": [{"sig": base64.b64encode(b"x").decode()}],
    }
    with pytest.raises(BundleError, match=r"attestation\.envelope"):
        parse_attestation(json.dumps(envelope).encode())
    with pytest.raises(BundleError, match=r"attestation\.envelope"):
        parse_attestation(signed().edited(lambda d: d["dsseEnvelope"].update(payloadType=payload_type)))


@pytest.mark.threat("JSN-03")
def test_white_space_in_a_signed_attestation_breaks_it():
    made = signed()
    spaced = json.dumps(json.loads(honest_statement()), indent=1).encode()
    changed = made.edited(lambda d: d["dsseEnvelope"].update(payload=base64.b64encode(spaced).decode()))
    assert failed_codes(verify(changed, trust(made))) == {"attestation.signature"}


@pytest.mark.threat("JSN-03")
def test_ten_thousand_statements_come_out_of_an_envelope_as_they_went_in():
    """Whatever their white space, order of keys and spelling of characters: read, never written again."""
    chance = random.Random(20261125)
    honest = json.loads(honest_statement())
    for _ in range(10_000):
        keys = list(honest)
        chance.shuffle(keys)
        document = {key: honest[key] for key in keys} | {"x": chance.choice(["é", 1.50, "\u2028", None, [], {"b": 1}])}
        indent, ascii_only = chance.choice([None, 0, 1, 3]), chance.random() < 0.5
        body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode() + b" " * chance.randrange(3)
        envelope: JsonValue = {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(body).decode(),
            "signatures": [{"sig": "AAAA"}],
        }
        assert parse_envelope(envelope)[1] == body


@pytest.mark.threat("ATT-03")
def test_an_attestation_of_another_bundle_is_refused():
    handover = honest_handover()
    other = handover.rebuilt(rollback=b"# How to undo\n\nRevert the commit and restart the workers, all of them.\n")
    honest_of_other = {**_members(other), MEMBER: signed().raw}
    report = handover.verify(write_archive(honest_of_other), trust=trust(signed()))
    assert outcome(report)[0] is Outcome.PASSED, "the signature itself holds"
    assert "attestation.digests" in failed_codes(report)


@pytest.mark.threat("ATT-03")
def test_an_attestation_of_another_repository_is_refused():
    handover = honest_handover()
    raw = with_attestation(handover, signed().raw)
    report = handover.verify(raw, trust=trust(signed()), repository="acme/other")
    assert outcome(report)[0] is Outcome.PASSED, "the signature itself holds"
    assert {"attestation.merge_base", "manifest.repository"} <= failed_codes(report)


def _members(raw: bytes) -> dict[str, bytes]:
    return dict(read_archive(raw, Limits()).members)


def test_claims_raise_nothing_and_no_level_is_given():
    def boast(document: dict[str, Any]) -> None:
        document["predicate"]["runDetails"]["metadata"]["invocationId"] = "SLSA_BUILD_LEVEL_3 hosted isolated hermetic"
        document["predicate"]["buildDefinition"]["externalParameters"]["slsaLevel"] = "SLSA L3"

    handover = honest_handover()
    report = handover.verify(handover.rebuilt(statement=boast))
    met = {item.name for item in report.slsa if item.source is Source.BUILDER and item.standing is Standing.MET}
    assert met == {"Provenance exists"}
    assert standing(report, "Isolated build") is Standing.CLAIMED
    assert "SLSA L3" not in json.dumps(slsa_to_json(report.slsa))


def test_a_verified_signature_raises_only_what_it_proves():
    made = signed()
    report = verify(made.raw, trust(made))
    assert standing(report, "Provenance is signed by its builder") is Standing.MET
    assert standing(report, "Provenance out of the build's reach") is Standing.CLAIMED
    assert standing(report, "Isolated build") is not Standing.MET
    assert standing(verify(made.raw, None), "Provenance is signed by its builder") is Standing.CLAIMED
    assert standing(verify(honest_statement(), None), "Provenance is signed by its builder") is Standing.NOT_MET


def test_without_provenance_of_this_bundle_nothing_of_the_builder_is_met_or_claimed():
    handover = honest_handover()
    for raw in (b"{}", handover.members["sbom.cdx.json"]):
        report = verify(raw, None)
        assert {item.standing for item in report.slsa if item.source is Source.BUILDER} == {Standing.NOT_MET}
    wrong = handover.rebuilt(statement=lambda d: d["subject"][0]["digest"].update(sha256="1" * 64))
    report = handover.verify(wrong)
    assert {item.standing for item in report.slsa if item.source is Source.BUILDER} == {Standing.NOT_MET}


def test_what_the_portal_saw_stands_apart():
    report = verify(honest_statement(), None)
    seen = [item for item in report.slsa if item.source is Source.PORTAL]
    assert [item.standing for item in seen] == [Standing.MET, Standing.MET]
    assert str(report.result_tree) in seen[0].why
    broken = honest_handover().verify(honest_handover().rebuilt(patch=b"diff --git a/x b/x\n"))
    assert {item.standing for item in broken.slsa if item.source is Source.PORTAL} == {Standing.NOT_MET}
