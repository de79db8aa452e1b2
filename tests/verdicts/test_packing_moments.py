"""A pack is of one moment and of one checkpoint: what comes later is in the next, and a period shows its edges."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import InternalError, connection, transaction
from django.test import Client

from audit import standalone_verifier
from audit.events import AuditError
from audit.models import LogEntry, LogLeaf
from audit.pack_reading import Pack
from tests.audit.tampering import append
from tests.support.portal import Portal
from tests.support.portal_packs import by_command, key_of_the_log, make_pack, sign_log, states_of
from verdicts.decision import Verdict as VerdictKind
from verdicts.export_rows import Export
from verdicts.merging import merge_pull_request
from verdicts.packing_scope import choose, one_moment
from verdicts.tasks import run_export, sweep_statements


def test_a_pack_made_while_a_merge_is_not_signed_yet_leaves_it_for_the_next(portal: Portal, settings):
    """Something holds the log's horizon back: the merge has landed, and no checkpoint covers its leaf."""
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    sweep_statements()
    sign_log()
    with psycopg.connect(os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"]) as other:
        client = Client()
        client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
        assert client.post("/audit/exports/packs/", {}).status_code == 302
        other.execute("SELECT pg_current_xact_id()")
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
        made = Export.objects.latest("pk")
        assert run_export(made.pk) == "more", Export.objects.get(pk=made.pk).error
        assert client.post("/audit/exports/packs/", {"pull": "acme/payments#1"}).status_code == 302
        one = Export.objects.latest("pk")
        assert run_export(one.pk) == "more", Export.objects.get(pk=one.pk).error
    sign_log()
    for export in (made, one):
        Export.objects.filter(pk=export.pk).update(next_try_at=None)
        assert run_export(export.pk) == "done", Export.objects.get(pk=export.pk).error
        path = Path(settings.EXPORTS) / str(export.pk)
        status, said = by_command(path)
        assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
        assert "PASS" not in said["commits"][1]
        assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0
    status, said = by_command(make_pack(settings))
    assert (status, said["commits"][1]) == (0, "2 PASS, 1 PRE-ENROLMENT")


def test_a_pack_made_while_a_verdict_is_not_signed_yet_says_nothing_of_it(portal: Portal, settings):
    """The separation in a pack is of its checkpoint: who decided later is in the next one."""
    portal.verified()
    sign_log()
    with psycopg.connect(os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"]) as other:
        client = Client()
        client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
        other.execute("SELECT pg_current_xact_id()")
        portal.verdict(VerdictKind.PASS)
        assert client.post("/audit/exports/packs/", {}).status_code == 302
        made = Export.objects.latest("pk")
        assert run_export(made.pk) == "more", Export.objects.get(pk=made.pk).error
    sign_log()
    Export.objects.filter(pk=made.pk).update(next_try_at=None)
    assert run_export(made.pk) == "done", Export.objects.get(pk=made.pk).error
    for path, state, is_newer in (
        (Path(settings.EXPORTS) / str(made.pk), "not_computed", True),
        (make_pack(settings), "ok", False),
    ):
        row: Any = next(iter(Pack(path).rows("separation.jsonl")))[1]
        duties = {part["duty"] for part in row["parts"]}
        assert (row["state"], "PLAN" in duties, row["pending"] > 0) == (state, not is_newer, is_newer)
        assert {"BUILDER", "ENFORCER"} <= duties
        assert by_command(path)[0] == 0
        assert ("note" in states_of(path, "separation")) is is_newer
        assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


# The day in January of each of the last leaves, in the log's order; all before them are of the first.
DAYS = (5, 2, 3, 2, 3, 4, 3)

# What a pack of some of these days has to hold, and why not less.
RUNS = (
    ("2", "2", 0, 4),  # the leaf before is newer than the period
    ("3", "3", 2, 7),  # no leaf after is newer
    ("4", "4", 5, 7),  # the leaf after is older than the period
    ("", "2", None, 4),
    ("4", "", 0, 7),
    ("", "1", None, 0),
)


def test_the_run_of_a_period_goes_on_to_leaves_outside_of_it(portal: Portal):
    append(len(DAYS))
    sign_log()
    with transaction.atomic(), connection.cursor() as cursor:
        start = LogLeaf.objects.count() - len(DAYS)
        cursor.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER USER")
        cursor.execute("UPDATE leo_log_entry SET created_at = '2026-01-01 12:00+00'")
        for index, day in enumerate(DAYS, start):
            entry = LogLeaf.objects.get(index=index).entry_id
            cursor.execute(
                "UPDATE leo_log_entry SET created_at = %s WHERE id = %s", [f"2026-01-0{day} 12:00+00", entry]
            )
        for first, last, begin, end in RUNS:
            days = {"first": first, "last": last}
            scope = choose({name: f"2026-01-0{day}" for name, day in days.items() if day}, {})
            assert (scope.first, scope.end) == (0 if begin is None else start + begin, start + end), days
            assert {at for at in (scope.first - 1, scope.end) if 0 <= at < scope.size} <= {*scope.others}
        with pytest.raises(AuditError, match=r"pack\.empty"):
            choose({"first": "2026-01-09"}, {})
        transaction.set_rollback(True)


def test_what_a_pack_reads_is_of_one_moment_and_nothing_is_written_meanwhile(transactional_db):
    append(1)
    with one_moment():
        before = LogEntry.objects.count()
        with ThreadPoolExecutor(1) as other:
            other.submit(append_elsewhere).result()
        assert LogEntry.objects.count() == before
    assert LogEntry.objects.count() == before + 1
    with pytest.raises(InternalError, match="read-only"), one_moment():
        append(1)


def append_elsewhere() -> None:
    append(1)
    connection.close()
