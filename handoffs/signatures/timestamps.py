"""Timestamps of authorities: each one that a bundle brings has to hold, not just one source of time.

The library passes over a timestamp that it cannot verify while another one, or the log's promise, holds; then nobody
vouched for a time that is in the bundle and that we would tell.

Source: Sigstore client specification, "Establishing a Time for the Signature"; RFC 3161.
"""

from __future__ import annotations

from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder

from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.trust_roots import TrustedRoot, certificates_of, window_of


def refuse_unproved(stamps: list[TimeStampResponse], signature: bytes, root: TrustedRoot) -> None:
    """Every timestamp is one that an authority of the root made of this signature, in its time.

    Raises: RefusedError("sigstore.time").
    """
    for stamp in stamps:
        if not any(_made_by(item, stamp, signature) for item in root.document["timestampAuthorities"]):
            got = f"a timestamp of {stamp.tst_info.gen_time:%F %T} that proves nothing"
            raise RefusedError(
                "sigstore.time", got, "each one of this signature, by an authority of the root in its time"
            )


def _made_by(authority: dict[str, object], stamp: TimeStampResponse, signature: bytes) -> bool:
    own, *others = certificates_of(authority)
    if not others or not window_of(authority).holds([stamp.tst_info.gen_time]):
        return False
    try:
        verifier = VerifierBuilder(tsa_certificate=own, intermediates=others[:-1], roots=others[-1:]).build()
        verifier.verify_message(stamp, signature)
    except (VerificationError, ValueError):
        return False
    return True
