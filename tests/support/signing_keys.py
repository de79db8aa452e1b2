"""Signing keys of other ages and states, and people who look at them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings as configured
from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.models import LogEntry
from handoffs import revocations, rotating
from handoffs.models import (
    KeyRotation,
    Lane,
    RotationStep,
    SigningKey,
)
from handoffs.tasks import rotate_key
from leoportal import setup

DAY = timedelta(days=1)


def by():
    return setup.OPERATOR


def age(key: SigningKey, days: int) -> SigningKey:
    """The same key as it stands `days` after it was made; only our record of it, the certificate stays."""
    SigningKey.objects.filter(pk=key.pk).update(
        created_at=key.created_at - days * DAY, expires_at=key.expires_at - days * DAY
    )
    return SigningKey.objects.get(pk=key.pk)


def retired(lane: Lane) -> LogEntry:
    """The lane's key is retired before its time, and an entry for another key is there; in the caller's transaction."""
    ended, made = (append_event(kind, by(), "", {}) for kind in (events.KEY_EXPIRED, events.KEY_CREATED))
    SigningKey.objects.filter(lane=lane).update(retired_at=timezone.now(), retire_entry=ended)
    return made


def rotated(lane: Lane = Lane.ENFORCER) -> KeyRotation:
    rotation = rotating.request_rotation(lane, by=by(), reason="a test")
    assert rotate_key(rotation.pk) == RotationStep.DONE
    return KeyRotation.objects.select_related("old_key", "new_key").get(pk=rotation.pk)


@transaction.atomic
def revoke(key: SigningKey, since: datetime, *, password: str | None = None, actor=None) -> SigningKey:
    return revocations.record_revocation(
        key.fingerprint,
        distrusted_since=since,
        reason="the laptop was lost on the train",
        password=configured.SIGNING_KEY_PASSWORD if password is None else password,
        by=actor or by(),
    )
