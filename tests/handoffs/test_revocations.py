"""Revocation of signing keys: at once, logged, published, and back to a moment."""

from __future__ import annotations

from datetime import timedelta

import pysequoia
import pytest
from django.db import transaction
from django.utils import timezone

from audit.events import AuditError
from audit.models import LogEntry
from handoffs import keys, revocations, rotating
from handoffs.models import (
    HandoffError,
    KeyRotation,
    KeyState,
    Lane,
    RotationStep,
    SigningKey,
    StaleStatusError,
)
from handoffs.tasks import key_vault
from tests.support.log import settle_log
from tests.support.portal import Portal
from tests.support.signing_keys import DAY, by, revoke, rotated


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
    settle_log()
    later = revoke(key, timezone.now())
    settle_log()
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
