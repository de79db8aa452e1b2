"""Every write of signing keys: making, rotating, revoking. The secret half leaves the vault only to sign.

A rotation's row is the queue of its five steps. Each step is a transaction of its own and moves the row by
compare-and-set; until the fourth, the old key is the active one, and whatever fails leaves it so.
Source: SOP section 10.3; product.md section 4; ATT-07 and ATT-12 of the threat list.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.attestations.vsa import STATEMENT_TYPE
from handoffs.bundles.bundle import digest_of
from handoffs.clocks import refuse_skew
from handoffs.models import (
    Handoff,
    HandoffError,
    KeyRotation,
    Lane,
    RotationStep,
    Signature,
    SignatureRenewal,
    SigningKey,
    StaleStatusError,
)
from handoffs.signatures.key_rules import Algorithm, KeyRuleError, refuse_known_key
from handoffs.signatures.openpgp import (
    NewKey,
    SignatureError,
    Signer,
    generate_key,
    open_envelope,
    revoked_certificate,
    verify_detached,
)

TRANSITION_TYPE: Final = "https://leoportal.invalid/key-transition/v1"
MIN_REASON: Final = 10
MAX_REASON: Final = 300
CANCELLABLE: Final = (RotationStep.REQUESTED, RotationStep.MADE, RotationStep.TRANSITION_SIGNED)
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
        KeyRotation.objects.open().filter(lane=lane).update(
            step=RotationStep.CANCELLED, draft={}, error="the key to rotate had ended", moved_at=Now()
        )
        expired = SigningKey.objects.filter(lane=lane, retired_at=None, expires_at__lte=timezone.now())
        expired.update(retired_at=F("expires_at"), secret_key=b"")
        before = SigningKey.objects.filter(lane=lane, replaced_by=None).order_by("-created_at").first()
        return _store(lane, made, replaces=before, transition=None, by=by)


def _refuse_beside_active(lane: Lane) -> None:
    try:
        key = active_key(lane)
    except HandoffError:
        return
    raise HandoffError("key.active_exists", f"{key.fingerprint} signs for the {lane} lane; rotate it instead")


def _store(lane: Lane, made: NewKey, *, replaces: SigningKey | None, transition: bytes | None, by: Actor) -> SigningKey:
    """The key's row and its log entry, in the caller's transaction."""
    key = SigningKey.objects.create(
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
    )
    body: dict[str, JsonValue] = {
        "fingerprint": made.fingerprint,
        "lane": lane.value,
        "algorithm": made.algorithm.value,
        "expires_at": made.expires_at.isoformat(),
        "public_key_sha256": digest_of(made.public_key.encode()),
        "replaces": replaces.fingerprint if replaces else None,
        "vouched_by_old_key": transition is not None,
    }
    append_event(events.KEY_CREATED, by, "", body)
    return key


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
    rotation = KeyRotation.objects.create(
        lane=lane, old_key=key, requested_by=by.name, reason=reason[:200], requested_at=timezone.now()
    )
    append_event(
        events.KEY_ROTATION_REQUESTED, by, "", {"lane": lane.value, "old": key.fingerprint, "reason": reason[:200]}
    )
    return rotation


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
        SigningKey.objects.filter(pk=old.pk).update(retired_at=now)
        new = _store(Lane(rotation.lane), made, replaces=old, transition=envelope, by=by)
        _move(rotation, RotationStep.SWITCHED, new_key=new, draft={})
        append_event(
            events.KEY_ROTATED,
            by,
            "",
            {"lane": rotation.lane, "old": old.fingerprint, "new": new.fingerprint, "reason": rotation.reason},
        )


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
    rows = KeyRotation.objects.filter(pk=rotation_id, step__in=CANCELLABLE)
    if rows.update(step=RotationStep.CANCELLED, draft={}, error="", moved_at=Now()) != 1:
        raise HandoffError("rotation.not_open", "the switch was made, or the rotation has ended; nothing was changed")
    rotation = KeyRotation.objects.select_related("old_key").defer("old_key__secret_key").get(pk=rotation_id)
    old = rotation.old_key.fingerprint if rotation.old_key else None
    append_event(events.KEY_ROTATION_CANCELLED, by, "", {"lane": rotation.lane, "old": old})


@transaction.atomic(durable=True)
def retry_rotation(rotation_id: int, *, by: Actor) -> None:
    """Give a rotation that failed too often its attempts back."""
    require(by, Act.ROTATE_KEY)
    KeyRotation.objects.open().filter(pk=rotation_id).update(attempts=0, lease_until=None, next_try_at=None)


def record_revocation(
    fingerprint: str, *, distrusted_since: datetime, reason: str, password: str, by: Actor
) -> SigningKey:
    """Revoke a key at once, in the caller's transaction: what the portal received since then does not hold any more.

    A second revocation can only move the moment back. An open rotation of the lane ends: a distrusted key vouches
    for no successor. Without the password the state is published all the same, only the OpenPGP revocation is not.
    Raises: HandoffError("key.unknown"), ("key.reason"), ("key.since").
    """
    require(by, Act.REVOKE_KEY)
    now = timezone.now()
    key = SigningKey.objects.select_for_update(no_key=True).filter(fingerprint=fingerprint).first()
    if key is None:
        raise HandoffError("key.unknown", f"there is no key {fingerprint[:80]}")
    said = " ".join(reason.split())
    if not MIN_REASON <= len(said) <= MAX_REASON:
        raise HandoffError("key.reason", f"got {len(said)} characters, expected {MIN_REASON} to {MAX_REASON}")
    if distrusted_since > now:
        raise HandoffError("key.since", f"got {distrusted_since.isoformat()}, expected a moment that has passed")
    since = min(distrusted_since, key.distrusted_since or distrusted_since)
    SigningKey.objects.filter(pk=key.pk).update(
        revoked_at=key.revoked_at or now,
        distrusted_since=since,
        revocation_reason=said,
        secret_key=b"",
        revoked_public_key=key.revoked_public_key or _revoked(key, password),
    )
    KeyRotation.objects.filter(lane=key.lane, old_key=key, step__in=CANCELLABLE).update(
        step=RotationStep.CANCELLED, draft={}, error="the key was revoked", moved_at=Now()
    )
    affected = affected_handoffs(key, since)
    body: dict[str, JsonValue] = {
        "fingerprint": key.fingerprint,
        "lane": key.lane,
        "distrusted_since": since.isoformat(),
        "reason": said,
        "handoffs": [f"H-{pk}" for pk in affected.order_by("pk").values_list("pk", flat=True)[:1000]],
        "signatures": affected.count(),
    }
    append_event(events.KEY_REVOKED, by, "", body)
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
