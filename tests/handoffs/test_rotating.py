"""Rotation of signing keys: five steps, each safe to run twice, and the old key vouches for the new one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from audit.events import AuditError
from audit.models import LogEntry, Principal
from handoffs import keys, rotating
from handoffs.models import (
    BEFORE_SWITCH,
    HandoffError,
    KeyRotation,
    KeyState,
    Lane,
    RotationStep,
    Signature,
    SigningKey,
    StaleStatusError,
)
from handoffs.signatures.key_rules import Algorithm
from handoffs.signatures.openpgp import generate_key, open_envelope
from handoffs.tasks import key_vault, rotate_key, sweep_keys
from tests.support.portal import Portal
from tests.support.signing_keys import age, by, revoke, rotated


def test_a_rotation_goes_through_its_five_steps_and_the_old_key_signs_the_transition(portal: Portal):
    old = keys.active_key(Lane.ENFORCER)
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    seen = [rotation.step]
    while rotation.step in rotating.STEPS:
        assert keys.active_key(Lane.ENFORCER) == old or rotation.step == RotationStep.SWITCHED
        rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
        seen.append(rotation.step)
    assert seen == ["requested", "made", "transition-signed", "switched", "done"]
    new = keys.active_key(Lane.ENFORCER)
    assert (new.replaces_id, rotation.new_key, rotation.draft) == (old.pk, new, {})
    assert new.transition is not None
    said: Any = open_envelope(bytes(new.transition), public_key=old.public_key, fingerprint=old.fingerprint)
    assert said["predicate"]["newFingerprint"] == new.fingerprint
    assert said["predicate"]["newPublicKey"] == new.public_key
    old.refresh_from_db()
    assert old.state_at(timezone.now()) is KeyState.VERIFY_ONLY
    assert bytes(old.secret_key) == b""
    kinds = list(LogEntry.objects.filter(kind__startswith="key.").order_by("pk").values_list("kind", flat=True))
    assert kinds == ["key.created", "key.created", "key.rotation_requested", "key.rotated", "key.created"]


def test_old_signatures_verify_after_the_rotation(portal: Portal):
    handoff = portal.hand_over()
    old = keys.active_key(Lane.ENFORCER)
    rotated()
    signature = Signature.objects.select_related("key").get(handoff=handoff)
    raw = portal.tools().store.get(handoff.digest)
    assert signature.key is not None
    keys.verify_receipt(signature.key, raw, signature.signature, received_at=signature.signed_at)
    assert signature.is_trusted
    assert signature.key == old
    portal.run_work()
    assert portal.pull().gate_executions.get(gate="slsa").conclusion == "success"


def test_a_new_handoff_is_signed_by_the_new_key(portal: Portal):
    new = rotated().new_key
    assert portal.hand_over().signature.key == new


@pytest.mark.parametrize("step", list(rotating.STEPS))
def test_a_step_done_twice_is_done_once(portal: Portal, step: str):
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    while rotation.step != step:
        rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    rotating.advance_rotation(rotation, key_vault(), by=by())
    with pytest.raises((StaleStatusError, HandoffError)):
        rotating.advance_rotation(rotation, key_vault(), by=by())
    assert rotate_key(rotation.pk) in {RotationStep.DONE, "not mine"}
    assert SigningKey.objects.filter(lane=Lane.ENFORCER).count() == 2
    assert SigningKey.objects.filter(lane=Lane.ENFORCER, retired_at=None).count() == 1
    assert LogEntry.objects.filter(kind="key.rotated").count() == 1


@pytest.mark.parametrize("step", BEFORE_SWITCH)
def test_a_cancelled_rotation_leaves_the_old_key_active_and_no_other(portal: Portal, step: str):
    old = keys.active_key(Lane.ENFORCER)
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    while rotation.step != step:
        rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    rotating.cancel_rotation(rotation.pk, by=by())
    with pytest.raises(StaleStatusError):
        rotating.advance_rotation(rotation, key_vault(), by=by())
    rotation.refresh_from_db()
    assert (rotation.step, rotation.draft) == (RotationStep.CANCELLED, {})
    assert list(SigningKey.objects.filter(lane=Lane.ENFORCER)) == [old]
    assert rotate_key(rotation.pk) == "not mine"
    with pytest.raises(HandoffError, match=r"rotation\.not_open"):
        rotating.cancel_rotation(rotation.pk, by=by())


def test_after_the_switch_a_rotation_cannot_be_cancelled(portal: Portal):
    rotation = rotated()
    with pytest.raises(HandoffError, match=r"rotation\.not_open"):
        rotating.cancel_rotation(rotation.pk, by=by())


def test_a_step_that_fails_leaves_the_old_key_active_and_is_tried_again(portal: Portal, settings):
    old = keys.active_key(Lane.ENFORCER)
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    right = settings.SIGNING_KEY_PASSWORD
    rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    settings.SIGNING_KEY_PASSWORD = "a-password-nobody-ever-chose"
    assert rotate_key(rotation.pk) == "failed"
    rotation.refresh_from_db()
    assert "key.password" in rotation.error
    assert keys.active_key(Lane.ENFORCER) == old
    settings.SIGNING_KEY_PASSWORD = right
    KeyRotation.objects.filter(pk=rotation.pk).update(next_try_at=None)
    assert rotate_key(rotation.pk) == RotationStep.DONE


def test_a_draft_swapped_after_the_transition_was_signed_is_not_switched_to(portal: Portal):
    old = keys.active_key(Lane.ENFORCER)
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    for _ in range(2):
        rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    planted = generate_key("planted <p@x.invalid>", password="planted-password-of-mine", algorithm=Algorithm.ED25519)
    rotation.draft |= {
        "fingerprint": planted.fingerprint,
        "public_key": planted.public_key,
        "secret": planted.secret.decode(),
    }
    rotation.save(update_fields=["draft"])
    with pytest.raises(HandoffError, match=r"rotation\.transition"):
        rotating.advance_rotation(rotation, key_vault(), by=by())
    assert keys.active_key(Lane.ENFORCER) == old


@pytest.mark.parametrize("how", ["expired", "revoked"])
def test_a_key_that_ended_is_not_rotated_but_replaced_by_an_operator_without_a_transition(portal: Portal, how: str):
    old = keys.active_key(Lane.ENFORCER)
    if how == "expired":
        age(old, 31)
    else:
        with transaction.atomic():
            revoke(old, timezone.now())
    with pytest.raises(HandoffError, match=r"key\.none"):
        rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    new = keys.create_signing_key(Lane.ENFORCER, key_vault(), by=by())
    assert (new.replaces, new.transition) == (old, None)
    entry = LogEntry.objects.filter(kind="key.created").latest("pk")
    assert entry.open()["vouched_by_old_key"] is False
    with pytest.raises(HandoffError, match=r"key\.active_exists"):
        keys.create_signing_key(Lane.ENFORCER, key_vault(), by=by())


def test_a_key_that_expires_while_it_is_rotated_vouches_for_nobody(portal: Portal):
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    for _ in range(2):
        rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    age(keys.active_key(Lane.ENFORCER), 31)
    with pytest.raises(HandoffError, match=r"key\.not_active"):
        rotating.advance_rotation(rotation, key_vault(), by=by())
    keys.create_signing_key(Lane.ENFORCER, key_vault(), by=by())
    assert KeyRotation.objects.get(pk=rotation.pk).step == RotationStep.CANCELLED
    assert SigningKey.objects.filter(lane=Lane.ENFORCER, retired_at=None).count() == 1


def test_the_scheduler_rotates_on_day_28_and_not_before(portal: Portal):
    key = keys.active_key(Lane.GATE)
    key = age(key, 27)
    assert sweep_keys() == 0
    assert not KeyRotation.objects.exists()
    age(key, 1)
    assert sweep_keys() == 1
    rotation = KeyRotation.objects.get()
    assert (rotation.lane, rotation.requested_by) == ("gate", Principal.objects.get(name="leoportal-enforcer").pk)
    assert sweep_keys() == 1
    assert KeyRotation.objects.count() == 1


def test_that_a_key_expired_is_put_on_record_once_and_its_private_half_goes(portal: Portal):
    key = age(keys.active_key(Lane.GATE), 31)
    for _ in range(2):
        sweep_keys()
    key.refresh_from_db()
    (entry,) = LogEntry.objects.filter(kind="key.expired")
    assert (key.retired_at, key.retire_entry, bytes(key.secret_key)) == (key.expires_at, entry, b"")
    assert key.state_at(timezone.now()) is KeyState.EXPIRED
    assert (entry.open()["fingerprint"], entry.role) == (key.fingerprint, "ENFORCER")


def test_a_killed_worker_is_found_by_the_sweep(portal: Portal):
    rotation = rotating.request_rotation(Lane.GATE, by=by(), reason="a test")
    assert KeyRotation.objects.claim(rotation.pk, lease=timedelta(seconds=120)) == 1
    assert sweep_keys() == 0
    KeyRotation.objects.filter(pk=rotation.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sweep_keys() == 1
    assert rotate_key(rotation.pk) == RotationStep.DONE


@pytest.mark.threat("ATT-12")
@pytest.mark.parametrize("name", ["plan", "lead", "auditor", "story-gate", "codex"])
def test_only_the_enforcer_lane_rotates(portal: Portal, name: str):
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        rotating.request_rotation(Lane.ENFORCER, by=portal.actor(name), reason="a test")
