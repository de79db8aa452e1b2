"""Who a Fulcio certificate was issued to, and whether that is exactly who is wanted.

Source: Fulcio's certificate extensions (oid-info); RFC 5280 section 4.2.1.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat import asn1

from handoffs.signatures.refusals import RefusedError

_ISSUER_RAW, _ISSUER_DER = "1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"
_REPOSITORY, _REPOSITORY_ID, _RUNNER = (f"1.3.6.1.4.1.57264.1.{number}" for number in (12, 15, 11))
_USERNAME: Final = "1.3.6.1.4.1.57264.1.7"


@dataclass(frozen=True)
class Signer:
    """Whose signature is wanted: one exact identity from one exact issuer, never a pattern.

    `repository` (`owner/name` on GitHub) and `repository_id` are compared where they are given.
    """

    identity: str
    issuer: str
    repository: str = ""
    repository_id: str = ""


@dataclass(frozen=True)
class Certified:
    """What a certificate says of its holder. `kind` is email, uri or username."""

    identity: str
    kind: str
    issuer: str
    repository: str
    repository_id: str
    runner: str


def certified(certificate: x509.Certificate) -> Certified:
    """Who a certificate was issued to, and by whom.

    Raises: RefusedError("sigstore.identity") unless there is exactly one subject alternative name of a known kind,
    RefusedError("sigstore.issuer") if there is no issuer, or two that differ.
    """
    try:
        extensions = certificate.extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise RefusedError("sigstore.identity", str(error)[:200], "one subject alternative name") from None
    if len(names) != 1:
        raise RefusedError("sigstore.identity", f"{len(names)} subject alternative names", "exactly one")
    kind, identity = _named(names[0])
    raw = {e.oid.dotted_string: e.value.value for e in extensions if isinstance(e.value, x509.UnrecognizedExtension)}
    issuers = {_plain(raw[_ISSUER_RAW])} if _ISSUER_RAW in raw else set()
    issuers |= {_der_text(raw[_ISSUER_DER])} if _ISSUER_DER in raw else set()
    if len(issuers) != 1:
        raise RefusedError("sigstore.issuer", f"{len(issuers)} issuers in the certificate", "exactly one")
    texts = [_der_text(raw[oid]) if oid in raw else "" for oid in (_REPOSITORY, _REPOSITORY_ID, _RUNNER)]
    return Certified(identity, kind, issuers.pop(), *texts)


def require_signer(found: Certified, wanted: Signer) -> None:
    """Compare exactly: the issuer, the identity and its kind, and the repository where one is wanted.

    Raises: RefusedError with sigstore.issuer, sigstore.identity or sigstore.repository.
    """
    if found.issuer != wanted.issuer or not wanted.issuer:
        raise RefusedError("sigstore.issuer", found.issuer, wanted.issuer or "an issuer to compare with")
    kind = "uri" if "://" in wanted.identity else "username" if "!" in wanted.identity else "email"
    if (found.identity, found.kind) != (wanted.identity, kind) or not wanted.identity:
        raise RefusedError("sigstore.identity", f"{found.identity} ({found.kind})", f"{wanted.identity} ({kind})")
    address = f"https://github.com/{wanted.repository}"
    if wanted.repository and found.repository != address:
        raise RefusedError("sigstore.repository", found.repository or "no source repository", address)
    if wanted.repository_id and found.repository_id != wanted.repository_id:
        raise RefusedError("sigstore.repository", f"id {found.repository_id or 'none'}", f"id {wanted.repository_id}")


def _named(name: x509.GeneralName) -> tuple[str, str]:
    match name:
        case x509.RFC822Name():
            return "email", name.value
        case x509.UniformResourceIdentifier():
            return "uri", name.value
        case x509.OtherName() if name.type_id.dotted_string == _USERNAME:
            return "username", _der_text(name.value)
        case _:
            raise RefusedError("sigstore.identity", type(name).__name__, "an e-mail address, a URI or a user name")


def _plain(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _der_text(raw: bytes) -> str:
    """A DER UTF8String; anything else as a text that equals nothing wanted."""
    try:
        return asn1.decode_der(str, raw)
    except ValueError:
        return f"not a text: {raw[:40].hex()}"
