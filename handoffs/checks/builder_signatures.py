"""Whether a builder signed its attestation: under the identity that the policy pins for it, and nobody else's.

A signature that was checked and does not hold fails the bundle. One that nobody can check stays a claim. A builder
whose identity is pinned and who sends none fails too: whoever can write a bundle could leave it out.
Source: product.md section 3; ATT-04 and ATT-09 of the threat list.
"""

from __future__ import annotations

from handoffs.checks.evidence import (
    BuilderSignature,
    BuilderTrust,
    Evidence,
    Judged,
    Unreadable,
    claimed,
    failed,
    passed,
)
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import verify_read_statement


def judge_builder_signature(evidence: Evidence) -> BuilderSignature | None:
    """Verify the signature on the attestation. None: there is no root, or no statement, to judge it by."""
    trust, statement = evidence.context.trust, evidence.statement
    if trust is None or isinstance(statement, Unreadable):
        return None
    signer = trust.signers.get(statement.builder_id)
    if signer is None:
        what = "signed with Sigstore" if statement.sigstore else "signed" if statement.envelope else "unsigned"
        got = f"{what}, not verified: the policy pins no identity for {statement.builder_id}"
        return _judged(trust, claimed(got, "a claim; the enforcer signs what it saw itself"))
    expected = f"a signature by {signer.identity} of {signer.issuer}"
    if statement.sigstore is None:
        return _judged(trust, failed("no Sigstore bundle", expected))
    try:
        found = verify_read_statement(statement.sigstore, signer=signer, root=trust.root)
    except RefusedError as error:
        return _judged(trust, failed(f"{error.code}: {error.got}", expected))
    got = (
        f"{found.signer.identity} of {found.signer.issuer}, {found.signed_at:%F %T} UTC, log entry {found.log_index}, "
        f"trusted root {found.root_digest}"
    )
    return _judged(trust, passed(got, expected))


def _judged(trust: BuilderTrust, judged: Judged) -> BuilderSignature:
    return BuilderSignature(judged, trust.root.digest)
