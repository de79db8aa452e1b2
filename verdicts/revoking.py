"""Revoking a signing key: at once, in the trail, and with everything that rested on it looked at again.

Source: ux.md section 12; ATT-07 and ATT-12 of the threat list.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from audit.events import Actor
from handoffs.actions import Tools
from handoffs.keys import confirm_active
from handoffs.models import PullRequest, Signature, SigningKey
from handoffs.resigning import record_renewal, sign_again
from handoffs.revocations import affected_handoffs, record_revocation
from verdicts.models import STATEMENTS
from verdicts.reopening import distrust_bundle, verify_signature_again


@dataclass(frozen=True)
class Revocation:
    """Which key, since when it is not trusted, and why."""

    fingerprint: str
    distrusted_since: datetime
    reason: str


def affected_signatures(key: SigningKey, since: datetime) -> list[Signature]:
    """What stops holding when the key is distrusted since a moment: bundles' signatures received from then on."""
    rows = Signature.objects.filter(handoff__in=affected_handoffs(key, since)).order_by("-signed_at")
    return list(rows.select_related("handoff__repository", "handoff__pull_request")[:1000])


def affected_statements(key: SigningKey, since: datetime) -> int:
    """How many statements of verdicts, decisions and policies stop holding."""
    return sum(model.objects.filter(key=key, signed_at__gte=since).count() for model in STATEMENTS)


@transaction.atomic(durable=True)
def revoke_key(revocation: Revocation, *, password: str, by: Actor) -> tuple[SigningKey, list[PullRequest]]:
    """Revoke a key, and take back what its distrusted signatures released. Returns the open pull requests it concerns.

    Raises: HandoffError or AuditError with a stable code; nothing was changed then.
    """
    key = record_revocation(
        revocation.fingerprint,
        distrusted_since=revocation.distrusted_since,
        reason=revocation.reason,
        password=password,
        by=by,
    )
    since = key.distrusted_since or revocation.distrusted_since
    signed = affected_handoffs(key, since).values("pk")
    pulls = list(PullRequest.objects.is_open().select_for_update().filter(handoff__in=signed).order_by("pk"))
    for pull in pulls:
        distrust_bundle(pull, f"key {key.fingerprint} is distrusted since {since:%Y-%m-%d %H:%M} UTC", by)
    return key, pulls


def resign_bundle(signature: Signature, tools: Tools) -> bool:
    """Sign an open handoff again whose signature fell, and run the SLSA gate on its pull request. Safe to run twice.

    Signed outside the transaction, recorded in one: signature, entry in the trail, and the gate's work. A pull request
    that was merged meanwhile is left as it is.
    Raises: HandoffError, StoreError, SignatureError; nothing was changed then.
    """
    renewal = sign_again(signature, tools)
    with transaction.atomic(durable=True):
        confirm_active(renewal.key, renewal.signed_at)  # first the key, then what rests on it, as a revocation does
        pull = PullRequest.objects.select_for_update().filter(handoff=signature.handoff).first()
        if record_renewal(renewal, tools) is None:
            return False
        if pull is not None:
            verify_signature_again(pull)
    return True
