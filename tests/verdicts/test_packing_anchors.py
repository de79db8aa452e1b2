"""Anchors of a real log in evidence packs: asked for when a pack is made, waited for, and checked offline."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from audit import standalone_verifier
from audit.models import LogEntry, LogUpkeep, Upkeep
from audit.pack_reading import Pack
from handoffs.git.repository import Git
from leoportal.anchors import anchor
from leoportal.lanes.switching import acting_in
from leoportal.upkeep import do_upkeep
from tests.audit.tampering import append
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.portal import Portal
from tests.support.portal_packs import by_command, key_of_the_log, make_pack, sign_log, states_of
from verdicts import packing_anchors
from verdicts.export_rows import Export
from verdicts.tasks import run_export

pytestmark = [pytest.mark.threat("AUD-03")]
IDENTITY = "https://portal.leo.example/log"


@pytest.fixture
def anchors(portal: Portal, settings, tmp_path: Path) -> Path:
    """A portal whose log is signed, and where it is anchored."""
    settings.LOG_ANCHOR = tmp_path / "anchors.git"
    sign_log()
    return tmp_path / "anchors.git"


def ask() -> Export:
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    assert client.post("/audit/exports/packs/", {}).status_code == 302
    export = Export.objects.latest("pk")
    assert run_export(export.pk) == "more", Export.objects.get(pk=export.pk).error
    sign_log()
    return export


def go_on(export: Export) -> str:
    Export.objects.filter(pk=export.pk).update(next_try_at=None)
    return str(run_export(export.pk))


def test_a_pack_waits_for_the_anchor_that_it_asked_for(anchors: Path, settings):
    with acting_in("signer"):
        assert do_upkeep(Upkeep.GIT)
    assert LogUpkeep.objects.get().next_try_at > timezone.now() + timedelta(minutes=59)
    append(1)
    sign_log()
    export = ask()
    assert LogUpkeep.objects.get().next_try_at <= timezone.now()
    assert go_on(export) == "more"
    with acting_in("signer"):
        assert do_upkeep(Upkeep.GIT)
    assert go_on(export) == "done"
    path = Path(settings.EXPORTS) / str(export.pk)
    tip = Git(anchors).resolve("refs/heads/log")
    status, said = by_command(path)
    assert (status, said["anchors"][0], tip in said["anchors"][1]) == (0, "ok", True)
    assert states_of(path, "anchors") == {"ok"}, "no leaf is left over"
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


def test_a_signer_that_is_down_delays_no_pack(anchors: Path, settings, monkeypatch):
    assert anchor(anchors)
    append(1)
    sign_log()
    LogUpkeep.objects.create(name=Upkeep.GIT, next_try_at=timezone.now() + timedelta(hours=1))
    export = ask()
    assert go_on(export) == "more"
    monkeypatch.setattr(packing_anchors, "PATIENCE", timedelta(0))
    assert go_on(export) == "done"
    path = Path(settings.EXPORTS) / str(export.pk)
    assert (by_command(path)[0], states_of(path, "anchors")) == (0, {"ok", "note"})


def test_without_anchors_the_pack_says_so(anchors: Path, settings):
    path = make_pack(settings)
    assert not anchors.exists()
    assert (by_command(path)[0], states_of(path, "anchors")) == (0, {"ok", "note"})


def test_what_is_anchored_and_is_no_checkpoint_of_this_log_ends_the_export(anchors: Path):
    anchor(anchors)
    git = Git(anchors)
    tree = git.run("mktree", stdin=f"100644 blob {git.write_blob(b'x')}\tcheckpoint\n".encode()).decode().strip()
    commit = git.write_commit(tree, (), "x", name="x", email="x@example.org", when=timezone.now())
    git.run("update-ref", "refs/heads/log", commit)
    export = ask()
    assert go_on(export) == "failed"
    assert "pack.anchor" in Export.objects.get(pk=export.pk).error
    assert LogEntry.objects.filter(kind="export.sealed").count() == 1


def test_an_anchor_in_rekor_is_judged_by_the_readers_root(anchors: Path, settings, tmp_path: Path):
    with LoopbackSigstore(rekor=2) as service:
        (tmp_path / "token").write_text(service.token(IDENTITY))
        settings.SIGSTORE_TRUST_CONFIG = str(service.write_config(tmp_path))
        settings.SIGSTORE_IDENTITY_TOKEN_FILE = str(tmp_path / "token")
        settings.LOG_REKOR = f"{IDENTITY} {service.url}"
        with acting_in("signer"):
            assert do_upkeep(Upkeep.REKOR)
        LogUpkeep.objects.all().delete()
        root = tmp_path / "root.json"
        root.write_text(json.dumps(service.trusted_root()))
    path = make_pack(settings)
    trusted = ("--trusted-root", str(root), "--anchor-issuer", service.url, "--anchor-identity")
    assert by_command(path, *trusted, IDENTITY)[0] == 0
    assert by_command(path, *trusted, "https://somebody.else.example")[0] == 5
    assert states_of(path, "anchors") == {"note", "ok"}
    assert Pack(path).names >= {"anchors.json"}
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0
