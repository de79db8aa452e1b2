"""The life of a signing key: who may sign until when, five-step rotation, revocation, and nothing of it in clear."""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pysequoia
import pytest
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from audit.events import AuditError
from audit.models import LogEntry
from handoffs import keys, revocations, rotating
from handoffs.models import (
    Handoff,
    HandoffError,
    KeyRotation,
    KeyState,
    Lane,
    RotationStep,
    Signature,
    SigningKey,
    StaleStatusError,
    Status,
)
from handoffs.signatures.key_rules import Algorithm
from handoffs.signatures.openpgp import SignatureError, Signer, _vault, generate_key, open_envelope, verify_detached
from handoffs.signing import sign_handoff
from handoffs.tasks import key_vault, rotate_key, sweep_keys, sweep_staging
from handoffs.verifying import verify_handoff
from leoportal import settings as product
from leoportal import setup
from tests.support.portal import GOOD_CHANGE, Portal

DAY = timedelta(days=1)


def by():
    return setup.OPERATOR


def open_signer(key: SigningKey, **more) -> Signer:
    """The private half of a stored key."""
    return Signer(
        bytes(key.secret_key),
        password=configured.SIGNING_KEY_PASSWORD,
        fingerprint=key.fingerprint,
        now=timezone.now(),
        **more,
    )


def age(key: SigningKey, days: int) -> SigningKey:
    """The same key as it stands `days` after it was made; only our record of it, the certificate stays."""
    SigningKey.objects.filter(pk=key.pk).update(
        created_at=key.created_at - days * DAY, expires_at=key.expires_at - days * DAY
    )
    return SigningKey.objects.get(pk=key.pk)


def rotated(lane: Lane = Lane.ENFORCER) -> KeyRotation:
    rotation = rotating.request_rotation(lane, by=by(), reason="a test")
    assert rotate_key(rotation.pk) == RotationStep.DONE
    return KeyRotation.objects.select_related("old_key", "new_key").get(pk=rotation.pk)


def verified_handoff(portal: Portal) -> Handoff:
    """A handoff that stands before its signature."""

    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    sweep_staging()
    verify_handoff(Handoff.objects.select_related("repository").latest("pk"), portal.tools())
    return Handoff.objects.select_related("repository").get(status=Status.VERIFIED)


def test_both_lanes_have_a_key_of_their_own(portal: Portal):
    found = {lane: keys.active_key(lane) for lane in Lane}
    assert len({key.fingerprint for key in found.values()}) == 2
    assert {key.lane for key in found.values()} == set(Lane.values)
    # The tests' keys are Ed25519 for speed. What the SOP demands is what the product's own settings say.
    assert product.SIGNING_ALGORITHMS == {"enforcer": Algorithm.RSA_4096, "gate": Algorithm.ED25519}


@pytest.mark.threat("ATT-12")
@pytest.mark.parametrize("algorithm", ["RSA-2048", "RSA-1024", "DSA", ""])
def test_a_weak_key_is_not_stored(portal: Portal, algorithm: str):
    with pytest.raises(IntegrityError, match="signingkey_strong"), transaction.atomic():
        SigningKey.objects.filter(lane=Lane.GATE).update(retired_at=timezone.now())
        SigningKey.objects.create(
            fingerprint="CD" * 20,
            lane=Lane.GATE,
            algorithm=algorithm,
            user_id="weak",
            public_key="",
            secret_key=b"",
            created_at=timezone.now(),
            expires_at=timezone.now() + DAY,
        )


@pytest.mark.threat("ATT-12")
def test_one_fingerprint_serves_one_lane(portal: Portal):
    key = keys.active_key(Lane.ENFORCER)
    with pytest.raises(IntegrityError, match="fingerprint"), transaction.atomic():
        SigningKey.objects.filter(lane=Lane.GATE).update(retired_at=timezone.now())
        SigningKey.objects.create(
            fingerprint=key.fingerprint,
            lane=Lane.GATE,
            user_id="twice",
            public_key=key.public_key,
            secret_key=key.secret_key,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    with pytest.raises(IntegrityError, match=r"key\.life_cycle"), transaction.atomic():
        SigningKey.objects.filter(lane=Lane.GATE).update(retired_at=timezone.now())
        SigningKey.objects.filter(pk=key.pk).update(lane=Lane.GATE)


@pytest.mark.threat("ATT-12")
def test_a_key_is_never_deleted_nor_made_valid_again(portal: Portal):
    old = rotated().old_key
    assert old is not None
    for change in (
        {"retired_at": None},
        {"retired_at": timezone.now() + DAY},
        {"expires_at": old.expires_at + DAY},
        {"public_key": keys.active_key(Lane.GATE).public_key},
        {"secret_key": b"another"},
        {"transition": b"{}"},
    ):
        with pytest.raises(IntegrityError, match=r"key\.life_cycle|30_days"), transaction.atomic():
            SigningKey.objects.filter(pk=old.pk).update(**change)
    with pytest.raises(IntegrityError, match=r"key\.kept"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM handoffs_signingkey WHERE id = %s", [old.pk])


@pytest.mark.threat("ATT-12")
def test_signing_is_refused_on_day_31(portal: Portal):
    handoff = verified_handoff(portal)
    age(keys.active_key(Lane.ENFORCER), 31)
    with pytest.raises(HandoffError, match=r"key\.none"):
        sign_handoff(handoff, portal.tools())
    assert not Signature.objects.exists()


@pytest.mark.threat("ATT-12")
def test_a_signer_taken_in_time_does_not_sign_on_day_31(portal: Portal):
    key = keys.active_key(Lane.ENFORCER)
    clock = iter([key.created_at + 29 * DAY, key.created_at + 31 * DAY])
    signer = open_signer(key, clock=lambda: next(clock))
    with pytest.raises(SignatureError, match=r"time\.untrusted"):
        signer.sign(b"on day 29 by our clock, today by the library's")
    with pytest.raises(SignatureError, match=r"key\.expired"):
        signer.sign(b"x")


@pytest.mark.threat("ATT-12")
@pytest.mark.parametrize("how", ["rotated", "revoked", "expired"])
def test_a_signature_made_with_a_signer_taken_earlier_is_not_recorded(portal: Portal, how: str):
    handoff = verified_handoff(portal)
    key = keys.active_key(Lane.ENFORCER)
    signer, now = open_signer(key), timezone.now()
    made = signer.sign(b"bytes")
    if how == "rotated":
        rotated()
    elif how == "revoked":
        with transaction.atomic():
            revoke(key, now)
    else:
        age(key, 31)
    with pytest.raises(HandoffError, match=r"key\.not_active"), transaction.atomic():
        keys.confirm_active(key, timezone.now())
    with pytest.raises(IntegrityError, match=r"key\.not_active"), transaction.atomic():
        Signature.objects.create(
            handoff=handoff, key=key, digest=handoff.digest, signature=made, envelope=b"{}", signed_at=timezone.now()
        )


@pytest.mark.threat("ATT-12")
def test_a_key_of_the_gate_lane_signs_no_bundle(portal: Portal):
    handoff = verified_handoff(portal)
    with pytest.raises(IntegrityError, match=r"key\.lane"), transaction.atomic():
        Signature.objects.create(
            handoff=handoff,
            key=keys.active_key(Lane.GATE),
            digest=handoff.digest,
            signature="-----BEGIN",
            envelope=b"{}",
            signed_at=timezone.now(),
        )


def test_the_states_follow_from_the_times():
    made = datetime(2026, 10, 1, tzinfo=UTC)
    key = SigningKey(created_at=made, expires_at=made + 30 * DAY)
    assert key.state_at(made) is KeyState.ACTIVE
    assert not key.is_active_at(made - timedelta(seconds=1))
    assert key.state_at(made + 30 * DAY) is KeyState.EXPIRED
    key.retired_at = made + 28 * DAY
    assert key.state_at(made + 28 * DAY) is KeyState.VERIFY_ONLY
    assert key.vouches_for(made + 27 * DAY)
    assert not key.vouches_for(made + 28 * DAY)
    key.revoked_at, key.distrusted_since = made + 29 * DAY, made + 10 * DAY
    assert key.state_at(made + 29 * DAY) is KeyState.REVOKED
    assert key.vouches_for(made + 9 * DAY)
    assert not key.vouches_for(made + 10 * DAY)


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
    assert kinds == ["key.created", "key.created", "key.rotation_requested", "key.created", "key.rotated"]


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


@pytest.mark.parametrize("step", rotating.CANCELLABLE)
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
    assert (rotation.lane, rotation.requested_by) == ("gate", "leoportal-enforcer")
    assert sweep_keys() == 1
    assert KeyRotation.objects.count() == 1


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


@transaction.atomic
def revoke(key: SigningKey, since: datetime, *, password: str | None = None, actor=None) -> SigningKey:
    return revocations.record_revocation(
        key.fingerprint,
        distrusted_since=since,
        reason="the laptop was lost on the train",
        password=configured.SIGNING_KEY_PASSWORD if password is None else password,
        by=actor or by(),
    )


@pytest.mark.threat("ATT-12")
def test_a_revocation_is_immediate_logged_and_published(portal: Portal):
    key = keys.active_key(Lane.ENFORCER)
    since = timezone.now() - timedelta(hours=1)
    revoked = revoke(key, since)
    assert revoked.state_at(timezone.now()) is KeyState.REVOKED
    assert bytes(revoked.secret_key) == b""
    assert pysequoia.Cert.from_bytes(revoked.revoked_public_key.encode()).is_revoked
    assert not pysequoia.Cert.from_bytes(revoked.public_key.encode()).is_revoked
    entry = LogEntry.objects.get(kind="key.revoked")
    assert entry.open()["distrusted_since"] == since.isoformat()
    later = revoke(key, timezone.now())
    assert later.distrusted_since == since
    earlier = revoke(key, since - DAY)
    assert earlier.distrusted_since == since - DAY
    assert earlier.revoked_at == revoked.revoked_at


def test_a_revocation_takes_effect_even_without_the_password(portal: Portal):
    revoked = revoke(keys.active_key(Lane.ENFORCER), timezone.now(), password="a-password-nobody-ever-chose")
    assert revoked.revoked_at
    assert revoked.revoked_public_key == ""


def test_a_retired_key_can_be_revoked_with_its_revocation_certificate(portal: Portal):
    old = rotated().old_key
    assert old is not None
    revoked = revoke(old, old.created_at)
    assert pysequoia.Cert.from_bytes(revoked.revoked_public_key.encode()).is_revoked
    assert keys.active_key(Lane.ENFORCER).replaces == old


def test_a_revocation_needs_a_reason_and_a_moment_that_has_passed(portal: Portal):
    key = keys.active_key(Lane.ENFORCER)
    with pytest.raises(HandoffError, match=r"key\.since"):
        revoke(key, timezone.now() + DAY)
    with pytest.raises(HandoffError, match=r"key\.reason"), transaction.atomic():
        revocations.record_revocation(
            key.fingerprint, distrusted_since=timezone.now(), reason=" x ", password="", by=by()
        )
    with pytest.raises(HandoffError, match=r"key\.unknown"), transaction.atomic():
        revocations.record_revocation("00", distrusted_since=timezone.now(), reason="x" * 20, password="", by=by())
    assert keys.active_key(Lane.ENFORCER) == key
    for name in ("plan", "auditor", "story-gate", "codex"):
        with pytest.raises(AuditError, match=r"role\.not_allowed"):
            revoke(key, timezone.now(), actor=portal.actor(name))


def test_a_key_revoked_during_its_rotation_gets_no_successor(portal: Portal):
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    for _ in range(2):
        rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    revoke(keys.active_key(Lane.ENFORCER), timezone.now())
    with pytest.raises((HandoffError, StaleStatusError)):
        rotating.advance_rotation(rotation, key_vault(), by=by())
    assert SigningKey.objects.filter(lane=Lane.ENFORCER).count() == 1
    assert KeyRotation.objects.get().step == RotationStep.CANCELLED


@pytest.mark.threat("ATT-12")
def test_no_private_half_and_no_password_is_anywhere_in_clear(portal: Portal, caplog):
    caplog.set_level(logging.DEBUG)
    password = configured.SIGNING_KEY_PASSWORD
    rotation = rotating.request_rotation(Lane.ENFORCER, by=by(), reason="a test")
    rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    rotation = rotating.advance_rotation(rotation, key_vault(), by=by())
    secrets = [bytes(key.secret_key) for key in SigningKey.objects.all()] + [rotation.draft["secret"].encode()]
    assert len(secrets) == 3
    needles = [password.encode(), b"PRIVATE KEY BLOCK"]
    for secret in secrets:
        tsk = pysequoia.Tsk.from_bytes(opened(secret))
        armoured = str(tsk).encode()
        assert b"PRIVATE KEY BLOCK" in armoured
        body = b"".join(armoured.split(b"\n\n", 1)[1].split(b"\n"))
        raw = bytes(tsk)
        needles += [raw[-80:-8], base64.b64encode(raw[:60])[:76], body[200:260], repr(raw)[40:120].encode()]
    portal.hand_over()
    pages = (
        b"".join(
            visit(portal, name).get(address).content
            for name in ("lead", "auditor")
            for address in ("/keys/", f"/keys/{keys.active_key(Lane.ENFORCER).fingerprint}/public.asc", "/handoffs/1/")
        )
        + Client().get("/.well-known/leoportal-keys.json").content
    )
    assert rotate_key(rotation.pk) == RotationStep.DONE
    dump = pages + caplog.text.encode() + every_column()
    assert len(dump) > 50_000
    assert b"BEGIN PGP PUBLIC KEY BLOCK" in dump
    assert [needle for needle in needles if needle in dump] == []
    for secret in secrets[:1] + secrets[2:]:
        assert secret not in pages


def opened(secret: bytes) -> bytes:
    """What the vault holds, for looking for it elsewhere."""

    return _vault(configured.SIGNING_KEY_PASSWORD).decrypt(secret)


def visit(portal: Portal, name: str) -> Client:

    client = Client()
    client.force_login(User.objects.get(username=name), backend="leoportal.roles.SignInBackend")
    return client


def every_column() -> bytes:
    """Every value of every row of every table, as text and as bytes."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                found += [bytes(v) if isinstance(v, bytes | memoryview) else str(v).encode() for v in row]
    return b"\n".join(found)


def test_what_a_key_signed_verifies_by_its_certificate_alone(portal: Portal):
    key = keys.active_key(Lane.GATE)
    verify_detached(b"x", open_signer(key).sign(b"x"), public_key=key.public_key, fingerprint=key.fingerprint)


@pytest.mark.threat("ATT-12")
def test_a_published_test_key_never_becomes_the_active_one(portal: Portal):
    with transaction.atomic():
        SigningKey.objects.filter(lane=Lane.GATE).update(retired_at=timezone.now())
        SigningKey.objects.create(
            fingerprint="C959BDBAFA32A2F89A153B678CFDE12197965A9A",
            lane=Lane.GATE,
            algorithm="Ed25519",
            user_id="sample",
            public_key="",
            secret_key=b"x",
            created_at=timezone.now(),
            expires_at=timezone.now() + DAY,
        )
    with pytest.raises(HandoffError, match=r"key\.known"):
        keys.active_key(Lane.GATE)
