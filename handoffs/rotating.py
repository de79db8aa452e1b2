"""Rotating a lane's key: a row is the queue of its five steps.

Each step is a transaction of its own and moves the row by compare-and-set; until the fourth, the old key is the active
one, and whatever fails leaves it so.
Source: SOP section 10.3; product.md section 4; ATT-12 of the threat list.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from audit.models import ErasableText
from audit.texts import store_text
from handoffs.attestations.vsa import STATEMENT_TYPE
from handoffs.bundles.bundle import digest_of
from handoffs.clocks import refuse_skew
from handoffs.keys import USER_IDS, Vault, active_key, store_key
from handoffs.models import (
    BEFORE_SWITCH,
    HandoffError,
    KeyRotation,
    Lane,
    RotationStep,
    SigningKey,
    StaleStatusError,
)
from handoffs.signatures.key_rules import Algorithm
from handoffs.signatures.openpgp import (
    NewKey,
    Signer,
    generate_key,
    open_envelope,
)

TRANSITION_TYPE: Final = "https://leoportal.invalid/key-transition/v1"


@transaction.atomic(durable=True)
def request_rotation(lane: Lane, *, by: Actor, reason: str) -> KeyRotation:
    """Ask for a lane's key to be replaced. A rotation that is under way is returned as it is.

    Raises: HandoffError("key.none"): a key that ended vouches for no successor; an operator makes one at the machine.
    """
    require(by, Act.ROTATE_KEY)
    key = SigningKey.objects.select_for_update(no_key=True).get(pk=active_key(lane).pk)
    under_way = KeyRotation.objects.open().filter(lane=lane).first()
    if under_way is not None:
        return under_way
    now = timezone.now()
    text = store_text(ErasableText.Kind.OPERATION, reason[:200], author=by.principal_id, at=now)
    body: dict[str, JsonValue] = {"lane": lane.value, "old": key.fingerprint, "reason": text.digest}
    return KeyRotation.objects.create(
        lane=lane,
        old_key=key,
        requested_by=by.principal_id,
        reason=text,
        requested_at=now,
        log_entry=append_event(events.KEY_ROTATION_REQUESTED, by, "", body),
    )


def advance_rotation(rotation: KeyRotation, vault: Vault, *, by: Actor) -> KeyRotation:
    """Do the one step a rotation stands before, and return the row as it is then. Safe to run twice.

    Raises: StaleStatusError when somebody else did it, or cancelled it; HandoffError or SignatureError when it failed.
    """
    require(by, Act.ROTATE_KEY)
    STEPS[rotation.step](rotation, vault, by)
    return KeyRotation.objects.for_list().get(pk=rotation.pk)


def _make_key(rotation: KeyRotation, vault: Vault, _by: Actor) -> None:
    """1 Make the new key, and 2 store its public half and its encrypted secret as a draft that signs nothing."""
    lane = Lane(rotation.lane)
    made = generate_key(USER_IDS[lane], password=vault.password, algorithm=vault.algorithms[lane])
    _move(rotation, RotationStep.MADE, draft=_draft_of(made))


def _sign_transition(rotation: KeyRotation, vault: Vault, _by: Actor) -> None:
    """3 The old key names the new one. Looked at again before it is kept: this is what vouches for the new key."""
    refuse_skew()
    old, made = _old_key(rotation, SigningKey.objects.all()), _made_of(rotation)
    now = timezone.now()
    if not old.is_active_at(now):
        raise HandoffError("key.not_active", f"{old.fingerprint} ended; an operator makes the next key at the machine")
    signer = Signer(bytes(old.secret_key), password=vault.password, fingerprint=old.fingerprint, now=now)
    envelope = signer.envelope(_transition(rotation, old, made))
    _check_transition(envelope, rotation, old, made)
    _move(
        rotation,
        RotationStep.TRANSITION_SIGNED,
        draft={**rotation.draft, "transition": base64.b64encode(envelope).decode()},
    )


def _switch(rotation: KeyRotation, _vault: Vault, by: Actor) -> None:
    """4 Switch, in one transaction: the old key may only verify from now on, the new one signs.

    Whoever records a signature holds the old key's row; so nothing signs while this runs.
    """
    made = _made_of(rotation)
    envelope = base64.b64decode(rotation.draft["transition"])
    with transaction.atomic(durable=True):
        now = timezone.now()
        old = _old_key(rotation, SigningKey.objects.select_for_update(no_key=True))
        if not old.is_active_at(now):
            raise HandoffError("key.not_active", f"{old.fingerprint} ended before the switch; nothing was changed")
        _check_transition(envelope, rotation, old, made)
        entry = append_event(
            events.KEY_ROTATED,
            by,
            "",
            {"lane": rotation.lane, "old": old.fingerprint, "new": made.fingerprint, "reason": rotation.reason.digest},
        )
        SigningKey.objects.filter(pk=old.pk).update(retired_at=now, retire_entry=entry)
        new = store_key(Lane(rotation.lane), made, replaces=old, transition=envelope, by=by)
        _move(rotation, RotationStep.SWITCHED, new_key=new, draft={}, end_entry=entry)


@transaction.atomic(durable=True)
def _retire(rotation: KeyRotation, _vault: Vault, _by: Actor) -> None:
    """5 Destroy the old key's private half. Its public half verifies for ever what it signed."""
    old = _old_key(rotation, SigningKey.objects.all())
    SigningKey.objects.filter(pk=old.pk, retired_at__isnull=False).update(secret_key=b"")
    _move(rotation, RotationStep.DONE)


STEPS: Final[Mapping[str, Callable[[KeyRotation, Vault, Actor], None]]] = {
    RotationStep.REQUESTED: _make_key,
    RotationStep.MADE: _sign_transition,
    RotationStep.TRANSITION_SIGNED: _switch,
    RotationStep.SWITCHED: _retire,
}


@transaction.atomic(durable=True)
def cancel_rotation(rotation_id: int, *, by: Actor) -> None:
    """Stop a rotation before its switch; the old key stays active, the drafted key is destroyed.

    Raises: HandoffError("rotation.not_open").
    """
    require(by, Act.ROTATE_KEY)
    rows = KeyRotation.objects.select_for_update(of=("self",)).filter(pk=rotation_id, step__in=BEFORE_SWITCH)
    rotation = rows.select_related("old_key").defer("old_key__secret_key").first()
    if rotation is None:
        raise HandoffError("rotation.not_open", "the switch was made, or the rotation has ended; nothing was changed")
    old = rotation.old_key.fingerprint if rotation.old_key else None
    entry = append_event(events.KEY_ROTATION_CANCELLED, by, "", {"lane": rotation.lane, "old": old})
    _move(rotation, RotationStep.CANCELLED, draft={}, error="", end_entry=entry)


@transaction.atomic(durable=True)
def retry_rotation(rotation_id: int, *, by: Actor) -> None:
    """Give a rotation that failed too often its attempts back."""
    require(by, Act.ROTATE_KEY)
    KeyRotation.objects.open().filter(pk=rotation_id).update(attempts=0, lease_until=None, next_try_at=None)


def _move(rotation: KeyRotation, new: RotationStep, **changes: object) -> None:
    """Compare-and-set of the step; `rotation` is what the caller read before it began."""
    rows = KeyRotation.objects.filter(pk=rotation.pk, step=rotation.step)
    if rows.update(step=new, moved_at=Now(), **changes) != 1:
        raise StaleStatusError(f"rotation {rotation.pk} is no longer {rotation.step}")


def _old_key(rotation: KeyRotation, rows: QuerySet[SigningKey]) -> SigningKey:
    if rotation.old_key_id is None:
        raise HandoffError("rotation.no_key", f"rotation {rotation.pk} names no key to replace")
    return rows.get(pk=rotation.old_key_id)


def _draft_of(made: NewKey) -> dict[str, JsonValue]:
    return {
        "fingerprint": made.fingerprint,
        "user_id": made.user_id,
        "algorithm": made.algorithm.value,
        "public_key": made.public_key,
        "secret": made.secret.decode("ascii"),
        "revocation": made.revocation.decode("ascii"),
        "created_at": made.created_at.isoformat(),
        "expires_at": made.expires_at.isoformat(),
    }


def _made_of(rotation: KeyRotation) -> NewKey:
    draft = rotation.draft
    return NewKey(
        fingerprint=draft["fingerprint"],
        user_id=draft["user_id"],
        algorithm=Algorithm(draft["algorithm"]),
        public_key=draft["public_key"],
        secret=draft["secret"].encode("ascii"),
        revocation=draft["revocation"].encode("ascii"),
        created_at=datetime.fromisoformat(draft["created_at"]),
        expires_at=datetime.fromisoformat(draft["expires_at"]),
    )


def _transition(rotation: KeyRotation, old: SigningKey, made: NewKey) -> JsonValue:
    """The statement by which a key names its successor. Deterministic."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": made.fingerprint, "digest": {"sha256": digest_of(made.public_key.encode())}}],
        "predicateType": TRANSITION_TYPE,
        "predicate": {
            "lane": rotation.lane,
            "oldFingerprint": old.fingerprint,
            "newFingerprint": made.fingerprint,
            "newPublicKey": made.public_key,
            "requestedAt": rotation.requested_at.isoformat(),
        },
    }


def _check_transition(envelope: bytes, rotation: KeyRotation, old: SigningKey, made: NewKey) -> None:
    opened = open_envelope(envelope, public_key=old.public_key, fingerprint=old.fingerprint)
    if opened != _transition(rotation, old, made):
        raise HandoffError("rotation.transition", "the old key's statement names another key; nothing was changed")
