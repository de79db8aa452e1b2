"""Bundles are kept as long as the settings say, and as long as somebody needs them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.utils import timezone

from audit.erasure import hold_person
from audit.models import LogEntry, Principal
from handoffs.bundles.store import BundleStore
from handoffs.expiring import expire_old_bundles
from handoffs.models import Handoff, PullRequest
from tests.web.scene import Scene, make_scene


@pytest.fixture
def scene(db, tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


def test_old_bundles_are_erased_but_those_in_use_young_or_held(scene: Scene, tmp_path: Path):
    root = tmp_path / "bundles"
    handoffs = {what: scene.pull().handoff for what in ("done", "open", "young", "held")}
    handoffs["refused"] = scene.handoff(outcome="FAILED")
    files = {what: root / handoff.digest[:2] / handoff.digest for what, handoff in handoffs.items()}
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"bundle")
    PullRequest.objects.exclude(handoff=handoffs["open"]).update(status="closed")
    now = timezone.now()
    Handoff.objects.exclude(pk=handoffs["young"].pk).update(received_at=now - timedelta(days=401))
    sponsor = Principal.objects.create(name="held", kind="human")
    hold_person(sponsor, is_held=True, by=scene.enforcer)
    Handoff.objects.filter(pk=handoffs["held"].pk).update(sponsor=sponsor)
    before, store = now - timedelta(days=400), BundleStore(root)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="the disk"):
        patch.setattr(store, "delete", Mock(side_effect=OSError("the disk is gone")))
        expire_old_bundles(store, before=before, by=scene.enforcer)
    entry = LogEntry.objects.get(kind="bundles.erased")  # before the first byte goes: no leaf, no act
    assert {handoff.pk for handoff in Handoff.objects.filter(erase_entry=entry)} == {
        handoffs[what].pk for what in ("done", "refused")
    }
    assert expire_old_bundles(store, before=before, by=scene.enforcer) == 2
    assert {what for what, file in files.items() if file.exists()} == {"open", "young", "held"}
    body: Any = LogEntry.objects.get(kind="bundles.erased").open()
    assert sorted(body["bundles"]) == sorted(handoffs[what].digest for what in ("done", "refused"))
    assert expire_old_bundles(store, before=before, by=scene.enforcer) == 0
