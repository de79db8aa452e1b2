"""Reading a certificate whole, at once.

The library reads a field when it is asked for, so that a broken one would be noticed somewhere in the middle of a
judgement, by an exception that nobody there expects.
"""

from __future__ import annotations

import warnings
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_BROKEN: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,
)


class CertificateError(Exception):
    """A certificate that cannot be read to its end."""


def read_certificate(der: bytes) -> x509.Certificate:
    """A certificate all of whose fields can be read. What the library only warns of is refused, too.

    Raises: CertificateError with what is wrong.
    Not checked: who issued it, and what it is for.
    Source: RFC 5280, section 4.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            certificate = x509.load_der_x509_certificate(der)
            for field in (certificate.issuer, certificate.subject):
                field.public_bytes()
            _ = (certificate.version, certificate.serial_number, certificate.extensions, certificate.public_key())
            _ = (
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
                certificate.signature_hash_algorithm,
            )
    except _BROKEN as error:
        raise CertificateError(str(error)[:100]) from None
    return certificate
