"""Signing keys: making one, asking which is active and what it vouches for. The secret leaves the vault to sign.

Source: SOP section 10.3; product.md section 4; ATT-07 and ATT-12 of the threat list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.bundles.bundle import digest_of
from handoffs.models import (
    BEFORE_SWITCH,
    HandoffError,
    KeyRotation,
    Lane,
    RotationStep,
    SigningKey,
)
from handoffs.signatures.key_rules import Algorithm, KeyRuleError, refuse_known_key
from handoffs.signatures.openpgp import (
    NewKey,
    SignatureError,
    generate_key,
    verify_detached,
)

USER_IDS: Final[Mapping[Lane, str]] = {
    Lane.ENFORCER: "leoportal artifact signer <signer@leoportal.invalid>",
    Lane.GATE: "leoportal gate signer <gates@leoportal.invalid>",
}


@dataclass(frozen=True)
class Vault:
    """What making and opening keys needs, from settings. `algorithms` says which lane has which kind of key."""

    password: str
    algorithms: Mapping[Lane, Algorithm]


def create_signing_key(lane: Lane, vault: Vault, *, by: Actor) -> SigningKey:
    """Make a lane's first key, or a successor to one that can no longer vouch for it. An operator does this.

    Nothing signs the change: a dead key vouches for nobody. A living key is rotated instead. Takes seconds.
    Raises: HandoffError("key.active_exists").
    """
    _refuse_beside_active(lane)
    made = generate_key(USER_IDS[lane], password=vault.password, algorithm=vault.algorithms[lane])
    with transaction.atomic(durable=True):
        _refuse_beside_active(lane)
        under_way = list(KeyRotation.objects.open().filter(lane=lane, step__in=BEFORE_SWITCH))
        record_expired(lane, by=by)
        before = SigningKey.objects.filter(lane=lane, replaced_by=None).order_by("-created_at").first()
        key = store_key(lane, made, replaces=before, transition=None, by=by)
        KeyRotation.objects.filter(pk__in=[row.pk for row in under_way]).update(
            step=RotationStep.CANCELLED,
            draft={},
            error="the key to rotate had ended",
            moved_at=Now(),
            end_entry=key.log_entry,
        )
        return key


@transaction.atomic
def record_expired(lane: Lane, *, by: Actor) -> int:
    """Put on record which keys of a lane have expired, and destroy their private halves. Returns how many."""
    due = SigningKey.objects.select_for_update(no_key=True).filter(
        lane=lane, retired_at=None, revoked_at=None, expires_at__lte=timezone.now()
    )
    found = list(due)
    for key in found:
        entry = append_event(events.KEY_EXPIRED, by, "", {"fingerprint": key.fingerprint, "lane": lane.value})
        changes = {"retired_at": F("expires_at"), "secret_key": b"", "retire_entry": entry}
        SigningKey.objects.filter(pk=key.pk).update(**changes)
    return len(found)


def _refuse_beside_active(lane: Lane) -> None:
    try:
        key = active_key(lane)
    except HandoffError:
        return
    raise HandoffError("key.active_exists", f"{key.fingerprint} signs for the {lane} lane; rotate it instead")


def store_key(
    lane: Lane, made: NewKey, *, replaces: SigningKey | None, transition: bytes | None, by: Actor
) -> SigningKey:
    """The key's row and its log entry, in the caller's transaction."""
    body: dict[str, JsonValue] = {
        "fingerprint": made.fingerprint,
        "lane": lane.value,
        "algorithm": made.algorithm.value,
        "created_at": made.created_at.isoformat(),
        "expires_at": made.expires_at.isoformat(),
        "public_key_sha256": digest_of(made.public_key.encode()),
        "replaces": replaces.fingerprint if replaces else None,
        "vouched_by_old_key": transition is not None,
    }
    return SigningKey.objects.create(
        fingerprint=made.fingerprint,
        lane=lane,
        algorithm=made.algorithm.value,
        user_id=made.user_id,
        public_key=made.public_key,
        secret_key=made.secret,
        revocation=made.revocation,
        created_at=made.created_at,
        expires_at=made.expires_at,
        replaces=replaces,
        transition=transition,
        log_entry=append_event(events.KEY_CREATED, by, "", body),
    )


def active_key(lane: Lane) -> SigningKey:
    """The key that signs for a lane now: the newest that is neither expired, retired nor revoked.

    Raises: HandoffError("key.none") with what to do.
    """
    now = timezone.now()
    for key in SigningKey.objects.filter(lane=lane).order_by("-created_at"):
        if key.is_active_at(now):
            try:
                refuse_known_key(key.fingerprint)
            except KeyRuleError as error:
                raise HandoffError(error.code, error.detail) from None
            return key
    raise HandoffError(
        "key.none", f"no signing key of the {lane} lane is valid now; make one with `manage.py operate key make {lane}`"
    )


def confirm_active(key: SigningKey, received_at: datetime) -> None:
    """In the transaction that records a signature: the key is still active, and stays so until the commit.

    The row is locked against a rotation's switch and a revocation; a trigger asks the same of every new signature.
    Raises: HandoffError("key.not_active"): the step runs again, with the key of then.
    """
    locked = SigningKey.objects.select_for_update(no_key=True).get(pk=key.pk)
    if not locked.is_active_at(received_at) or locked.retired_at or locked.revoked_at:
        raise HandoffError("key.not_active", f"{key.fingerprint} ended while it signed; nothing was recorded")


def verify_receipt(key: SigningKey, data: bytes, signature: str, *, received_at: datetime) -> None:
    """Check a signature that the portal received at a moment: it holds, in time, by a key that was trusted then.

    Raises: SignatureError("time.untrusted") outside the key's window, or when the signature dates itself elsewhere;
    ("key.distrusted") when the key was revoked as of an earlier moment; ("signature.…") when it does not hold.
    """
    refuse_untrusted(key, received_at)
    verify_detached(data, signature, public_key=key.public_key, fingerprint=key.fingerprint, received_at=received_at)


def refuse_untrusted(key: SigningKey, received_at: datetime) -> None:
    """Raises: SignatureError unless the key vouches for what the portal received at that moment."""
    if key.vouches_for(received_at):
        return
    if key.distrusted_since is not None and key.distrusted_since <= received_at:
        raise SignatureError(
            "key.distrusted", f"{key.fingerprint} is not trusted since {key.distrusted_since.isoformat()}"
        )
    raise SignatureError(
        "time.untrusted", f"received {received_at.isoformat()}, outside the window of {key.fingerprint}"
    )
