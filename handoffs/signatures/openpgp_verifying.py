"""Verifying OpenPGP signatures away from the portal: one pinned certificate, at a time that somebody vouches for.

Whoever holds an expired key can date a signature as they like. So an expired certificate is taken only for a signature
that was received before it expired, and when that was the caller says: from the portal's trail, not from the signature.
Source: RFC 9580; ATT-06 and ATT-07 of the threat list.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pysequoia

from audit.canonical import JsonError, parse_json
from handoffs.attestations.attestations import parse_envelope
from handoffs.attestations.dsse import pae
from handoffs.bundles.bundle import BundleError
from handoffs.signatures.openpgp import SignatureError, verify_detached
from handoffs.signatures.refusals import RefusedError

MAX_SKEW: Final = timedelta(minutes=5)
_FINGERPRINT: Final = re.compile(r"([0-9A-F]{40}|[0-9A-F]{64})\Z")


@dataclass(frozen=True)
class PinnedKey:
    """One certificate, by its full primary fingerprint. `received_at` None: the signature is judged as of `now`."""

    certificate: str
    fingerprint: str
    now: datetime
    received_at: datetime | None = None


def verify_openpgp(data: bytes, signature: str, key: PinnedKey) -> None:
    """Check a detached signature.

    Raises: RefusedError with openpgp.fingerprint, openpgp.certificate, key.revoked, key.expired, time.untrusted, or a
    code of `handoffs.signatures.openpgp`.
    """
    refuse_unfit(key)
    try:
        verify_detached(data, signature, public_key=key.certificate, fingerprint=key.fingerprint)
    except SignatureError as error:
        raise RefusedError(error.code, error.detail, f"one signature by {key.fingerprint}") from None
    made, received = pysequoia.Sig.from_bytes(signature.encode()).created, key.received_at or key.now
    if made is None or made > received + MAX_SKEW:
        got = f"a signature of {made:%F %T}" if made else "a signature without a time"
        raise RefusedError("time.untrusted", got, f"one made before it was received, {received:%F %T}")


def open_openpgp(raw: bytes, key: PinnedKey) -> bytes:
    """The verified bytes in a DSSE envelope that a pinned key signed.

    Raises: RefusedError as `verify_openpgp` does, or openpgp.envelope.
    """
    try:
        envelope, payload = parse_envelope(parse_json(raw))
        texts = [base64.b64decode(item.sig, validate=True).decode("ascii") for item in envelope.signatures]
    except (BundleError, JsonError, ValueError) as error:
        raise RefusedError("openpgp.envelope", str(error)[:300], "a DSSE envelope with an OpenPGP signature") from None
    if len(texts) != 1:
        raise RefusedError("openpgp.envelope", f"{len(texts)} signatures", "exactly one")
    verify_openpgp(pae(envelope.payload_type, payload), texts[0], key)
    return payload


def fingerprint_of(certificate: str) -> str:
    """The whole primary fingerprint of a certificate. Raises: RefusedError("openpgp.certificate")."""
    try:
        return str(pysequoia.Cert.from_bytes(certificate.encode()).fingerprint.upper())
    except (RuntimeError, ValueError) as error:
        got = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise RefusedError("openpgp.certificate", got, "one OpenPGP certificate") from None


def refuse_unfit(key: PinnedKey) -> None:
    """Refuse a certificate that may not vouch: another one, a revoked one, one that had expired."""
    if not _FINGERPRINT.match(key.fingerprint):
        raise RefusedError("openpgp.fingerprint", key.fingerprint[:80], "40 or 64 upper-case hexadecimal digits, all")
    try:
        certificate = pysequoia.Cert.from_bytes(key.certificate.encode())
        fingerprint, expires = certificate.fingerprint.upper(), certificate.expiration
        is_revoked = certificate.is_revoked
    except (RuntimeError, ValueError) as error:
        got = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise RefusedError("openpgp.certificate", got, "one OpenPGP certificate") from None
    if fingerprint != key.fingerprint:
        raise RefusedError("openpgp.fingerprint", fingerprint, key.fingerprint)
    if is_revoked:
        raise RefusedError("key.revoked", f"{key.fingerprint}, revoked", "a key that is not")
    judged_at = key.received_at or key.now
    if key.received_at is not None and key.received_at > key.now:
        raise RefusedError("time.untrusted", f"received at {key.received_at:%F %T}", f"before {key.now:%F %T}")
    if expires is not None and expires <= judged_at:
        raise RefusedError("key.expired", f"{key.fingerprint}, expired {expires:%F %T}", f"valid at {judged_at:%F %T}")
