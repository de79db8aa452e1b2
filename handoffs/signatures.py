"""OpenPGP signing and verifying, in process, and the DSSE envelope around the portal's own statements.

The library leaves to us, and we do: refuse expired and revoked certificates before signing, pin the full primary
fingerprint, require exactly one signature. Time is judged by the caller's own receipt time.
Source: RFC 9580; DSSE v1 (pre-authentication encoding); SLSA Verification Summary Attestation v1.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pysequoia
from cryptography.fernet import Fernet, InvalidToken

from audit.canonical import JsonValue, parse_json, write_json

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
VSA_TYPE: Final = "https://slsa.dev/verification_summary/v1"
VALIDITY: Final = timedelta(days=30)
BACKDATED: Final = timedelta(seconds=60)
ARMOR_BEGIN: Final = b"-----BEGIN PGP SIGNATURE-----"


class SignatureError(Exception):
    """A key that may not sign, or a signature that does not hold. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class NewKey:
    """A key pair just made. `secret` is already encrypted."""

    fingerprint: str
    user_id: str
    public_key: str
    secret: bytes
    created_at: datetime
    expires_at: datetime


def generate_key(user_id: str, *, password: str, bits: int) -> NewKey:
    """Make an RSA signing key that is valid for 30 days.

    Units: `bits` 4096 in production (SOP 10.3); 2048 only for throw-away test keys.
    """
    suites = {4096: pysequoia.CipherSuite.RSA4k, 3072: pysequoia.CipherSuite.RSA3k, 2048: pysequoia.CipherSuite.RSA2k}
    seconds = int((VALIDITY + BACKDATED).total_seconds())
    secret = pysequoia.Tsk.generate(user_id, cipher_suite=suites[bits], validity_seconds=seconds)
    certificate = secret.extract_certificate()
    expires_at = certificate.expiration
    if expires_at is None:
        raise SignatureError("key.no_expiry", "the key that was made has no expiry")
    return NewKey(
        fingerprint=certificate.fingerprint.upper(),
        user_id=user_id,
        public_key=str(certificate),
        secret=_vault(password).encrypt(bytes(secret)),
        created_at=expires_at - VALIDITY,
        expires_at=expires_at,
    )


class Signer:
    """One private key, opened for one piece of work."""

    def __init__(self, secret: bytes, *, password: str, fingerprint: str, now: datetime) -> None:
        try:
            tsk = pysequoia.Tsk.from_bytes(_vault(password).decrypt(secret))
        except InvalidToken:
            raise SignatureError(
                "key.password", "the signing key does not open with SIGNING_KEY_PASSWORD; restore that secret"
            ) from None
        certificate = tsk.extract_certificate()
        if certificate.fingerprint.upper() != fingerprint:
            raise SignatureError("key.mismatch", f"got {certificate.fingerprint.upper()}, expected {fingerprint}")
        if certificate.is_revoked:
            raise SignatureError("key.revoked", f"{fingerprint} is revoked")
        if certificate.expiration is None or certificate.expiration <= now:
            raise SignatureError("key.expired", f"{fingerprint} expired {certificate.expiration}")
        self.fingerprint = fingerprint
        self._signer = tsk.signer()

    def sign(self, data: bytes) -> str:
        """An ASCII-armoured detached signature over `data`."""
        return pysequoia.sign(self._signer, data, mode=pysequoia.SignatureMode.DETACHED).decode()

    def envelope(self, statement: JsonValue) -> bytes:
        """A DSSE envelope whose signature is a detached OpenPGP signature over the PAE."""
        payload = write_json(statement)
        signature = self.sign(pae(PAYLOAD_TYPE, payload)).encode()
        return write_json(
            {
                "payloadType": PAYLOAD_TYPE,
                "payload": base64.b64encode(payload).decode(),
                "signatures": [{"keyid": self.fingerprint, "sig": base64.b64encode(signature).decode()}],
            }
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding. Source: DSSE protocol, "PAE"."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def verify_detached(data: bytes, signature: str, *, public_key: str, fingerprint: str) -> None:
    """Check one detached signature by one pinned certificate.

    Not checked: whether the key was trusted when the signature was received (the caller knows when that was).
    Raises: SignatureError.
    """
    raw = signature.encode()
    if raw.count(ARMOR_BEGIN) != 1:
        raise SignatureError("signature.count", f"got {raw.count(ARMOR_BEGIN)} armoured signatures, expected one")
    try:
        certificate = pysequoia.Cert.from_bytes(public_key.encode())
        parsed = pysequoia.Sig.from_bytes(raw)
        result = pysequoia.verify(bytes=data, store=lambda _ids: [certificate], signature=parsed)
    except (RuntimeError, ValueError) as error:
        raise SignatureError("signature.bad", str(error).splitlines()[0][:300]) from None
    found = [item.certificate.upper() for item in result.valid_sigs]
    if found != [fingerprint]:
        raise SignatureError("signature.signer", f"got {found}, expected {fingerprint}")
    if certificate.is_revoked:
        raise SignatureError("key.revoked", f"{fingerprint} is revoked")


def open_envelope(raw: bytes, *, public_key: str, fingerprint: str) -> JsonValue:
    """The statement of a DSSE envelope made by `Signer.envelope`, after its signature was checked.

    The verified bytes are the parsed bytes. Raises: SignatureError.
    """
    envelope = parse_json(raw)
    match envelope:
        case {
            "payloadType": str(kind),
            "payload": str(payload),
            "signatures": [{"keyid": str(keyid), "sig": str(signature)}],
        } if kind == PAYLOAD_TYPE and keyid == fingerprint:
            body = base64.b64decode(payload, validate=True)
            text = base64.b64decode(signature, validate=True).decode("ascii")
            verify_detached(pae(kind, body), text, public_key=public_key, fingerprint=fingerprint)
            return parse_json(body)
        case _:
            raise SignatureError("envelope.malformed", f"expected one signature by {fingerprint} of {PAYLOAD_TYPE}")


@dataclass(frozen=True)
class Verified:
    """What the enforcer verified, for its statement."""

    digest: str
    handoff: str
    merge_base: str
    result_tree: str
    verified_at: datetime
    checks: Sequence[str]
    verifier_id: str


def verification_summary(verified: Verified, *, fingerprint: str = "") -> JsonValue:
    """The portal-observed statement: this artifact passed these checks. The builder's levels are not repeated.

    Deterministic: the same verified facts give the same bytes. It may be sent to a public log, and so it names the
    repository only by the digest of the artifact, whose manifest names it (ATT-15). `fingerprint` is that of the
    OpenPGP key, if one signs. Source: SLSA VSA v1.
    """
    key: dict[str, JsonValue] = {"leoportal_signingKeyFingerprint": fingerprint} if fingerprint else {}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "artifact.tar.gz", "digest": {"sha256": verified.digest}}],
        "predicateType": VSA_TYPE,
        "predicate": {
            "verifier": {"id": verified.verifier_id, "version": {"leoportal": "0.1.0"}},
            "timeVerified": verified.verified_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceUri": f"pkg:generic/artifact.tar.gz?checksum=sha256:{verified.digest}",
            "policy": {"uri": f"{verified.verifier_id}#bundle-checks", "digest": _digest_of(verified.checks)},
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED"],
            "slsaVersion": "1.0",
            "leoportal_handoff": verified.handoff,
            "leoportal_mergeBase": verified.merge_base,
            "leoportal_resultTree": verified.result_tree,
            **key,
        },
    }


def _digest_of(checks: Sequence[str]) -> dict[str, JsonValue]:
    return {"sha256": hashlib.sha256("\n".join(checks).encode()).hexdigest()}


def _vault(password: str) -> Fernet:
    if not re.fullmatch(r"\S{16,}", password):
        raise SignatureError("key.password", "SIGNING_KEY_PASSWORD must have at least 16 characters without spaces")
    key = hashlib.scrypt(password.encode(), salt=b"leoportal signing key v1", n=2**14, r=8, p=1, dklen=32)
    return Fernet(base64.urlsafe_b64encode(key))
