"""Anchors in Rekor and the second copy, beside the signer: late when something is down, and the log is not."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from audit.copying import TileCopy
from audit.events import Role
from audit.models import LogAnchor, LogCheckpoint, LogUpkeep, Upkeep
from audit.notes import SignerKey
from audit.signer import LogSigner
from handoffs.signatures.openpgp import SignatureError
from leoportal import setup
from leoportal.lanes.switching import acting_in
from leoportal.upkeep import check_anchor, do_upkeep, do_what_is_due, run_beside
from tests.audit.tampering import append
from tests.support.log import settle_log
from tests.support.loopback_sigstore import LoopbackSigstore

IDENTITY = "https://portal.leo.example/log"


@pytest.fixture(params=[1, 2], ids=["rekor1", "rekor2"])
def sigstore(request, settings, tmp_path: Path) -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore(rekor=request.param) as service:
        (tmp_path / "token").write_text(service.token(IDENTITY))
        settings.SIGSTORE_TRUST_CONFIG = str(service.write_config(tmp_path))
        settings.SIGSTORE_IDENTITY_TOKEN_FILE = str(tmp_path / "token")
        settings.LOG_REKOR = f"{IDENTITY} {service.url}"
        yield service


@pytest.fixture
def sign(settings, tmp_path: Path) -> Callable[[], LogCheckpoint]:
    """One more act, and the checkpoint over it."""
    settings.LOG_COPY, settings.LOG_ANCHOR = tmp_path / "copy", tmp_path / "anchor.git"
    signer = LogSigner(SignerKey.generate("portal.example/log/1"), tmp_path / "signed.json")

    def grow() -> LogCheckpoint:
        append(1)
        settle_log()
        row = signer.sign()
        assert row is not None
        return row

    return grow


@pytest.mark.threat("AUD-03")
def test_a_checkpoint_is_anchored_once_and_holds_offline(db, sigstore: LoopbackSigstore, sign):
    row = sign()
    with acting_in("signer"):
        assert do_upkeep(Upkeep.REKOR)
        assert do_upkeep(Upkeep.REKOR)
    digest = hashlib.sha256(bytes(row.note)).hexdigest()
    assert sigstore.digests_logged() == [digest]
    found, asked = LogAnchor.objects.get(), len(sigstore.requests)
    with acting_in("auditor"):
        assert check_anchor(found).log_index == found.log_index == 5
    assert (found.digest, len(sigstore.requests)) == (digest, asked)
    client = Client()
    assert hashlib.sha256(client.get("/log/anchored").content).hexdigest() == digest
    assert client.get("/log/anchored.sigstore.json").content.decode() == found.bundle
    found.checkpoint = sign()
    with pytest.raises(SignatureError):
        check_anchor(found)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        LogAnchor.objects.update(digest="0" * 64)


@pytest.mark.parametrize("sigstore", [1], indirect=True)
@pytest.mark.parametrize(
    ("fault", "code"), [("rekor-down", "signing.rekor_down"), ("fulcio-refuses", "signing.fulcio_refused")]
)
def test_an_outage_delays_the_anchor_with_its_next_try_and_never_the_log(
    db, sigstore: LoopbackSigstore, sign, fault: str, code: str
):
    sign()
    sigstore.faults = {fault}
    do_what_is_due()
    late = LogUpkeep.objects.get(name=Upkeep.REKOR)
    assert (late.code, late.done_at, LogAnchor.objects.count()) == (code, None, 0)
    assert timedelta(minutes=4) < late.next_try_at - timezone.now() <= timedelta(minutes=5)
    sigstore.faults = set()
    row = sign()
    do_what_is_due()
    assert not LogAnchor.objects.exists()
    LogUpkeep.objects.filter(name=Upkeep.REKOR).update(next_try_at=timezone.now())
    do_what_is_due()
    assert LogAnchor.objects.get().checkpoint == row
    done = LogUpkeep.objects.get(name=Upkeep.REKOR)
    assert (done.code, done.error, done.size) == ("", "", row.size)
    assert done.next_try_at - timezone.now() > timedelta(minutes=59)


@pytest.mark.parametrize("sigstore", [1], indirect=True)
def test_without_the_setting_nobody_is_asked(db, sigstore: LoopbackSigstore, sign, settings):
    settings.LOG_REKOR = ""
    sign()
    do_what_is_due()
    assert sigstore.requests == []
    assert not LogUpkeep.objects.filter(name=Upkeep.REKOR).exists()
    assert Client().get("/log/anchored").status_code == 404
    settings.LOG_REKOR = IDENTITY
    assert not do_upkeep(Upkeep.REKOR)
    assert LogUpkeep.objects.get(name=Upkeep.REKOR).code == "signing.not_configured"
    assert sigstore.requests == []


@pytest.mark.parametrize("sigstore", [1], indirect=True)
def test_a_service_that_hangs_holds_no_checkpoint_up(transactional_db, sigstore: LoopbackSigstore, sign, settings):
    settings.SIGSTORE_SECONDS, sigstore.hang_seconds, sigstore.faults = 20.0, 8.0, {"fulcio-hangs"}
    first, stopped = sign(), threading.Event()
    beside = run_beside(stopped)
    try:
        wait_for(lambda: any("signingCert" in seen.path for seen in sigstore.requests))
        began = time.monotonic()
        assert sign().size == first.size + 1
        assert time.monotonic() - began < sigstore.hang_seconds / 2
        assert not LogAnchor.objects.exists()
        wait_for(LogAnchor.objects.exists)
        assert TileCopy(settings.LOG_COPY).head().size >= first.size
    finally:
        stopped.set()
        beside.join(30)


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_copy_that_cannot_be_written_is_late_and_the_page_says_so(db, sign, settings, tmp_path: Path):
    sign()
    (tmp_path / "copy").write_text("a file is in the way")
    do_what_is_due()
    setup.ensure_person("aud", Role.AUDITOR)
    client = Client()
    client.force_login(User.objects.get(username="aud"), backend="leoportal.roles.SignInBackend")
    page = client.get("/audit/").content.decode()
    assert "Second copy" in page
    assert "copy.missing" in page
    assert "Next try" in page
    (tmp_path / "copy").unlink()
    LogUpkeep.objects.update(next_try_at=timezone.now())
    do_what_is_due()
    assert "copy.missing" not in client.get("/audit/").content.decode()
