"""Signing an open handoff again whose key was revoked: the same bytes, the lane's new key, and the old signature stays.

The builder is not asked: what was verified has not changed, only who vouches for it. What is merged or superseded is
not signed again; it is flagged.
Source: product.md section 4; ATT-07 and ATT-12 of the threat list.
"""

from __future__ import annotations

from typing import Final

from django.db.models import F, Q, QuerySet

from audit import events
from audit.accountability import Act, require
from audit.canonical import parse_json
from handoffs.actions import Tools, record_event
from handoffs.clocks import refuse_skew
from handoffs.keys import active_key
from handoffs.models import Handoff, HandoffEvent, Lane, Method, PullStatus, Signature, SignatureRenewal, Status
from handoffs.signatures.openpgp import Signer
from handoffs.signing import receipt_of, statement_of

OPEN: Final = (Status.SIGNED, Status.APPLIED, Status.OPENED, Status.TRIGGERED)
_ENDED: Final = (PullStatus.MERGED, PullStatus.CLOSED)
_HOLDS: Final = Q(key__distrusted_since=None) | Q(key__distrusted_since__gt=F("signed_at"))


def fallen_signatures() -> QuerySet[Signature]:
    """Signatures of open handoffs that a revocation took back, and that no later one replaces. Oldest first."""
    rows = Signature.objects.filter(key__distrusted_since__lte=F("signed_at"), handoff__status__in=OPEN)
    rows = rows.exclude(handoff__pull_request__status__in=_ENDED)
    replaced = SignatureRenewal.objects.filter(_HOLDS).values("renewed")
    return rows.exclude(pk__in=replaced).select_related("handoff__repository", "key").order_by("pk")


def sign_again(signature: Signature, tools: Tools) -> SignatureRenewal:
    """A new signature and statement over the same bytes by the lane's active key; nothing is stored yet.

    Raises: HandoffError("key.none"), ClockSkewError, StoreError, SignatureError.
    """
    require(tools.enforcer, Act.SIGN_ARTIFACT)
    refuse_skew(tools.clock)
    handoff, key, now = signature.handoff, active_key(Lane.ENFORCER), tools.clock()
    raw = tools.store.get(handoff.digest)
    signer = Signer(bytes(key.secret_key), password=tools.key_password, fingerprint=key.fingerprint, now=now)
    statement = statement_of(handoff, raw, tools, fingerprint=key.fingerprint)
    return SignatureRenewal(
        renewed=signature,
        key=key,
        signature=signer.sign(raw),
        envelope=signer.envelope(parse_json(statement)),
        signed_at=now,
    )


def record_renewal(renewal: SignatureRenewal, tools: Tools) -> HandoffEvent | None:
    """Store a new signature and its entry in the trail, in the caller's transaction. None if it is needed no more.

    Not checked: that the key is still active; the caller holds its row, and a trigger asks again.
    """
    handoff = Handoff.objects.select_for_update(of=("self",)).get(pk=renewal.renewed.handoff_id)
    if not fallen_signatures().filter(pk=renewal.renewed.pk).exists():
        return None
    fallen = renewal.renewed.key
    event = record_event(
        handoff,
        events.HANDOFF_RESIGNED,
        tools.enforcer,
        {
            "digest": handoff.digest,
            "fallen": fallen.fingerprint if fallen else "",
            "fingerprint": renewal.key.fingerprint,
            "method": Method.OPENPGP.value,
            **receipt_of(renewal),
            "why": "the key of the signature is not trusted any more",
        },
    )
    renewal.log_entry = event.log_entry
    renewal.save(force_insert=True)
    return event
