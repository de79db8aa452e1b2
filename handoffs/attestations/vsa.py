"""SLSA Verification Summary Attestations: what was verified, by whom, against which policy. Written and read. Pure.

Source: SLSA Verification Summary Attestation v1 (fields, and "VSA producers may add fields": ours begin with
leoportal_); in-toto Statement v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from audit.coded import CodedError

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
VSA_TYPE: Final = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION: Final = "1.1"
PORTAL_VERSION: Final = "0.1.0"
UNEVALUATED: Final = "SLSA_BUILD_LEVEL_UNEVALUATED"
OURS: Final = "leoportal_"


class SummaryError(CodedError):
    """A summary that is not one. `code` is stable."""


@dataclass(frozen=True)
class Resource:
    """Something with an address and a digest: a policy, an input attestation."""

    uri: str
    digest: Mapping[str, str]


@dataclass(frozen=True)
class Summary:
    """One verification summary. `facts` are the portal's own fields, without their prefix."""

    subjects: Sequence[tuple[str, Mapping[str, str]]]
    verifier_id: str
    verifier_version: Mapping[str, str]
    time_verified: datetime
    resource_uri: str
    policy: Resource
    inputs: Sequence[Resource]
    is_passed: bool
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


def write_summary(summary: Summary) -> JsonValue:
    """The statement. Deterministic: the same facts give the same bytes in canonical JSON.

    No level is claimed: the portal verified a policy, it evaluated no SLSA track. A failed verification says FAILED.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": dict(digest)} for name, digest in summary.subjects],
        "predicateType": VSA_TYPE,
        "predicate": {
            "verifier": {"id": summary.verifier_id, "version": dict(summary.verifier_version)},
            "timeVerified": summary.time_verified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceUri": summary.resource_uri,
            "policy": {"uri": summary.policy.uri, "digest": dict(summary.policy.digest)},
            "inputAttestations": [{"uri": item.uri, "digest": dict(item.digest)} for item in summary.inputs],
            "verificationResult": "PASSED" if summary.is_passed else "FAILED",
            "verifiedLevels": [UNEVALUATED] if summary.is_passed else ["FAILED"],
            "slsaVersion": SLSA_VERSION,
            **{f"{OURS}{name}": value for name, value in summary.facts.items()},
        },
    }


def _digests(value: dict[str, str]) -> dict[str, str]:
    if not value or not all(
        name and digest and set(digest) <= set("0123456789abcdef") for name, digest in value.items()
    ):
        raise ValueError("expected at least one digest in lower-case hex")
    return value


_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_Uri = Annotated[str, StringConstraints(min_length=3, max_length=2000, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$")]
_Digests = Annotated[dict[str, str], AfterValidator(_digests)]
_Level = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,80}$")]


class _Wire(BaseModel):
    """Wire formats ignore fields they do not know, as in-toto's parsing rules say."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel)


class _Descriptor(_Wire):
    uri: _Uri
    digest: _Digests


class _Subject(_Wire):
    name: str = ""
    digest: _Digests


class _Verifier(_Wire):
    id: _Uri
    version: dict[str, str] = Field(default_factory=dict)


class _Predicate(_Wire):
    model_config = ConfigDict(strict=True, frozen=True, extra="allow", alias_generator=to_camel)

    verifier: _Verifier
    time_verified: _Text
    resource_uri: _Uri
    policy: _Descriptor
    input_attestations: list[_Descriptor] = Field(default_factory=list, max_length=1000)
    verification_result: Literal["PASSED", "FAILED"]
    verified_levels: list[_Level] = Field(min_length=1, max_length=100)
    dependency_levels: dict[str, int] = Field(default_factory=dict)
    slsa_version: _Text


class _Statement(_Wire):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1, max_length=100)
    predicate_type: Literal["https://slsa.dev/verification_summary/v1"]
    predicate: _Predicate


def parse_summary(raw: bytes) -> Summary:
    """Read a statement's bytes as a verification summary.

    Not checked: any signature; whether the subject, resource and policy are the ones the reader asked about.
    Raises: SummaryError("vsa.json"), ("vsa.malformed"), ("vsa.time"), ("vsa.levels").
    """
    try:
        statement = _Statement.model_validate(parse_json(raw))
    except JsonError as error:
        raise SummaryError("vsa.json", str(error)) from None
    except ValidationError as error:
        raise SummaryError("vsa.malformed", str(error.errors(include_url=False, include_input=False))[:500]) from None
    predicate = statement.predicate
    is_passed = predicate.verification_result == "PASSED"
    if is_passed == ("FAILED" in predicate.verified_levels):
        levels = ", ".join(predicate.verified_levels)
        raise SummaryError("vsa.levels", f"got {predicate.verification_result} with the levels {levels}")
    try:
        moment = datetime.strptime(predicate.time_verified, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise SummaryError("vsa.time", f"got {predicate.time_verified[:40]!r}, expected 2026-01-31T12:00:00Z") from None
    extra: dict[str, JsonValue] = predicate.model_extra or {}
    return Summary(
        subjects=tuple((item.name, item.digest) for item in statement.subject),
        verifier_id=predicate.verifier.id,
        verifier_version=predicate.verifier.version,
        time_verified=moment,
        resource_uri=predicate.resource_uri,
        policy=Resource(predicate.policy.uri, predicate.policy.digest),
        inputs=tuple(Resource(item.uri, item.digest) for item in predicate.input_attestations),
        is_passed=is_passed,
        facts={name.removeprefix(OURS): value for name, value in extra.items() if name.startswith(OURS)},
    )


@dataclass(frozen=True)
class UnverifiedEnvelope:
    """A DSSE envelope taken apart, before anybody checked its signature."""

    payload_type: str
    payload: bytes
    key_id: str
    signature: bytes


def read_envelope(raw: bytes) -> UnverifiedEnvelope:
    """Take a DSSE envelope with exactly one signature apart.

    Not checked: the signature. Raises: SummaryError("envelope.malformed").
    """
    try:
        match parse_json(raw):
            case {
                "payloadType": str(kind),
                "payload": str(payload),
                "signatures": [{"keyid": str(key_id), "sig": str(signature)}],
            }:
                opened = (base64.b64decode(text, validate=True) for text in (payload, signature))
                return UnverifiedEnvelope(kind, next(opened), key_id, next(opened))
    except (JsonError, binascii.Error) as error:
        raise SummaryError("envelope.malformed", str(error)) from None
    raise SummaryError("envelope.malformed", "expected payloadType, payload and one signature with its keyid")


def digest_of_json(value: JsonValue) -> str:
    """SHA-256 of a value's canonical JSON, lower-case hex. Source: RFC 8785."""
    return hashlib.sha256(write_json(value)).hexdigest()


def policy_resource(portal_url: str, digest: str) -> Resource:
    """A policy of the portal, by its digest."""
    return Resource(f"{portal_url}/policies/{digest}", {"sha256": digest})


@dataclass(frozen=True)
class Verified:
    """What the enforcer verified, for its statement. Digests are lower-case hex."""

    digest: str
    handoff: str
    merge_base: str
    result_tree: str
    verified_at: datetime
    checks: Sequence[str]
    verifier_id: str
    policy_digest: str
    attestation_digest: str


def verification_summary(verified: Verified, *, fingerprint: str = "") -> JsonValue:
    """The portal-observed statement: this artifact passed these checks. The builder's levels are not repeated.

    It may be sent to a public log, and so it names the repository only by the digest of the artifact, whose manifest
    names it (ATT-15). `fingerprint` is that of the OpenPGP key, if one signs.
    """
    key: dict[str, JsonValue] = {"signingKeyFingerprint": fingerprint} if fingerprint else {}
    return write_summary(
        Summary(
            subjects=(("artifact.tar.gz", {"sha256": verified.digest}),),
            verifier_id=verified.verifier_id,
            verifier_version={"leoportal": PORTAL_VERSION},
            time_verified=verified.verified_at,
            resource_uri=f"pkg:generic/artifact.tar.gz?checksum=sha256:{verified.digest}",
            policy=Resource(
                f"{verified.verifier_id}/policies/{verified.policy_digest}", {"sha256": verified.policy_digest}
            ),
            inputs=(
                Resource(
                    f"{verified.verifier_id}/artifacts/{verified.digest}/attestation.intoto.json",
                    {"sha256": verified.attestation_digest},
                ),
            ),
            is_passed=True,
            facts={
                "checks": list(verified.checks),
                "handoff": verified.handoff,
                "mergeBase": verified.merge_base,
                "resultTree": verified.result_tree,
                **key,
            },
        )
    )
