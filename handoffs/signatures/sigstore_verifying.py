"""Verifying Sigstore bundles, offline, against a pinned trusted root.

The library checks certificate chain, SCT, log entry, checkpoint, time and signature. It leaves to us, and we do: strict
JSON before parsing, the windows of authorities and logs, one exact identity of one kind from one exact issuer, the
payload type, and answering "refused" to whatever it raises. Its cache folder is never read: a root planted there
would be trusted.

Not checked: what a statement says. See `handoffs.attestations.statements`.
Source: sigstore-python 4.5.1; Sigstore client specification; supply-chain facts on both.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.backends import default_backend
from rfc3161_client import TimeStampResponse, decode_timestamp_response

from handoffs.attestations.dsse import PAYLOAD_TYPE
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_bundles import SigstoreBundle, parse_sigstore_bundle
from handoffs.signatures.sigstore_signers import Certified, Signer, certified, require_signer
from handoffs.signatures.timestamps import refuse_unproved
from handoffs.signatures.trust_roots import MAX_ROOT_BYTES, TrustedRoot, read_trusted_root

if TYPE_CHECKING:
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle
    from sigstore.verify import Verifier

PRODUCTION_SHA256: Final = "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66"
PRODUCTION_PINNED_AT: Final = datetime(2026, 11, 25, tzinfo=UTC)
_PRODUCTION: Final = ("_store", "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev", "trusted_root.json")
_MAX_TIMESTAMPS: Final = 32
# What the library says -> our code, first match wins. Only the reason depends on it, never the refusal.
_REASONS: Final = (
    ("sigstore.unsupported", ("Integrated time only supported", "Unsupported", "unsupported bundle")),
    ("sigstore.time", ("not valid at validation time", "expired at time of signing", "verified time")),
    ("sigstore.certificate", ("timestamp certificate chain",)),
    ("sigstore.time", ("timestamp",)),
    ("sigstore.time", ("Timestamp Authorities", "inclusion promise or signed")),
    ("sigstore.sct", ("SCT", "sct")),
    ("sigstore.certificate", ("certificate chain", "Key usage", "Extended usage", "leaf certificate")),
    ("sigstore.log", ("invalid log entry", "inclusion proof", "checkpoint", "log entry in bundle")),
    ("sigstore.entry", ("log entry", "entry type", "hashedrekord", "DSSE envelope must have")),
    ("sigstore.digest", ("digest mismatch",)),
    ("sigstore.signature", ("Signature is invalid", "invalid signature")),
    ("sigstore.malformed", ("failed to load bundle", "expected", "without a DSSE envelope", "Missing bundle message")),
)


@dataclass(frozen=True)
class VerifiedSignature:
    """A signature that holds. `payload` is what the envelope carries, None for a signature over an artifact.

    `log_index` is from the inclusion proof: the outer one is not authenticated in Rekor v2.
    """

    signer: Certified
    signed_at: datetime
    log_index: int
    root_digest: str
    payload: bytes | None = None


def production_root() -> TrustedRoot:
    """The public Sigstore's root as it lies in the installed package, if it is the one that is pinned here.

    Raises: RefusedError with sigstore.root or sigstore.root_pin.
    """
    spec = importlib.util.find_spec("sigstore")
    if spec is None or spec.origin is None:
        raise RefusedError("sigstore.root", "no installed package sigstore", "the pinned root in it")
    return read_root_file(
        Path(spec.origin).parent.joinpath(*_PRODUCTION), sha256=PRODUCTION_SHA256, refreshed_at=PRODUCTION_PINNED_AT
    )


def read_root_file(path: Path, *, sha256: str = "", refreshed_at: datetime | None = None) -> TrustedRoot:
    """A root from a file. Without `refreshed_at` it is as fresh as the file; `sha256` is compared if it is given.

    Raises: RefusedError with sigstore.root or sigstore.root_pin.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_ROOT_BYTES + 1)
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise RefusedError("sigstore.root", f"{path.name}: {error.strerror}", "a readable trusted root") from None
    root = read_trusted_root(raw, source=path.name, refreshed_at=refreshed_at or written)
    if sha256 and root.digest != sha256:
        raise RefusedError("sigstore.root_pin", f"{path.name} with sha256 {root.digest}", sha256)
    return root


def verify_artifact(digest: str, raw: bytes, *, signer: Signer, root: TrustedRoot) -> VerifiedSignature:
    """Check a bundle over an artifact. Units: `digest` is the artifact's SHA-256 in hex.

    Raises: RefusedError.
    """
    wanted = bytes.fromhex(digest)
    found = parse_sigstore_bundle(raw, digest=wanted)
    if found.payload is not None and not found.unsupported:
        raise RefusedError("sigstore.content", "a signed statement", "a signature over the artifact")

    def check(verifier: Verifier, bundle: Bundle, policy: _Exactly) -> None:
        verifier.verify_artifact(_hashed(wanted), bundle, policy)

    return _verified(found, signer, root, check)


def verify_statement(raw: bytes, *, signer: Signer, root: TrustedRoot) -> VerifiedSignature:
    """Read a bundle, and check it as `verify_read_statement` does."""
    return verify_read_statement(parse_sigstore_bundle(raw), signer=signer, root=root)


def verify_read_statement(found: SigstoreBundle, *, signer: Signer, root: TrustedRoot) -> VerifiedSignature:
    """Check a bundle that holds a DSSE envelope around an in-toto statement; the answer carries the verified bytes.

    Not checked: what the statement says; read it from `payload`, from nowhere else.
    Raises: RefusedError.
    """
    if found.payload is None and not found.unsupported:
        raise RefusedError("sigstore.content", "a signature over an artifact", "a signed statement")
    from sigstore.models import Bundle  # noqa: PLC0415 - importing sigstore costs 0.35 to 1.3 s

    payload = b""

    def check(verifier: Verifier, bundle: Bundle, policy: _Exactly) -> None:
        nonlocal payload
        if found.as_message is None:
            kind, payload = verifier.verify_dsse(bundle, policy)
        else:
            covered, raw = found.as_message
            verifier.verify_artifact(_hashed(covered), Bundle.from_json(raw), policy)
            kind, payload = found.payload_type or "", found.payload or b""
        if kind != PAYLOAD_TYPE:
            raise RefusedError("sigstore.payload_type", ascii(kind)[:100], PAYLOAD_TYPE)

    verified = _verified(found, signer, root, check)
    if payload != found.payload:
        raise RefusedError("sigstore.payload", "a payload other than the one that was read", "the verified bytes")
    return VerifiedSignature(verified.signer, verified.signed_at, verified.log_index, root.digest, payload)


def _hashed(digest: bytes) -> Hashed:
    from sigstore.hashes import Hashed  # noqa: PLC0415 - see above
    from sigstore_models.common.v1 import HashAlgorithm  # noqa: PLC0415 - comes with sigstore, as late

    return Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)


class _Exactly:
    """The library's policy: the certificate names exactly the wanted signer. `found` is whom it names."""

    found: Certified

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def verify(self, cert: x509.Certificate) -> None:
        """Compare. Raises: RefusedError."""
        found = certified(cert)
        require_signer(found, self._signer)
        self.found = found


def _verified(
    found: SigstoreBundle,
    signer: Signer,
    root: TrustedRoot,
    check: Callable[[Verifier, Bundle, _Exactly], None],
) -> VerifiedSignature:
    """The part that both kinds share: times and windows first, then the library with what is left of the root."""
    times, stamps = _claimed_times(found)
    _refuse_outside_windows(found, times, root)
    if found.unsupported:
        raise RefusedError("sigstore.unsupported", found.unsupported, "a keyless Sigstore bundle, version 0.3")
    refuse_unproved(stamps, found.signature, root)
    cut = root.cut(issued=found.certificate.not_valid_before_utc, certified=found.certified_at, logged=times)
    from sigstore import models  # noqa: PLC0415 - see above

    policy = _Exactly(signer)
    try:
        check(_verifier(cut), models.Bundle.from_json(found.raw), policy)
        named = policy.found  # there is none unless the library asked
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises its dependencies' errors too; all mean "refused"
        raise _refusal(error) from None
    return VerifiedSignature(named, min(times), found.log_index, root.digest)


def warm_signatures(root: TrustedRoot) -> None:
    """Import the library, and make the verifier that serves while no key of the root is cut off."""
    default_backend()  # a chain of certificates imports it, where it is first verified
    with suppress(Exception):  # what is wrong with the root is said where a signature is judged by it
        _verifier(root.whole)


@functools.lru_cache(maxsize=4)
def _verifier(root: bytes) -> Verifier:
    from sigstore import models, verify  # noqa: PLC0415 - see above

    with tempfile.NamedTemporaryFile(prefix="leo-root-", suffix=".json") as file:
        file.write(root)
        file.flush()
        return verify.Verifier(trusted_root=models.TrustedRoot.from_file(file.name))


def _claimed_times(found: SigstoreBundle) -> tuple[list[datetime], list[TimeStampResponse]]:
    """Every time the bundle claims to have been signed at, proved or not, and the timestamps among them."""
    if len(found.timestamps) > _MAX_TIMESTAMPS:
        raise RefusedError("sigstore.time", f"{len(found.timestamps)} timestamps", f"at most {_MAX_TIMESTAMPS}")
    try:
        stamps = [decode_timestamp_response(raw) for raw in found.timestamps]
        times = [stamp.tst_info.gen_time for stamp in stamps]
    except ValueError as error:
        raise RefusedError("sigstore.time", f"a bad timestamp: {str(error)[:100]}", "RFC 3161") from None
    times += [found.integrated_at] if found.integrated_at else []
    if not times:
        raise RefusedError("sigstore.time", "no signed time", "the log's promise, or a timestamp")
    return times, stamps


def _refuse_outside_windows(found: SigstoreBundle, times: list[datetime], root: TrustedRoot) -> None:
    """Say which window a time misses. Names and key ids are only hints: the cut of the root is what protects."""
    leaf = found.certificate
    for moment in times:
        if not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
            window = f"{leaf.not_valid_before_utc:%F %T} to {leaf.not_valid_after_utc:%F %T}"
            raise RefusedError("sigstore.time", f"signed at {moment:%F %T}", f"within the certificate's {window}")
    for what, kind, identifier, moments in (
        ("the authority", "certificateAuthorities", leaf.issuer.rfc4514_string(), [leaf.not_valid_before_utc]),
        ("the log", "tlogs", found.log_id, times),
        *(
            ("the certificate log", "ctlogs", name, [leaf.not_valid_before_utc, when])
            for name, when in _scts(leaf, found)
        ),
    ):
        windows = root.windows(kind, identifier)
        if windows and not any(window.holds(moments) for window in windows):
            got = f"{moments[0]:%F %T}, outside {what}'s time"
            raise RefusedError("sigstore.time", got, " or ".join(map(str, windows)))


def _scts(leaf: x509.Certificate, found: SigstoreBundle) -> list[tuple[str, datetime]]:
    if not found.certified_at:
        return []
    scts = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    return [(base64.b64encode(sct.log_id).decode(), when) for sct, when in zip(scts, found.certified_at, strict=True)]


def _refusal(error: Exception) -> RefusedError:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    for code, words in _REASONS:
        if any(word in text for word in words):
            return RefusedError(code, text, "a bundle that holds")
    if isinstance(error, x509.ExtensionNotFound):
        return RefusedError("sigstore.certificate", text, "the extensions of a code signing certificate")
    return RefusedError("sigstore.refused", f"{type(error).__name__}: {text}", "a bundle that holds")
