"""in-toto statements with SLSA provenance: reading a builder's claim, writing ours.

A statement lies bare in the bundle, in a DSSE envelope, or in a Sigstore bundle of version 0.3 that holds an envelope.

Not checked: signatures (`handoffs.checks.builder_signatures` does, where the policy pins whose). What a builder says of
itself is a claim and stays one.
Source: in-toto Statement v1; SLSA provenance v0.2 and v1; DSSE v1.0.2.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from handoffs.attestations.dsse import PAYLOAD_TYPE
from handoffs.attestations.provenance import Envelope, ProvenanceV02, ProvenanceV1, RawStatement, Subject
from handoffs.bundles.bundle import BundleError, explain
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_bundles import LEAF_ONLY, SigstoreBundle, is_sigstore_bundle, read_sigstore_bundle

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PROVENANCE_V02: Final = "https://slsa.dev/provenance/v0.2"
PROVENANCE_V1: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:leoportal:build-type:bundle:1"
EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
LENGTHS: Final = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_ENVELOPE: Final = frozenset({"payload", "payloadType", "signatures"})
_HEX: Final = re.compile(r"[0-9a-f]+\Z")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*\Z")


@dataclass(frozen=True)
class Dependency:
    """One material (v0.2) or resolved dependency (v1)."""

    uri: str
    digest: Mapping[str, str]


@dataclass(frozen=True)
class Claims:
    """What a predicate says about the build itself, true or not. None: it says nothing."""

    has_parameters: bool = False
    is_complete: bool | None = None
    is_reproducible: bool | None = None
    run: str = ""


@dataclass(frozen=True)
class Statement:
    """A statement that could be read, of either provenance version."""

    predicate_type: str
    subjects: tuple[Subject, ...]
    builder_id: str
    build_type: str
    dependencies: tuple[Dependency, ...]
    envelope: Envelope | None
    sigstore: SigstoreBundle | None
    claims: Claims


def parse_envelope(value: JsonValue) -> tuple[Envelope, bytes]:
    """An envelope and the bytes it carries.

    Raises: BundleError("attestation.envelope").
    Not checked: the signatures.
    """
    try:
        envelope = Envelope.model_validate(value)
        payload = _decoded(envelope.payload)
        for signature in envelope.signatures:
            _decoded(signature.sig)
    except ValidationError as error:
        raise BundleError("attestation.envelope", explain(error)) from None
    except (binascii.Error, ValueError):
        raise BundleError("attestation.envelope", "got a payload or signature that is not canonical base64") from None
    return envelope, payload


def _decoded(text: str) -> bytes:
    """Base64 of either alphabet, as DSSE asks for; one spelling in each. Raises: ValueError."""
    alphabet = b"-_" if {"-", "_"} & set(text) else b"+/"
    raw = base64.b64decode(text, alphabet, validate=True)
    if base64.b64encode(raw, alphabet).decode() != text:
        raise ValueError
    return raw


def parse_attestation(raw: bytes, *, max_bytes: int = 1 << 20) -> Statement:
    """Read `attestation.intoto.json`.

    Raises: BundleError with the code of the check that reports it: attestation.envelope,
    attestation.statement, attestation.predicate.
    """
    envelope, sigstore = None, None
    try:
        value = parse_json(raw, max_bytes=max_bytes)
        if is_sigstore_bundle(value):
            sigstore = _read_sigstore(raw, value)
            value = parse_json(sigstore.payload or b"", max_bytes=max_bytes)
        elif isinstance(value, dict) and "_type" not in value and value.keys() & _ENVELOPE:
            envelope, payload = parse_envelope(value)
            value = parse_json(payload, max_bytes=max_bytes)
    except JsonError as error:
        raise BundleError("attestation.statement", str(error)) from None
    return replace(_with_predicate(_statement_of(value)), envelope=envelope, sigstore=sigstore)


def _statement_of(value: JsonValue) -> RawStatement:
    try:
        return RawStatement.model_validate(value)
    except ValidationError as error:
        raise BundleError("attestation.statement", explain(error)) from None


def _read_sigstore(raw: bytes, value: JsonValue) -> SigstoreBundle:
    """A Sigstore bundle around an envelope of exactly the in-toto type."""
    try:
        found = read_sigstore_bundle(raw, value)
    except RefusedError as error:
        raise BundleError("attestation.envelope", str(error)) from None
    if found.media_type not in LEAF_ONLY:
        raise BundleError("attestation.envelope", f"got {found.media_type}, expected a Sigstore bundle of version 0.3")
    if found.payload_type != PAYLOAD_TYPE:
        got = "a signature without an envelope" if found.payload_type is None else ascii(found.payload_type)[:100]
        raise BundleError("attestation.envelope", f"got {got}, expected payloadType {PAYLOAD_TYPE}")
    return found


def _with_predicate(statement: RawStatement) -> Statement:
    try:
        match statement.predicate_type:
            case "https://slsa.dev/provenance/v1":
                v1 = ProvenanceV1.model_validate(statement.predicate)
                builder, build_type = v1.run_details.builder.id, v1.build_definition.build_type
                found = v1.build_definition.resolved_dependencies
                dependencies = tuple(Dependency(item.uri, item.digest) for item in found)
                run = v1.run_details.metadata.invocation_id if v1.run_details.metadata else ""
                claims = Claims(has_parameters=bool(v1.build_definition.external_parameters), run=run)
            case "https://slsa.dev/provenance/v0.2":
                v02 = ProvenanceV02.model_validate(statement.predicate)
                builder, build_type = v02.builder.id, v02.build_type
                dependencies = tuple(Dependency(item.uri, item.digest) for item in v02.materials)
                claims = _claims_v02(v02)
            case other:
                detail = f"got predicateType {other[:100]!a}, expected SLSA provenance v0.2 or v1"
                raise BundleError("attestation.predicate", detail)
    except ValidationError as error:
        raise BundleError("attestation.predicate", f"{statement.predicate_type}: {explain(error)}") from None
    return Statement(
        predicate_type=statement.predicate_type,
        subjects=tuple(statement.subject),
        builder_id=builder,
        build_type=build_type,
        dependencies=dependencies,
        envelope=None,
        sigstore=None,
        claims=claims,
    )


def _claims_v02(predicate: ProvenanceV02) -> Claims:
    metadata = predicate.metadata or {}
    completeness = metadata.get("completeness")
    parts = [completeness.get(part) for part in ("parameters", "materials")] if isinstance(completeness, dict) else []
    reproducible, run = metadata.get("reproducible"), metadata.get("buildInvocationID")
    return Claims(
        has_parameters=predicate.invocation is not None,
        is_complete=all(part is True for part in parts) if parts else None,
        is_reproducible=reproducible if isinstance(reproducible, bool) else None,
        run=run if isinstance(run, str) else "",
    )


def digest_problem(digest: Mapping[str, str]) -> str:
    """Why a digest set is refused, in words; empty when every digest in it is well-formed."""
    for name, value in digest.items():
        if not _HEX.match(value):
            return f"{name} is not lower-case hex" if value else f"{name} is empty"
        if name in LENGTHS and len(value) != LENGTHS[name]:
            return f"{name} has {len(value)} digits"
        if name in {"gitCommit", "gitTree", "gitBlob", "gitTag"} and len(value) not in {40, 64}:
            return f"{name} has {len(value)} digits"
        if value == EMPTY_SHA256:
            return f"{name} is the digest of the empty file"
    return ""


def is_absolute_uri(text: str) -> bool:
    """Whether a text is an absolute URI in plain ASCII: a scheme, and something after it."""
    if not text.isascii() or any(character <= " " or character in '<>"{}|\\^`\x7f' for character in text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if not _SCHEME.match(parts.scheme) or len(parts.scheme) < 2:
        return False
    if parts.scheme in {"http", "https", "ssh", "git", "git+https", "git+ssh", "git+http"}:
        return bool(parts.hostname)
    return bool(parts.path.strip("/") or parts.netloc)


def names_repository(uri: str, repository: str) -> bool:
    """Whether a source URI is of the repository `owner/name`, on whatever host."""
    if not is_absolute_uri(uri):
        return False
    parts = urlsplit(uri)
    path = parts.path.split("@", 1)[0].strip("/").removesuffix(".git")
    return parts.scheme in {"https", "ssh", "git+https", "git+ssh"} and path == repository


def build_statement(
    *,
    subjects: Mapping[str, str],
    repository: str,
    merge_base: str,
    builder_id: str,
    parameters: Mapping[str, str],
    created_at: str,
) -> bytes:
    """A builder's statement over the other members: Statement v1 with SLSA provenance v1, canonical JSON.

    Units: `subjects` maps names to SHA-256 in lower-case hex.
    Not checked: that any of it is true.
    """
    external: dict[str, JsonValue] = dict(parameters)
    names: list[JsonValue] = [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)]
    dependency: JsonValue = {
        "uri": f"git+https://github.com/{repository}",
        "digest": {"gitCommit": merge_base},
    }
    return write_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": names,
            "predicateType": PROVENANCE_V1,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": external,
                    "resolvedDependencies": [dependency],
                },
                "runDetails": {"builder": {"id": builder_id}, "metadata": {"startedOn": created_at}},
            },
        }
    )
