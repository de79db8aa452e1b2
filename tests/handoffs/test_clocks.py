"""A clock that is wrong: nothing is signed, released or published as a success, readiness says so, and it recovers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from handoffs import rotating
from handoffs.clocks import ClockSkewError, current_skew, refuse_skew
from handoffs.models import ClockReading, HandoffError, Lane, PullStatus, Status
from handoffs.signatures.service_clocks import read_date
from handoffs.tasks import rotate_key, sweep_clocks
from leoportal import setup
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.portal import GOOD_CHANGE, Portal
from tests.support.signing import use_sigstore
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import GateExecution, VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.statement_rows import VerdictStatement
from verdicts.tasks import run_work, sweep_deadlines, sweep_statements, sweep_verification

SKEWS = [timedelta(minutes=10), timedelta(minutes=-10), timedelta(hours=25)]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.threat("ATT-13")]


@contextmanager
def database_clock(ahead: timedelta) -> Iterator[None]:
    """PostgreSQL whose clock is wrong: its function, found before the built-in one by this connection.

    A schema without USAGE is passed over in silence, and requests and tasks act in their lanes' roles.
    """
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA clockwork")
        cursor.execute(
            "CREATE FUNCTION clockwork.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
            f"$$ SELECT pg_catalog.clock_timestamp() + interval '{ahead.total_seconds()} seconds' $$"
        )
        cursor.execute("GRANT USAGE ON SCHEMA clockwork TO PUBLIC")
        cursor.execute("GRANT EXECUTE ON FUNCTION clockwork.clock_timestamp() TO PUBLIC")
        cursor.execute("SET search_path = clockwork, pg_catalog, public")
        try:
            yield
        finally:
            cursor.execute("RESET search_path")
            cursor.execute("DROP SCHEMA clockwork CASCADE")


def readiness() -> dict[str, str]:
    answer = Client().get("/healthz/ready")
    assert answer.status_code == 200
    return dict(answer.json())


@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_readiness_is_degraded_and_recovers(portal: Portal, skew: timedelta):
    with database_clock(skew):
        found = readiness()
        assert (found["status"], found["clock"]) == ("degraded", "clock.skew")
        assert "the database" in found["detail"]
        with pytest.raises(ClockSkewError, match=r"clock\.skew: this clock and the database's differ by"):
            refuse_skew()
    assert readiness() == {"status": "ok", "database": "ok", "clock": "ok", "log": "ok"}


@pytest.mark.parametrize("seconds", [-115, 115])
def test_two_minutes_are_allowed(portal: Portal, seconds: int):
    with database_clock(timedelta(seconds=seconds)):
        refuse_skew()


@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_nothing_is_published_as_a_success_until_the_clocks_agree(portal: Portal, skew: timedelta):
    """Gates that the portal runs wait; gates and verdicts that are handed in are refused; what only lowers goes on."""
    portal.hand_over()
    sweep_statements()
    with database_clock(skew):
        for work in VerificationWork.objects.filter(kind=VerificationWork.Kind.GATE):
            assert run_work(work.pk) == "waiting"
            work.refresh_from_db()
            assert (work.attempts, work.error.partition(":")[0]) == (0, "clock.skew")
        with pytest.raises(VerdictError, match=r"clock\.skew"):
            portal.report("story-release", GateOutcome.SUCCESS)
        assert GateExecution.objects.count() == 0
        portal.report("story-release", GateOutcome.FAILURE, run_id="failed")
        assert sweep_deadlines() == 0
    VerificationWork.objects.update(next_try_at=None)
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS, run_id="later")
    assert GateExecution.objects.filter(conclusion="success").count() == 3


def test_no_pass_and_no_merge_while_a_clock_is_wrong(portal: Portal):
    portal.verified()
    wrong = timedelta(minutes=-10)
    with database_clock(wrong), pytest.raises(VerdictError, match=r"clock\.skew"):
        portal.verdict(VerdictKind.PASS)
    assert portal.pull().status == PullStatus.GATES_PASSING
    portal.verdict(VerdictKind.PASS)
    with database_clock(wrong):
        assert sweep_statements() == 0
        assert VerdictStatement.objects.count() == 0
        with pytest.raises(VerdictError, match=r"clock\.skew"):
            merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("plan"))
    off = replace(portal.tools(), clock=lambda: timezone.now() + timedelta(hours=25))
    with pytest.raises(VerdictError, match=r"clock\.skew"):
        merge_pull_request(portal.pull().pk, off, by=portal.actor("plan"))
    assert portal.pull().status == PullStatus.READY_TO_MERGE
    assert sweep_statements() == 1
    merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("plan"))
    assert portal.pull().status == PullStatus.MERGED


def test_a_deadline_does_not_pass_because_a_clock_jumped(portal: Portal):
    portal.hand_over()
    type(portal.pull()).objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
    with database_clock(timedelta(hours=-25)):
        assert sweep_deadlines() == 0
    assert sweep_deadlines() == 1


def test_no_key_vouches_for_another_while_a_clock_is_wrong(portal: Portal):
    rotation = rotating.request_rotation(Lane.GATE, by=setup.OPERATOR, reason="a test")
    with database_clock(timedelta(minutes=10)):
        assert rotate_key(rotation.pk) == "waiting"
    rotation.refresh_from_db()
    assert (rotation.step, rotation.attempts) == ("made", 0)
    type(rotation).objects.update(next_try_at=None)
    assert rotate_key(rotation.pk) == "done"


@pytest.mark.parametrize("minutes", [10, -10, 25 * 60])
def test_a_service_that_disagrees_stops_both_until_it_agrees(portal: Portal, settings, tmp_path: Path, minutes: int):
    """This machine's and the database's clocks agree, and both are wrong: only somebody else can tell."""
    with LoopbackSigstore(rekor=1) as service:
        use_sigstore(settings, tmp_path, service)
        service.date_skew = timedelta(minutes=minutes)
        assert sweep_clocks() > 0
        found = readiness()
        assert (found["status"], found["clock"]) == ("degraded", "clock.skew")
        assert "127.0.0.1" in found["detail"]
        portal.push_bundle(portal.bundle(GOOD_CHANGE))
        handoff = portal.receive()
        assert (handoff.status, handoff.error.partition(":")[0]) == (Status.VERIFIED, "clock.skew")
        assert service.digests_logged() == []
        service.date_skew = timedelta()
        sweep_clocks()
        assert readiness()["clock"] == "ok"


def test_an_old_reading_says_nothing_and_a_silent_service_neither(portal: Portal, settings, tmp_path: Path):
    ClockReading.objects.create(source="then", ahead_seconds=9000, read_at=Now() - timedelta(minutes=11))
    assert current_skew() == ""
    ClockReading.objects.update(read_at=Now() - timedelta(minutes=9))
    assert "then" in current_skew()
    with LoopbackSigstore(rekor=1) as service:
        use_sigstore(settings, tmp_path, service)
    assert sweep_clocks() == 0
    assert read_date("http://127.0.0.1:1/") is None
    (tmp_path / "broken").write_text("{}")
    settings.SIGSTORE_TRUST_CONFIG = str(tmp_path / "broken")
    assert sweep_clocks() == 0


FAKED = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "leoportal.settings"
django.setup()
from handoffs.clocks import current_skew
print(current_skew() or "agree")
"""


@pytest.mark.parametrize(
    ("shift", "says"), [("+10m", "differ"), ("-10m", "differ"), ("+25h", "differ"), ("+1m", "agree")]
)
def test_a_process_with_a_faked_clock_sees_it(portal: Portal, address, shift: str, says: str):
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("no faketime (libfaketime) on this machine: a whole process with a wrong clock is not tried")
    done = subprocess.run(
        [faketime, "-f", shift, sys.executable, "-c", FAKED],
        env={"DATABASE_URL": address("enforcer"), "DEBUG": "1", "PATH": "/usr/bin:/bin", "SECRET_KEY": "x" * 50,
             "SIGNING_KEY_PASSWORD": "5f0e9c8b7a6d4e3f2a1b0c9d8e7f6a5b"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert says in done.stdout


def test_signing_says_the_same_code(portal: Portal):
    with database_clock(timedelta(minutes=10)):
        portal.push_bundle(portal.bundle(GOOD_CHANGE))
        handoff = portal.receive()
        assert (handoff.status, handoff.attempts) == (Status.VERIFIED, 0)
        assert handoff.error.startswith("clock.skew: ")
        assert issubclass(ClockSkewError, HandoffError)
        sweep_verification()
