"""Every write of signing keys: making, rotating, revoking. The secret half leaves the vault only to sign.

Source: SOP section 10.3; product.md section 4; ATT-12 of the threat list.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.events import Actor
from handoffs.models import HandoffError, Lane, SigningKey
from handoffs.signatures import NewKey, generate_key


def create_signing_key(user_id: str, *, lane: Lane, password: str, bits: int, by: Actor) -> SigningKey:
    """Make and store a signing key, 30 days valid. Takes seconds: the key is made outside the transaction."""
    made: NewKey = generate_key(user_id, password=password, bits=bits)
    with transaction.atomic(durable=True):
        expired = SigningKey.objects.filter(lane=lane, retired_at=None, expires_at__lte=timezone.now())
        expired.update(retired_at=F("expires_at"))
        key = SigningKey.objects.create(
            fingerprint=made.fingerprint,
            lane=lane,
            user_id=made.user_id,
            public_key=made.public_key,
            secret_key=made.secret,
            created_at=made.created_at,
            expires_at=made.expires_at,
        )
        append_event(
            events.KEY_CREATED,
            by,
            "",
            {
                "fingerprint": made.fingerprint,
                "lane": lane.value,
                "expires_at": made.expires_at.isoformat(),
                "bits": bits,
            },
        )
    return key


def active_key(lane: Lane) -> SigningKey:
    """The key that signs for a lane now: the newest that is neither expired, retired nor revoked.

    Raises: HandoffError("key.none") with what to do.
    """
    now = timezone.now()
    for key in SigningKey.objects.filter(lane=lane).order_by("-created_at"):
        if key.is_active_at(now):
            return key
    raise HandoffError(
        "key.none", f"no signing key of the {lane} lane is valid now; make one with `manage.py operate setup`"
    )
