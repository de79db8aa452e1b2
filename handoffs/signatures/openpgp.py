"""OpenPGP signing and verifying, in process, and the DSSE envelope around the portal's own statements.

The library leaves to us, and we do: refuse expired and revoked certificates before every signature, pin the full
primary fingerprint, require exactly one signature, and judge time by the receipt, never by what a signature says of
itself. `str()` of a private key is the private key: none is ever printed, and none leaves this module unencrypted.
Source: RFC 9580; DSSE v1 (pre-authentication encoding).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pysequoia
from cryptography.fernet import Fernet, InvalidToken

from audit.canonical import JsonValue, parse_json, write_json
from audit.coded import CodedError
from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from handoffs.signatures.key_rules import MIN_PASSWORD, VALIDITY, Algorithm, KeyRuleError, refuse_known_key

BACKDATED: Final = timedelta(seconds=60)
# How far a signature's own time may lie from the moment the portal received it. ATT-07.
MAX_SKEW: Final = timedelta(minutes=5)
ARMOR_BEGIN: Final = b"-----BEGIN PGP SIGNATURE-----"


class SignatureError(CodedError):
    """A key that may not sign, or a signature that does not hold. `code` is stable."""


@dataclass(frozen=True)
class NewKey:
    """A key pair just made. `secret` and `revocation` are already encrypted."""

    fingerprint: str
    user_id: str
    algorithm: Algorithm
    public_key: str
    secret: bytes = field(repr=False)
    revocation: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime


def generate_key(user_id: str, *, password: str, algorithm: Algorithm) -> NewKey:
    """Make a signing key that is valid for 30 days, and the revocation certificate it may need one day.

    Units: RSA-4096 takes 6 to 25 s, Ed25519 about 1 ms.
    """
    suites = {
        Algorithm.RSA_4096: pysequoia.CipherSuite.RSA4k,
        Algorithm.RSA_3072: pysequoia.CipherSuite.RSA3k,
        Algorithm.ED25519: pysequoia.CipherSuite.Cv25519,
    }
    vault = _vault(password)
    seconds = int((VALIDITY + BACKDATED).total_seconds())
    secret = pysequoia.Tsk.generate(user_id, cipher_suite=suites[algorithm], validity_seconds=seconds)
    certificate = secret.extract_certificate()
    expires_at = certificate.expiration
    if expires_at is None:
        raise SignatureError("key.no_expiry", "the key that was made has no expiry")
    return NewKey(
        fingerprint=certificate.fingerprint.upper(),
        user_id=user_id,
        algorithm=algorithm,
        public_key=str(certificate),
        secret=vault.encrypt(bytes(secret)),
        revocation=vault.encrypt(bytes(certificate.revoke(secret.certifier()))),
        created_at=expires_at - VALIDITY,
        expires_at=expires_at,
    )


def revoked_certificate(public_key: str, revocation: bytes, *, password: str) -> str:
    """The certificate with its revocation in it, for other people's keyrings.

    Not for verifying what was signed before: OpenPGP has no "since" for a revocation, and refuses all of it.
    """
    certificate = pysequoia.Cert.from_bytes(public_key.encode())
    try:
        opened = _vault(password).decrypt(revocation)
    except InvalidToken:
        raise SignatureError("key.password", "the revocation does not open with SIGNING_KEY_PASSWORD") from None
    revoked = pysequoia.Cert.from_bytes(bytes(certificate) + opened)
    if not revoked.is_revoked:
        raise SignatureError("key.revocation", f"the stored revocation does not revoke {certificate.fingerprint}")
    return str(revoked)


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


class Signer:
    """One private key, opened for one piece of work. Each signature asks again whether the key may still sign."""

    def __init__(
        self,
        secret: bytes,
        *,
        password: str,
        fingerprint: str,
        now: datetime,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        if not secret:
            raise SignatureError("key.retired", f"the private half of {fingerprint} was destroyed when it retired")
        try:
            refuse_known_key(fingerprint)
        except KeyRuleError as error:
            raise SignatureError(error.code, error.detail) from None
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
        if certificate.expiration is None:
            raise SignatureError("key.no_expiry", f"{fingerprint} never expires")
        self.fingerprint = fingerprint
        self._expires_at: datetime = certificate.expiration
        self._clock = clock
        self._refuse_expired(now)
        self._signer = tsk.signer()

    def sign(self, data: bytes) -> str:
        """An ASCII-armoured detached signature over `data`.

        Raises: SignatureError("key.expired"), also for a signer that was opened in time; ("time.untrusted") when the
        machine's clock moved between our look at it and the library's.
        """
        now = self._clock()
        self._refuse_expired(now)
        signature: bytes = pysequoia.sign(self._signer, data, mode=pysequoia.SignatureMode.DETACHED)
        _refuse_other_time(pysequoia.Sig.from_bytes(signature).created, now)
        return signature.decode()

    def _refuse_expired(self, now: datetime) -> None:
        if self._expires_at <= now:
            raise SignatureError("key.expired", f"{self.fingerprint} expired {self._expires_at:%Y-%m-%d %H:%M} UTC")

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


def verify_detached(
    data: bytes, signature: str, *, public_key: str, fingerprint: str, received_at: datetime | None = None
) -> None:
    """Check one detached signature by one pinned certificate.

    `received_at` is when the portal itself got the signature: the time inside must agree with it, because whoever
    holds the key of an expired certificate can date a signature as they like (ATT-07).
    Not checked: whether the key was trusted at that moment (`handoffs.keys.verify_receipt` does); with no
    `received_at`, anything about time but that the signature is not from the future.
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
    if received_at is not None:
        _refuse_other_time(parsed.created, received_at)


def _refuse_other_time(created: datetime | None, received_at: datetime) -> None:
    if created is None or abs(created - received_at) > MAX_SKEW:
        said = created.isoformat() if created else "no time"
        raise SignatureError(
            "time.untrusted", f"the signature says {said}, the portal received it {received_at.isoformat()}"
        )


def open_envelope(raw: bytes, *, public_key: str, fingerprint: str, received_at: datetime | None = None) -> JsonValue:
    """The statement of a DSSE envelope made by `Signer.envelope`, after its signature was checked.

    The verified bytes are the parsed bytes. `received_at`: as for `verify_detached`.
    Raises: SignatureError, JsonError, ValueError (base64).
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
            verify_detached(
                pae(kind, body), text, public_key=public_key, fingerprint=fingerprint, received_at=received_at
            )
            return parse_json(body)
        case _:
            raise SignatureError("envelope.malformed", f"expected one signature by {fingerprint} of {PAYLOAD_TYPE}")


def _vault(password: str) -> Fernet:
    if len(password) < MIN_PASSWORD:
        raise SignatureError("key.password", f"SIGNING_KEY_PASSWORD must have at least {MIN_PASSWORD} characters")
    key = hashlib.scrypt(password.encode(), salt=b"leoportal signing key v1", n=2**14, r=8, p=1, dklen=32)
    return Fernet(base64.urlsafe_b64encode(key))
