"""Verification summaries: what we write is what the specification says, and what it does not allow is not read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from audit.canonical import write_json
from handoffs.attestations.vsa import Resource, Summary, SummaryError, parse_summary, read_envelope, write_summary

SUMMARY = Summary(
    subjects=(("acme/payments#PR-7", {"gitCommit": "ab" * 20}), ("artifact.tar.gz", {"sha256": "cd" * 32})),
    verifier_id="https://portal.example",
    verifier_version={"leoportal": "0.1.0"},
    time_verified=datetime(2026, 11, 25, 10, 30, 15, tzinfo=UTC),
    resource_uri="git+https://portal.example/acme/payments@abab#PR-7",
    policy=Resource("https://portal.example/policies/ef", {"sha256": "ef" * 32}),
    inputs=(Resource("https://portal.example/handoffs/1/statement.dsse.json", {"sha256": "12" * 32}),),
    is_passed=True,
    facts={"verdict": "PASS", "confidence": "91.50"},
)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")  # RFC 3986: a scheme and something after it
# Every field of a VSA as SLSA v1 lists it: required or not, and what it may hold.
LEVELS = {"SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_0", "SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2"}
LEVELS |= {"SLSA_BUILD_LEVEL_3", "FAILED"}


def conformity(statement: Any) -> list[str]:
    """What of a statement does not conform to SLSA VSA v1, written from the specification and from nothing else."""
    wrong = []

    def expect(holds: bool, what: str) -> None:
        if not holds:
            wrong.append(what)

    def descriptor(value: Any, where: str) -> None:
        expect(bool(URI.fullmatch(value.get("uri", ""))), f"{where}.uri")
        expect(bool(value.get("digest")) and all(re.fullmatch("[0-9a-f]+", d) for d in value["digest"].values()), where)

    expect(statement.get("_type") == "https://in-toto.io/Statement/v1", "_type")
    expect(statement.get("predicateType") == "https://slsa.dev/verification_summary/v1", "predicateType")
    expect(bool(statement.get("subject")), "subject")
    for subject in statement.get("subject", []):
        expect(bool(subject.get("digest")), "subject.digest")
    predicate = statement.get("predicate", {})
    verifier = predicate.get("verifier", {})
    expect(bool(URI.fullmatch(verifier.get("id", ""))), "verifier.id")
    expect(all(isinstance(v, str) for v in verifier.get("version", {}).values()), "verifier.version")
    expect(bool(RFC_3339.fullmatch(predicate.get("timeVerified", ""))), "timeVerified")
    expect(bool(URI.fullmatch(predicate.get("resourceUri", ""))), "resourceUri")
    descriptor(predicate.get("policy", {}), "policy")
    for item in predicate.get("inputAttestations", []):
        descriptor(item, "inputAttestations")
    result, levels = predicate.get("verificationResult"), predicate.get("verifiedLevels")
    expect(result in {"PASSED", "FAILED"}, "verificationResult")
    expect(isinstance(levels, list) and bool(levels) and set(levels) <= LEVELS, "verifiedLevels")
    expect(sum(level.startswith("SLSA_BUILD") for level in levels or []) <= 1, "one level of each track")
    expect((result == "FAILED") == (levels == ["FAILED"]), "a failed verification has the level FAILED")
    expect(all(isinstance(n, int) for n in predicate.get("dependencyLevels", {}).values()), "dependencyLevels")
    expect(bool(re.fullmatch(r"1\.\d+", predicate.get("slsaVersion", ""))), "slsaVersion")
    known = {"verifier", "timeVerified", "resourceUri", "policy", "inputAttestations", "verificationResult"}
    known |= {"verifiedLevels", "dependencyLevels", "slsaVersion"}
    extra = set(predicate) - known
    expect(all(name.startswith("leoportal_") for name in extra), f"extension fields carry their vendor: {extra}")
    return wrong


@pytest.mark.parametrize("is_passed", [True, False])
def test_what_is_written_conforms_and_reads_back(is_passed: bool):
    summary = replace(SUMMARY, is_passed=is_passed)
    raw = write_json(write_summary(summary))
    assert conformity(json.loads(raw)) == []
    assert parse_summary(raw) == summary
    assert write_json(write_summary(parse_summary(raw))) == raw


def broken(**changes: Any) -> bytes:
    """A summary with fields of the predicate, or of the statement, replaced; None leaves one out."""
    statement = json.loads(write_json(write_summary(SUMMARY)))
    for name, value in changes.items():
        place = statement if name in {"_type", "subject", "predicateType"} else statement["predicate"]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return json.dumps(statement).encode()


REFUSED: dict[str, dict[str, Any]] = {
    "another-statement-type": {"_type": "https://in-toto.io/Statement/v0.1"},
    "another-predicate": {"predicateType": "https://slsa.dev/provenance/v1"},
    "no-subject": {"subject": []},
    "a-subject-without-digest": {"subject": [{"name": "a", "digest": {}}]},
    "a-digest-in-capitals": {"subject": [{"name": "a", "digest": {"sha256": "AB" * 32}}]},
    "an-empty-digest": {"subject": [{"name": "a", "digest": {"sha256": ""}}]},
    "no-verifier": {"verifier": None},
    "a-verifier-that-is-no-uri": {"verifier": {"id": "portal"}},
    "no-time": {"timeVerified": None},
    "a-time-without-a-zone": {"timeVerified": "2026-11-25T10:30:15"},
    "no-resource": {"resourceUri": None},
    "no-policy": {"policy": None},
    "a-policy-without-digest": {"policy": {"uri": "https://x.example/p"}},
    "no-result": {"verificationResult": None},
    "another-result": {"verificationResult": "passed"},
    "no-levels": {"verifiedLevels": []},
    "failed-with-a-level": {"verificationResult": "FAILED"},
    "passed-with-failed": {"verifiedLevels": ["FAILED"]},
    "levels-in-small-letters": {"verifiedLevels": ["slsa_build_level_3"]},
    "a-level-as-a-number": {"verifiedLevels": [3]},
    "dependency-levels-as-text": {"dependencyLevels": {"SLSA_BUILD_LEVEL_1": "2"}},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_summary_is_refused(case: str):
    with pytest.raises(SummaryError):
        parse_summary(broken(**REFUSED[case]))


def test_unknown_fields_are_ignored_and_duplicates_are_not():
    assert parse_summary(broken(other_note=1)).facts == SUMMARY.facts
    raw = broken()
    with pytest.raises(SummaryError, match=r"vsa\.json"):
        parse_summary(raw.replace(b'"_type"', b'"_type": "x", "_type"', 1))


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"payloadType":"x","payload":"?","signatures":[{"keyid":"a","sig":"b"}]}']
)
def test_an_envelope_that_is_none_is_refused(raw: bytes):
    with pytest.raises(SummaryError, match=r"envelope\.malformed"):
        read_envelope(raw)
