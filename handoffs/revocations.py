"""Revoking a key: at once, and back to the moment since which it is not trusted.

Source: SOP section 10.3; ATT-07 of the threat list.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.covering import refuse_unplaced
from audit.events import Actor
from audit.models import ErasableText
from audit.texts import store_text
from handoffs.models import (
    BEFORE_SWITCH,
    Handoff,
    HandoffError,
    KeyRotation,
    PullRequest,
    RotationStep,
    Signature,
    SignatureRenewal,
    SigningKey,
)
from handoffs.signatures.openpgp import (
    SignatureError,
    revoked_certificate,
)

MIN_REASON: Final = 10
MAX_REASON: Final = 300


def record_revocation(
    fingerprint: str, *, distrusted_since: datetime, reason: str, password: str, by: Actor
) -> SigningKey:
    """Revoke a key at once, in the caller's transaction: what the portal received since then does not hold any more.

    A second revocation can only move the moment back. An open rotation of the lane ends: a distrusted key vouches
    for no successor. Without the password the state is published all the same, only the OpenPGP revocation is not.
    Raises: HandoffError("key.unknown"), ("key.reason"), ("key.since"); AuditError("log.not_placed") for a second one
    before the first is in the tree.
    """
    require(by, Act.REVOKE_KEY)
    now = timezone.now()
    key = SigningKey.objects.select_for_update(no_key=True).filter(fingerprint=fingerprint).first()
    if key is None:
        raise HandoffError("key.unknown", f"there is no key {fingerprint[:80]}")
    refuse_unplaced(key.revoke_entry_id)
    said = " ".join(reason.split())
    if not MIN_REASON <= len(said) <= MAX_REASON:
        raise HandoffError("key.reason", f"got {len(said)} characters, expected {MIN_REASON} to {MAX_REASON}")
    if distrusted_since > now:
        raise HandoffError("key.since", f"got {distrusted_since.isoformat()}, expected a moment that has passed")
    text = store_text(ErasableText.Kind.OPERATION, said, author=by.principal_id, at=now)
    since = min(distrusted_since, key.distrusted_since or distrusted_since)
    affected = affected_handoffs(key, since)
    # Before the entry is written: its number then says which verdicts and merges could know of it.
    list(PullRequest.objects.is_open().select_for_update().filter(handoff__in=affected).order_by("pk").values("pk"))
    body: dict[str, JsonValue] = {
        "fingerprint": key.fingerprint,
        "lane": key.lane,
        "distrusted_since": since.isoformat(),
        "reason": text.digest,
        "handoffs": [f"H-{pk}" for pk in affected.order_by("pk").values_list("pk", flat=True)[:1000]],
        "signatures": affected.count(),
    }
    entry = append_event(events.KEY_REVOKED, by, "", body)
    SigningKey.objects.filter(pk=key.pk).update(
        revoked_at=key.revoked_at or now,
        distrusted_since=since,
        revocation_reason=text,
        secret_key=b"",
        revoked_public_key=key.revoked_public_key or _revoked(key, password),
        revoke_entry=entry,
    )
    KeyRotation.objects.filter(lane=key.lane, old_key=key, step__in=BEFORE_SWITCH).update(
        step=RotationStep.CANCELLED, draft={}, error="the key was revoked", moved_at=Now(), end_entry=entry
    )
    key.refresh_from_db()
    return key


def affected_handoffs(key: SigningKey, since: datetime) -> QuerySet[Handoff]:
    """Handoffs that this key signed, first or again, as the portal received it from then on."""
    first = Signature.objects.filter(key=key, signed_at__gte=since).values("handoff")
    again = SignatureRenewal.objects.filter(key=key, signed_at__gte=since).values("renewed__handoff")
    return Handoff.objects.filter(Q(pk__in=first) | Q(pk__in=again))


def _revoked(key: SigningKey, password: str) -> str:
    try:
        return revoked_certificate(key.public_key, bytes(key.revocation), password=password)
    except (SignatureError, RuntimeError, ValueError):
        return ""
