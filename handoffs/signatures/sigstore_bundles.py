"""Sigstore bundles: read strictly, before any library sees them, and everything said about them that needs no root.

A bundle nobody can judge here (a managed key, an entry of a kind the verifier does not know, one without an inclusion
proof) is *unsupported*; it is called that only if what it holds does not contradict itself, so a forgery is still
called one.

Not checked: anything that needs a trusted root. See `handoffs.signatures.sigstore_verifying`.
Source: Sigstore protobuf-specs bundle v0.1 to v0.3; DSSE v1.0.2; Fulcio's certificate extensions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from pydantic import ValidationError

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from handoffs.attestations.dsse import pae
from handoffs.bundles.bundle import explain
from handoffs.signatures.certificates import CertificateError, read_certificate
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_wire import MAX_BUNDLE_BYTES, BundleWire, Entry
from handoffs.signatures.trust_roots import is_authority, leaf_problem

V0_3: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OLDER: Final = "application/vnd.dev.sigstore.bundle+json;version="
MEDIA_TYPES: Final = frozenset({V0_3, *(f"{_OLDER}{minor}" for minor in ("0.1", "0.2", "0.3"))})
LEAF_ONLY: Final = frozenset({V0_3, f"{_OLDER}0.3"})
_ENVELOPE: Final = frozenset({"payload", "payloadType", "signatures"})
_KNOWN_ENTRIES: Final = frozenset({("hashedrekord", "0.0.1"), ("hashedrekord", "0.0.2"), ("dsse", "0.0.1")})
_NUMBER: Final = re.compile(r"(0|[1-9][0-9]{0,19})\Z")


@dataclass(frozen=True)
class SigstoreBundle:
    """A bundle as far as it can be read without a root.

    `payload` and `payload_type` are of the DSSE envelope, None for a signature over an artifact. `integrated_at` is
    None unless the log promised it. `unsupported` says why nobody here can judge it; empty when somebody can.
    `as_message` is set where the log took a digest of an envelope: the same signature as one over that digest.
    """

    raw: bytes
    media_type: str
    certificate: x509.Certificate
    certified_at: tuple[datetime, ...]
    payload_type: str | None
    payload: bytes | None
    log_id: str
    log_index: int
    integrated_at: datetime | None
    timestamps: tuple[bytes, ...]
    signature: bytes
    unsupported: str
    as_message: tuple[bytes, bytes] | None = None


def is_sigstore_bundle(value: JsonValue) -> bool:
    """Whether a JSON document looks like a Sigstore bundle, good or bad."""
    return isinstance(value, dict) and "verificationMaterial" in value


def parse_sigstore_bundle(raw: bytes, *, digest: bytes | None = None) -> SigstoreBundle:
    """Read a bundle and refuse everything that can be refused without a root.

    Shape: `digest` is the SHA-256 of the artifact, where there is one; it serves only to tell a forgery from what is
    unsupported.
    Raises: RefusedError with sigstore.json, sigstore.unsupported, sigstore.malformed, sigstore.log, sigstore.time,
    sigstore.certificate, sigstore.signature or sigstore.entry.
    """
    try:
        value = parse_json(raw, max_bytes=MAX_BUNDLE_BYTES)
    except JsonError as error:
        raise RefusedError("sigstore.json", str(error), "one strict JSON document") from None
    return read_sigstore_bundle(raw, value, digest=digest)


def read_sigstore_bundle(raw: bytes, value: JsonValue, *, digest: bytes | None = None) -> SigstoreBundle:
    """The same of bytes that were read strictly already: `value` is what they say."""
    _refuse_other_formats(value)
    try:
        bundle = BundleWire.model_validate(value)
    except ValidationError as error:
        raise _malformed(explain(error)) from None
    if (bundle.message is None) == (bundle.envelope is None):
        raise _malformed("both or neither of messageSignature and dsseEnvelope")
    certificate, others = _certificates(bundle)
    payload = None if bundle.envelope is None else _decoded(bundle.envelope.payload, "the payload")
    if len(bundle.material.tlog_entries) != 1:
        raise RefusedError("sigstore.log", f"{len(bundle.material.tlog_entries)} log entries", "exactly one")
    entry = bundle.material.tlog_entries[0]
    signature = (
        bundle.envelope.signatures[0].sig if bundle.envelope else bundle.message.signature if bundle.message else ""
    )
    signed = _decoded(signature, "a signature", code="sigstore.signature")
    numbers = {"logIndex": entry.log_index, "integratedTime": entry.integrated_time}
    if (proof := entry.inclusion_proof) is not None:
        numbers |= {"inclusionProof.logIndex": proof.log_index, "treeSize": proof.tree_size}
    for name, number in numbers.items():
        if not _NUMBER.match(number):
            raise _malformed(f"{name} {number[:40]!a}")
    unsupported = _unsupported(bundle, entry, certificate)
    covered = digest
    if bundle.envelope is not None and payload is not None:
        covered = hashlib.sha256(pae(bundle.envelope.payload_type, payload)).digest()
    if unsupported:
        _refuse_contradictions(entry, certificate, signed, covered, payload)
    else:
        _refuse_incomplete(entry, others)
    return SigstoreBundle(
        raw=raw,
        media_type=bundle.media_type,
        certificate=certificate,
        certified_at=_sct_times(certificate),
        payload_type=bundle.envelope.payload_type if bundle.envelope else None,
        payload=payload,
        log_id=entry.log_id.key_id,
        log_index=int((entry.inclusion_proof or entry).log_index),
        integrated_at=_integrated_at(entry),
        timestamps=tuple(
            _decoded(item.signed_timestamp, "a timestamp")
            for item in (bundle.material.timestamps.rfc3161_timestamps if bundle.material.timestamps else ())
        ),
        signature=signed,
        unsupported=unsupported,
        as_message=_as_message(value, entry, signature, covered) if bundle.envelope and covered else None,
    )


def _as_message(value: JsonValue, entry: Entry, signature: str, covered: bytes) -> tuple[bytes, bytes] | None:
    """An envelope that Rekor v1 knows by the digest its signature covers: that digest, and a bundle over it.

    The library judges such an entry only beside a message. Source: Sigstore client specification on the kinds of
    entries; DSSE's PAE.
    """
    if (entry.kind_version.kind, entry.kind_version.version) != ("hashedrekord", "0.0.1") or not isinstance(
        value, dict
    ):
        return None
    told: JsonValue = {"algorithm": "SHA2_256", "digest": base64.b64encode(covered).decode()}
    rest = {name: member for name, member in value.items() if name != "dsseEnvelope"}
    return covered, write_json({**rest, "messageSignature": {"messageDigest": told, "signature": signature}})


def _refuse_other_formats(value: JsonValue) -> None:
    if not isinstance(value, dict):
        raise _malformed(type(value).__name__)
    if "verificationMaterial" not in value and value.keys() & _ENVELOPE:
        raise _unsupportable("a bare DSSE envelope: nothing in it shows when it was signed, or that it was logged")
    media_type = value.get("mediaType")
    if not isinstance(media_type, str) or media_type not in MEDIA_TYPES:
        raise _unsupportable(f"mediaType {str(media_type)[:80]!a}")
    material = value.get("verificationMaterial")
    if isinstance(material, dict) and "publicKey" in material:
        raise _unsupportable("a signature by a managed key: no certificate says whose it is")


def _certificates(bundle: BundleWire) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """The signing certificate, and what an older bundle brings beside it."""
    material = bundle.material
    if (material.certificate is None) == (material.chain is None):
        raise _malformed("both or neither of certificate and x509CertificateChain")
    if bundle.media_type in LEAF_ONLY and material.certificate is None:
        raise _malformed("a chain in a bundle of version 0.3")
    raws = [material.certificate] if material.certificate else material.chain.certificates if material.chain else []
    try:
        leaf, *others = [read_certificate(_decoded(item.raw_bytes, "a certificate")) for item in raws]
    except CertificateError as error:
        raise _malformed(f"a certificate that cannot be read: {error}") from None
    if problem := leaf_problem(leaf):
        raise RefusedError("sigstore.certificate", problem, "a code signing certificate")
    return leaf, others


def _unsupported(bundle: BundleWire, entry: Entry, certificate: x509.Certificate) -> str:
    """Why nobody here can judge a bundle that may be whole; empty if somebody can."""
    kind = (entry.kind_version.kind, entry.kind_version.version)
    if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
        return "a signature by another kind of key than ECDSA"
    told = bundle.message.message_digest if bundle.message else None
    if told is not None and told.algorithm != "SHA2_256":
        return f"a message digest by {told.algorithm[:40]}"
    if entry.inclusion_proof is None and bundle.media_type == f"{_OLDER}0.1":
        return "version 0.1 without an inclusion proof"
    return "" if kind in _KNOWN_ENTRIES else f"a log entry of kind {kind[0][:40]} {kind[1][:20]}"


def _refuse_incomplete(entry: Entry, others: list[x509.Certificate]) -> None:
    """Roots are pinned here, not brought along; an entry comes with its proof, a proof with its checkpoint."""
    if any(one.issuer == one.subject and is_authority(one) for one in others):
        raise RefusedError("sigstore.certificate", "a chain that brings its own root", "none; roots are pinned here")
    if entry.inclusion_proof is None:
        raise RefusedError("sigstore.log", "an entry without an inclusion proof", "one, with its checkpoint")
    if entry.inclusion_proof.checkpoint is None:
        raise RefusedError("sigstore.log", "an inclusion proof without a checkpoint", "a signed checkpoint")


def _refuse_contradictions(
    entry: Entry, certificate: x509.Certificate, signature: bytes, covered: bytes | None, payload: bytes | None
) -> None:
    """What cannot be judged may still contradict itself: the signature under its own certificate, the logged hash."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and covered is not None:
        try:
            key.verify(signature, covered, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        except InvalidSignature:
            raise RefusedError("sigstore.signature", "a signature of something else", "its certificate's") from None
    logged = _logged_payload_hash(entry)
    if payload is not None and logged and logged != hashlib.sha256(payload).hexdigest():
        raise RefusedError("sigstore.entry", f"a log entry for the payload {logged[:64]}", "one for this payload")


def _logged_payload_hash(entry: Entry) -> str:
    """The payload's SHA-256 as the entry's body tells it; empty if it does not."""
    try:
        body: Any = parse_json(_decoded(entry.canonicalized_body, "the entry"))
        spec = body["spec"]
        found = spec["content"]["payloadHash"] if "content" in spec else spec["payloadHash"]
        return str(found["value"]) if found["algorithm"] == "sha256" else ""
    except (JsonError, KeyError, TypeError):
        return ""


def _integrated_at(entry: Entry) -> datetime | None:
    """When the log says it took the entry; nothing binds the number unless the log signed a promise."""
    if entry.inclusion_promise is None or entry.integrated_time == "0":
        return None
    try:
        return datetime.fromtimestamp(int(entry.integrated_time), UTC)
    except (ValueError, OverflowError, OSError):
        raise _malformed(f"integratedTime {entry.integrated_time[:40]}") from None


def _sct_times(certificate: x509.Certificate) -> tuple[datetime, ...]:
    """When the certificate transparency logs say they saw the certificate."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
        return tuple(sct.timestamp.replace(tzinfo=UTC) for sct in found.value)
    except (x509.ExtensionNotFound, ValueError):
        return ()


def _decoded(text: str, what: str, *, code: str = "sigstore.malformed") -> bytes:
    """Canonical base64 only: a text that two readers could write differently could be changed without notice."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.b64encode(raw).decode() != text:
        raise RefusedError(code, f"{what} that is not canonical base64", "canonical base64")
    return raw


def _malformed(got: str) -> RefusedError:
    return RefusedError("sigstore.malformed", got, "a Sigstore bundle as its specification says")


def _unsupportable(got: str) -> RefusedError:
    return RefusedError("sigstore.unsupported", got, "a keyless Sigstore bundle, version 0.3")
