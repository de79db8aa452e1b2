"""Packs of pull requests whose signature fell: every signature is in them, judged by the one in force at the verdict."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from django.db import connection, transaction

from audit import standalone_verifier
from audit.models import LogEntry
from audit.pack_reading import Pack
from handoffs import keys
from handoffs.models import Lane, PullRequest, SigningKey
from tests.audit.tampering import append
from tests.handoffs.test_resigning import new_key, released, revoke
from tests.support.portal import Portal
from tests.support.portal_packs import by_command, key_of_the_log, make_pack, sign_log, states_of
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.tasks import sweep_statements, sweep_verification

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.threat("ATT-07")]


def merge(portal: Portal) -> None:
    sweep_statements()
    sign_log()
    merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("plan"))
    sign_log()


def signers_in(path: Path) -> list[object]:
    return [row["fingerprint"] for _, row in Pack(path).rows("signatures.jsonl") if row["kind"] == "bundle"]


def by_the_file(path: Path) -> int:
    return standalone_verifier.main([str(path), "--key", key_of_the_log()])


def test_a_pack_holds_the_fallen_signature_and_the_one_that_the_verdict_rested_on(portal: Portal, settings):
    released(portal)
    old = keys.active_key(Lane.ENFORCER)
    revoke(old)
    new = new_key()
    sweep_verification()
    portal.run_work()
    portal.verdict(VerdictKind.PASS)
    merge(portal)
    for filters in ({"pull": "acme/payments#1"}, {}):
        path = make_pack(settings, **filters)
        status, said = by_command(path)
        assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
        assert signers_in(path) == [old.fingerprint, new.fingerprint]
        assert said["keys"] == ("ok", "3 are what the leaves say")
        assert said["signatures.jsonl"][1].startswith("1 are by a key that was revoked")
        assert states_of(path, "standing") == {"note", "ok"}, "the first verdict rested on what fell later"
        assert by_the_file(path) == 0
    assert states_of(path, "artifacts") == {"note", "ok"}


def test_a_merge_whose_key_fell_afterwards_is_genuine_and_flagged(portal: Portal, settings):
    released(portal)
    merge(portal)
    revoke(keys.active_key(Lane.ENFORCER))
    sign_log()
    path = make_pack(settings, pull="acme/payments#1")
    status, said = by_command(path)
    assert (status, states_of(path, "standing")) == (0, {"note", "ok"})
    assert said["artifacts"] == ("ok", "1 detached signatures hold")
    assert by_the_file(path) == 0


def revoke_elsewhere(key: SigningKey) -> None:
    revoke(key)
    connection.close()


def test_a_revocation_is_written_after_whoever_holds_the_pull_request(portal: Portal):
    """So that the entries' numbers say which verdict could know of it, whatever the order in which they are placed."""
    released(portal)
    key = keys.active_key(Lane.ENFORCER)
    other = threading.Thread(target=revoke_elsewhere, args=[key])
    with transaction.atomic():
        PullRequest.objects.select_for_update().get()
        other.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        deadline = time.monotonic() + 30
        with connection.cursor() as cursor:
            is_waiting = False
            while not is_waiting:
                assert time.monotonic() < deadline
                time.sleep(0.02)
                cursor.execute(waiting)
                is_waiting = cursor.fetchone() != (0,)
        append(1)
        mine = LogEntry.objects.latest("pk").pk
    other.join(30)
    assert LogEntry.objects.get(kind="key.revoked").pk > mine
