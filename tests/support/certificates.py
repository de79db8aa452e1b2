"""Parts of certificates and timestamps as Fulcio and a timestamp authority write them.

Source: Fulcio's oid-info; RFC 3161 and RFC 5035.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ObjectIdentifier

from tests.support import der
from tests.support.merkle_log import sha256

FULCIO_ARC: Final = "1.3.6.1.4.1.57264.1."


def signed_attributes(token_info: bytes, certificate: bytes) -> list[bytes]:
    """The signed attributes of a timestamp: content type, digest, and which certificate signs."""

    def attribute(name: str, *parts: bytes) -> bytes:
        return der.value(der.SEQUENCE, der.oid(name), der.value(der.SET, *parts))

    digest = der.value(der.SEQUENCE, der.value(der.OCTETS, sha256(certificate)))
    return [
        attribute("1.2.840.113549.1.9.3", der.oid("1.2.840.113549.1.9.16.1.4")),
        attribute("1.2.840.113549.1.9.4", der.value(der.OCTETS, sha256(token_info))),
        attribute("1.2.840.113549.1.9.16.2.47", der.value(der.SEQUENCE, der.value(der.SEQUENCE, digest))),
    ]


def key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signs,
        crl_sign=not signs,
        encipher_only=False,
        decipher_only=False,
    )


def fulcio_extension(number: int, contents: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(ObjectIdentifier(f"{FULCIO_ARC}{number}"), contents)


def authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def public_key_info(key: Any) -> bytes:
    """SubjectPublicKeyInfo of a private key's other half."""
    encoded: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
