"""The checks of the attestation: both versions of provenance, envelopes, and one thing made wrong at a time."""

from __future__ import annotations

import base64
import json

import pytest

from handoffs.attestations.attestations import EMPTY_SHA256, PROVENANCE_V02
from handoffs.bundles.bundle import write_archive
from handoffs.checks.catalogue import Outcome
from tests.support.bundles import (
    BUILDER,
    honest_handover,
)

HONEST = honest_handover()


def _as_v02(document) -> None:
    predicate = document["predicate"]
    document["predicateType"] = PROVENANCE_V02
    dependency = predicate["buildDefinition"]["resolvedDependencies"][0]
    document["predicate"] = {
        "builder": {"id": BUILDER},
        "buildType": "https://acme.example/build@v1",
        "materials": [{"uri": dependency["uri"], "digest": {"sha1": dependency["digest"]["gitCommit"]}}],
    }


def _dependency(**changes):
    def edit(document) -> None:
        document["predicate"]["buildDefinition"]["resolvedDependencies"][0].update(changes)

    return edit


def _envelope(**changes):
    claim = HONEST.members["attestation.intoto.json"]
    honest = {
        "payload": base64.b64encode(claim).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "k", "sig": base64.b64encode(b"anything").decode()}],
    }
    return json.dumps({**honest, **changes}).encode()


def test_provenance_v02_and_envelopes_are_accepted():
    assert HONEST.failures(HONEST.rebuilt(statement=_as_v02)) == set()
    extended = _envelope(more=1, signatures=[{"sig": "-_8=", "cert": "x"}])
    members = {**HONEST.members, "attestation.intoto.json": extended}
    report = HONEST.verify(write_archive(members))
    assert report.is_verified
    claim = next(result for result in report.results if result.code == "attestation.signature")
    assert claim.outcome is Outcome.CLAIMED


@pytest.mark.threat("ATT-01")
@pytest.mark.parametrize(
    "changes",
    [
        *({"payloadType": kind} for kind in (
            "application/vnd.in-toto+JSON", "application/vnd.in-toto+json; charset=utf-8", "application/json", "", "text/plain",
            " application/vnd.in-toto+json", "application/vnd.in-toto+json\n", "application/vnd.in\u2010toto+json", None, 1,
        )),
        {"payload": "not base64"}, {"payload": ""}, {"payload": "e30"}, {"signatures": []}, {"signatures": [{"sig": ""}]},
        {"signatures": [{"sig": "***"}]},
    ],
)  # fmt: skip
def test_other_envelopes_are_refused(changes):
    members = {**HONEST.members, "attestation.intoto.json": _envelope(**changes)}
    assert HONEST.failures(write_archive(members)) & {"attestation.envelope", "attestation.statement"}


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda d: d.update(_type="https://in-toto.io/Statement/v0.1"), "attestation.statement"),
        (lambda d: d.update(more=1), "attestation.statement"),
        (lambda d: d.update(subject=[]), "attestation.statement"),
        (lambda d: d.update(predicateType=PROVENANCE_V02), "attestation.predicate"),
        (lambda d: d.update(predicateType="https://slsa.dev/provenance/v0.1"), "attestation.predicate"),
        (lambda d: d["predicate"].update(builder={"id": BUILDER}), "attestation.predicate"),
        (lambda d: d["predicate"].pop("runDetails"), "attestation.predicate"),
        (lambda d: d["subject"].pop(), "attestation.subjects"),
        (
            lambda d: d["subject"].append({"name": "artifact.tar.gz", "digest": {"sha256": "1" * 64}}),
            "attestation.subjects",
        ),
        (lambda d: d["subject"].append(d["subject"][0]), "attestation.subjects"),
        (lambda d: d["subject"][0].update(digest={"sha256": ""}), "attestation.digests"),
        (lambda d: d["subject"][0].update(digest={"sha256": EMPTY_SHA256}), "attestation.digests"),
        (lambda d: d["subject"][0].update(digest={"sha256": "1" * 64}), "attestation.digests"),
        (lambda d: d["subject"][0].update(digest={"sha512": "1" * 128}), "attestation.digests"),
        (lambda d: d["subject"][0]["digest"].update(sha512="1" * 128), "attestation.digests"),
        (lambda d: d["subject"][0]["digest"].update(sha3_256="1" * 64), "attestation.digests"),
        (lambda d: d["subject"][0]["digest"].update(sha1="1" * 39), "attestation.digests"),
        (lambda d: d["predicate"]["buildDefinition"].update(resolvedDependencies=[]), "attestation.merge_base"),
        (_dependency(uri="git+https://github.com/acme/other"), "attestation.merge_base"),
        (_dependency(digest={"gitCommit": "1" * 40}), "attestation.merge_base"),
        (_dependency(digest={"gitCommit": ""}), "attestation.materials"),
        (_dependency(uri="/home/codex/changes.patch"), "attestation.materials"),
        (_dependency(digest={}), "attestation.materials"),
        (lambda d: d["predicate"]["runDetails"]["builder"].update(id="codex-lane"), "attestation.builder"),
        (lambda d: d["predicate"]["runDetails"]["builder"].update(id=BUILDER + "2"), "attestation.builder"),
        (lambda d: d["predicate"]["buildDefinition"].update(buildType="mine"), "attestation.build_type"),
    ],
)
def test_a_wrong_attestation_is_refused(edit, code):
    assert code in HONEST.failures(HONEST.rebuilt(statement=edit))


@pytest.mark.threat("ATT-03")
def test_another_allowed_builder_than_the_manifests_is_refused():
    raw = HONEST.rebuilt(statement=lambda d: d["predicate"]["runDetails"]["builder"].update(id=BUILDER + "2"))
    assert HONEST.failures(raw, allowed_builders=(BUILDER, BUILDER + "2")) == {"attestation.builder"}
