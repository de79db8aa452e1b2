"""Linking a name by proof: whoever signs the portal's challenge with a key is the one whose key it is.

The challenge names principal and key, is the portal's own (HMAC) and is good for ten minutes. What administrators took
away once comes back through them only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db import transaction

from audit.actions import link_identity
from audit.events import Actor, AuditError
from audit.identities import OPENPGP, canonical
from audit.models import Identity, Principal
from audit.registry import hold_registry

GOOD_FOR_SECONDS: Final = 600
_HEAD: Final = "I sign this so that leoportal links my OpenPGP key to me."
_SIGNER: Final = TimestampSigner(salt="audit.proofs")

type Verify = Callable[[bytes, str], None]


def challenge_for(principal: Principal, fingerprint: str) -> str:
    """What the owner of the key has to sign, byte for byte, within ten minutes."""
    fingerprint = canonical(OPENPGP, fingerprint)
    return f"{_HEAD}\n{_SIGNER.sign(f'{principal.pk} {fingerprint}')}\n"


def fingerprint_in(challenge: str, principal: Principal, *, good_for_seconds: int = GOOD_FOR_SECONDS) -> str:
    """The key that a challenge of ours for this principal names.

    Raises: AuditError("proof.challenge") for one that is not ours or somebody else's, ("proof.expired").
    """
    head, _, token = challenge.strip().partition("\n")
    try:
        number, _, fingerprint = _SIGNER.unsign(token, max_age=good_for_seconds).partition(" ")
    except SignatureExpired:
        raise AuditError("proof.expired", f"the challenge is older than {good_for_seconds} seconds") from None
    except BadSignature:
        raise AuditError("proof.challenge", "that is no challenge of this portal") from None
    if head != _HEAD or number != str(principal.pk):
        raise AuditError("proof.challenge", f"the challenge was not made for {principal.name}")
    return fingerprint


@transaction.atomic(durable=True)
def link_by_proof(principal: Principal, challenge: str, *, verify: Verify, by: Actor) -> Identity:
    """Link the key that a challenge names, if `verify` takes the key's signature over its bytes.

    Raises: AuditError as `fingerprint_in` does, ("proof.removed"), ("identity.taken"); whatever `verify` raises.
    """
    fingerprint = fingerprint_in(challenge, principal)
    verify(challenge.encode(), fingerprint)
    hold_registry(is_change=True)
    if Identity.objects.filter(kind=OPENPGP, value=fingerprint).exclude(ends_at=None).exists():
        raise AuditError("proof.removed", "administrators took this key away once; two of them give it back")
    return link_identity(principal, OPENPGP, fingerprint, proof=Identity.Proof.SIGNATURE, by=by)
