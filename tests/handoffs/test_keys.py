"""The life of a signing key: who may sign until when, five-step rotation, revocation, and nothing of it in clear."""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime, timedelta

import pysequoia
import pytest
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from handoffs import keys, rotating
from handoffs.models import (
    Handoff,
    HandoffError,
    KeyState,
    Lane,
    RotationStep,
    Signature,
    SigningKey,
    Status,
)
from handoffs.signatures.key_rules import Algorithm
from handoffs.signatures.openpgp import SignatureError, Signer, _vault, verify_detached
from handoffs.signing import sign_handoff
from handoffs.tasks import key_vault, rotate_key, sweep_staging
from handoffs.verifying import verify_handoff
from leoportal import settings as product
from tests.support.portal import GOOD_CHANGE, Portal
from tests.support.signing_keys import DAY, age, by, retired, revoke, rotated


def open_signer(key: SigningKey, **more) -> Signer:
    """The private half of a stored key."""
    return Signer(
        bytes(key.secret_key),
        password=configured.SIGNING_KEY_PASSWORD,
        fingerprint=key.fingerprint,
        now=timezone.now(),
        **more,
    )


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
        SigningKey.objects.create(
            log_entry=retired(Lane.GATE),
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
        SigningKey.objects.create(
            log_entry=retired(Lane.GATE),
            fingerprint=key.fingerprint,
            lane=Lane.GATE,
            user_id="twice",
            public_key=key.public_key,
            secret_key=key.secret_key,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    with pytest.raises(IntegrityError, match=r"key\.life_cycle"), transaction.atomic():
        retired(Lane.GATE)
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
        SigningKey.objects.create(
            log_entry=retired(Lane.GATE),
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
