"""The keys' pages: what each role sees and may do, empty and late states, and forms that say what they refuse."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from handoffs.models import KeyRotation, Lane, RotationStep, SigningKey
from handoffs.signatures.sigstore_verifying import production_root
from tests.web.scene import Scene


def text_of(scene: Scene, name: str, address: str = "/keys/") -> str:
    return scene.client(name).get(address).content.decode()


def age(scene: Scene, days: int) -> None:
    now = timezone.now()
    made = now - timedelta(days=days, minutes=1)
    SigningKey.objects.filter(pk=scene.key.pk).update(created_at=made, expires_at=made + timedelta(days=30))


def test_every_watcher_sees_the_keys_and_only_the_enforcer_rotates(scene: Scene):
    for name, may_rotate, may_revoke in (
        ("plan", False, False),
        ("auditor", False, False),
        ("lead", False, True),
        ("exec", True, True),
    ):
        text = text_of(scene, name)
        assert scene.key.fingerprint in text
        assert ("Rotate the enforcer key now" in text) is may_rotate, name
        assert ("Revoke…" in text) is may_revoke, name
        assert 'href="/keys/"' in text


def test_a_lane_without_a_key_says_what_to_do(scene: Scene):
    text = text_of(scene, "plan")
    assert "manage.py operate key make gate" in text
    assert "No valid key" in text


def test_the_late_states_are_shown_to_the_enforcer_on_every_page(scene: Scene):
    assert "the gate lane has no valid key" in text_of(scene, "exec", "/handoffs/")
    assert "no valid key" not in text_of(scene, "plan", "/handoffs/")
    age(scene, 26)
    assert "Reminder: automatic rotation" in text_of(scene, "exec")
    assert "was not rotated" not in text_of(scene, "exec", "/handoffs/")
    age(scene, 28)
    assert "The enforcer key is on day 28 of 30 and was not rotated." in text_of(scene, "exec", "/handoffs/")
    assert "rotation is late" in text_of(scene, "exec")
    SigningKey.objects.filter(pk=scene.key.pk).update(expires_at=timezone.now())
    text = text_of(scene, "exec")
    assert "OpenPGP signing of bundles is off" in text
    assert "Rotate the enforcer key now" not in text
    assert "manage.py operate key make enforcer" in text


def test_rotating_and_cancelling_are_plain_forms(scene: Scene):
    client = scene.client("exec")
    assert client.post("/keys/rotate/", {"lane": "nobody"}).status_code == 404
    refused = client.post("/keys/rotate/", {"lane": "gate"})
    assert refused.status_code == 409
    assert "no signing key of the gate lane" in refused.content.decode()
    assert client.post("/keys/rotate/", {"lane": "enforcer"})["Location"] == "/keys/#lane-enforcer"
    rotation = KeyRotation.objects.get()
    assert "Rotation, asked for on the keys page, by exec" in text_of(scene, "plan")
    assert client.post("/keys/rotate/", {"lane": "enforcer"}).status_code == 302
    assert client.post(f"/keys/rotations/{rotation.pk}/cancel/").status_code == 302
    rotation.refresh_from_db()
    assert rotation.step == RotationStep.CANCELLED
    again = client.post(f"/keys/rotations/{rotation.pk}/cancel/")
    assert again.status_code == 409
    assert "nothing was changed" in again.content.decode()


def test_a_stuck_step_says_why_and_is_tried_again(scene: Scene):
    client = scene.client("exec")
    client.post("/keys/rotate/", {"lane": "enforcer"})
    rotation = KeyRotation.objects.get()
    KeyRotation.objects.update(attempts=5, error="key.password: the key does not open")
    text = text_of(scene, "exec")
    assert "Given up after 5 attempts" in text
    assert "the key does not open" in text
    client.post(f"/keys/rotations/{rotation.pk}/retry/")
    rotation.refresh_from_db()
    assert rotation.attempts == 0


def test_a_revocation_lists_what_it_concerns_before_it_is_made(scene: Scene):
    pull = scene.passing()
    client, address = scene.client("lead"), f"/keys/{scene.key.fingerprint}/revoke/"
    bad = client.post(address, {"since": "tomorrow", "reason": "x", "step": "review"})
    assert bad.status_code == 422
    assert "Write the moment as" in bad.content.decode()
    future = client.post(address, {"since": "2999-01-01 00:00", "reason": "the laptop was lost", "step": "revoke"})
    assert "has not come yet" in future.content.decode()
    form = {"since": "2026-01-01 12:00", "reason": "the laptop was lost on the train"}
    review = client.post(address, {**form, "step": "review"}).content.decode()
    assert f"H-{pull.handoff_id}" in review
    assert "its lane stops until an operator" in review
    assert SigningKey.objects.get(lane=Lane.ENFORCER).revoked_at is None
    assert client.post(address, {**form, "step": "revoke"})["Location"] == "/keys/"
    assert SigningKey.objects.get(lane=Lane.ENFORCER).revoked_at is not None
    text = text_of(scene, "plan")
    assert "1 flagged" in text
    assert "Revoked" in text
    assert f"H-{pull.handoff_id}" in text_of(scene, "plan", f"/keys/{scene.key.fingerprint}/revocation/")
    assert "does not hold" in text_of(scene, "plan", f"/handoffs/{pull.handoff_id}/")


def test_an_unknown_key_is_not_found(scene: Scene):
    for address in ("/keys/00/public.asc", "/keys/00/revocation/"):
        assert scene.client("lead").get(address).status_code == 404


def test_the_trusted_root_shows_its_age_and_what_to_do(scene: Scene, settings, tmp_path: Path):
    file = tmp_path / "trusted_root.json"
    file.write_bytes(production_root().raw)
    settings.SIGSTORE_TRUSTED_ROOT = str(file)
    digest = production_root().digest
    for days, mirror, word, advice in (
        (0, "https://tuf.example", "Fresh", False),
        (2, "", "Fresh", False),
        (2, "https://tuf.example", "Refresh is due", True),
        (8, "", "Refresh is due", True),
    ):
        written = (timezone.now() - timedelta(days=days)).timestamp()
        os.utime(file, (written, written))
        settings.SIGSTORE_TUF_MIRROR = mirror
        text = text_of(scene, "plan")
        assert digest in text
        assert word in text
        assert ("manage.py operate trusted-root refresh" in text) is advice
    settings.SIGSTORE_TRUSTED_ROOT = str(tmp_path / "none.json")
    text = text_of(scene, "plan")
    assert "Judges nothing" in text
    assert "sigstore.root" in text
