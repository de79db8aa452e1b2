"""Evidence packs of a real portal: one handoff through the lanes, packed, and checked by both verifiers, offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import InternalError, connection, transaction
from django.test import Client
from django.utils import timezone
from typer.testing import CliRunner

from audit import pack_records, standalone_verifier
from audit.checkpoint import Checkpoint
from audit.commitments import commitment
from audit.covering import log_state
from audit.erasure import apply_retention
from audit.events import AuditError, Role
from audit.keeping import log_vkeys
from audit.models import ErasableText, LogEntry, LogLeaf
from audit.notes import Note, SignerKey
from audit.pack_reading import Pack
from audit.pack_writing import artifact_name
from audit.sequencing import newest_head
from audit.texts import ERASED
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest
from leoportal.cli import app
from leoportal.lanes.switching import acting_in
from tests.audit.tampering import append
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.people import one_person, person
from tests.support.portal import Portal, git
from tests.support.signing import IDENTITY, use_sigstore
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass, review_break_glass
from verdicts.break_glass_rows import BreakGlass
from verdicts.comparing import find_changed_rows
from verdicts.decision import Verdict as VerdictKind
from verdicts.duties import read_separation
from verdicts.duty_facts import gather
from verdicts.duty_rules import glass_by_two_and_a_third
from verdicts.merging import merge_pull_request
from verdicts.models import DecisionKind, Export
from verdicts.packing_scope import choose, one_moment
from verdicts.tasks import run_export, sweep_statements


def sign_log() -> bytes:
    """Wait for the log's processes beside the portal: the newest checkpoint, once it covers everything."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        is_waiting = LogEntry.objects.waiting(newest_head()).exists()  # asked first: the head goes on meanwhile
        newest, head = log_state().covered, newest_head()
        if newest and head and newest.size == head.size and not is_waiting:
            return bytes(newest.note)
        time.sleep(0.05)
    raise AssertionError("the log's signer is not running")


def key_of_the_log() -> str:
    return log_vkeys()[0].vkey


@pytest.fixture
def full(portal: Portal, settings) -> Portal:
    """One pull request that PLAN escalated and LEAD approved, merged; and one that passed, merged."""
    pull = portal.verified()
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    portal.decide(DecisionKind.APPROVE)
    sweep_statements()
    sign_log()
    merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    return portal


def make_pack(settings, **filters: str) -> Path:
    """A pack as the auditor asks for it, sealed."""
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    answer = client.post("/audit/exports/packs/", filters)
    assert answer.status_code == 302, answer.content
    made = Export.objects.latest("pk")
    assert run_export(made.pk) == "more", Export.objects.get(pk=made.pk).error
    sign_log()
    Export.objects.filter(pk=made.pk).update(next_try_at=None)
    assert run_export(made.pk) == "done", Export.objects.get(pk=made.pk).error
    path = Path(settings.EXPORTS) / f"{made.pk}.tar"
    path.write_bytes(client.get(f"/audit/exports/{made.pk}/file").getvalue())
    return path


def states_of(path: Path, check: str) -> set[str]:
    done = CliRunner().invoke(app, ["audit", "verify", str(path), "--key", key_of_the_log(), "--json"])
    return {row["state"] for row in json.loads(done.stdout)["checks"] if row["check"] == check}


def by_command(path: Path, *options: str) -> tuple[int, dict[str, tuple[str, str]]]:
    done = CliRunner().invoke(app, ["audit", "verify", str(path), "--key", key_of_the_log(), "--json", *options])
    rows = json.loads(done.stdout)["checks"]
    return done.exit_code, {row["check"]: (row["state"], row["detail"]) for row in rows}


def test_a_portals_pack_holds_and_a_changed_decision_is_found(full: Portal, settings, tmp_path: Path):
    """Of the whole log, of a period and of one pull request: by `leo audit verify` and by the single file."""
    mine = tmp_path / "mine"
    mine.write_bytes(sign_log())
    path = make_pack(settings, earlier=mine.read_text())
    status, said = by_command(path, "--checkpoint", str(mine))
    assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
    assert said["decisions"][1].startswith("2 were computed again")
    assert said["your checkpoint"][0] == "ok"
    assert said["commits"] == ("ok", "2 OVERRIDE, 1 PRE-ENROLMENT")
    assert "0 rows" not in said["records"][1]
    assert said["signatures"][1] != "0 hold"
    assert standalone_verifier.main([str(path), "--key", key_of_the_log(), "--checkpoint", str(mine), "--json"]) == 0

    one = make_pack(settings, pull="acme/payments#1")
    status, said = by_command(one)
    assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
    assert said["completeness"][0] == "note"
    assert standalone_verifier.main([str(one), "--key", key_of_the_log()]) == 0
    assert states_of(one, "artifacts") == {"ok"}
    assert said["artifacts"][1] == "1 detached signatures hold"

    assert states_of(path, "artifacts") == {"note", "ok"}
    artifact = tmp_path / "artifact.tar.gz"
    artifact.write_bytes(Pack(one).read(artifact_name(Handoff.objects.get().digest)))
    status, said = by_command(path, "--artifact", str(artifact))
    assert (status, said["artifacts"]) == (0, ("ok", "1 detached signatures hold"))

    days = [f"{entry.created_at:%Y-%m-%d}" for entry in LogEntry.objects.order_by("created_at")]
    period = make_pack(settings, first=days[0], last=days[-1])
    assert Pack(period).names == Pack(path).names - {"earlier.json"}
    status, said = by_command(period)
    assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
    assert states_of(period, "completeness") == {"ok", "note"}  # the day is not over
    assert standalone_verifier.main([str(period), "--key", key_of_the_log()]) == 0

    raw = bytearray(path.read_bytes())
    at = raw.index(b'\\"confidence\\":\\"')
    raw[at + 17] ^= 1
    changed = tmp_path / "changed.tar"
    changed.write_bytes(raw)
    assert by_command(changed)[0] == 5
    assert standalone_verifier.main([str(changed), "--key", key_of_the_log()]) == 5


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


def test_a_keyless_signature_is_in_the_pack_with_its_root_and_the_readers_root_judges_it(
    portal: Portal, settings, tmp_path: Path
):
    root = tmp_path / "sigstore" / "trusted_root.json"
    with LoopbackSigstore(rekor=1) as sigstore:
        use_sigstore(settings, tmp_path, sigstore)
        settings.SIGSTORE_TRUSTED_ROOT = str(root)
        portal.hand_over()
    sign_log()
    path = make_pack(settings, pull="acme/payments#1")
    assert Pack(path).read("trusted_root.json") == root.read_bytes()
    trusted = ("--trusted-root", str(root), "--issuer", sigstore.url, "--identity")
    status, said = by_command(path, *trusted, IDENTITY)
    assert (status, said["signatures"][0], "signatures.jsonl" in said) == (0, "ok", False)
    assert by_command(path)[1]["signatures.jsonl"][0] == "note"
    assert by_command(path, *trusted, "https://somebody.else.example")[0] == 5
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


WORKER = """
import django
django.setup()
from django.db import connection
from verdicts.tasks import run_export
assert connection.settings_dict["USER"] == "leo_verifier", connection.settings_dict["USER"]
print(run_export({pk}))
"""


@pytest.mark.threat("DB-01")
@pytest.mark.parametrize("filters", [{}, {"pull": "acme/payments#1"}], ids=["log", "pull"])
def test_the_worker_makes_a_pack_with_its_own_login_alone(full: Portal, settings, address, filters: dict[str, str]):
    """A process that is signed in as the verifier's worker and knows no other address, as in production."""
    mine = sign_log().decode()
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    assert client.post("/audit/exports/packs/", {**filters, "earlier": mine}).status_code == 302
    made = Export.objects.latest("pk")
    assert by_worker(made, settings, address) == "more"
    sign_log()
    Export.objects.filter(pk=made.pk).update(next_try_at=None)
    assert by_worker(made, settings, address) == "done"
    path = Path(settings.EXPORTS) / str(made.pk)
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


def by_worker(export: Export, settings, address: Callable[[str], str]) -> str:
    environment = {
        "DATABASE_URL": address("verifier"), "LEOPORTAL_VAR": str(settings.VAR), "REDIS_URL": os.environ["REDIS_URL"],
        "DJANGO_SETTINGS_MODULE": "leoportal.settings", "DEBUG": "1", "PATH": "/usr/bin:/bin", "SECRET_KEY": "x" * 50,
        "SIGNING_KEY_PASSWORD": "5f0e9c8b7a6d4e3f2a1b0c9d8e7f6a5b",
    }  # fmt: skip
    command = [sys.executable, "-c", WORKER.format(pk=export.pk)]
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    export.refresh_from_db()
    assert not export.error, export.error
    return done.stdout.strip()


def broken_glass(portal: Portal, pull: PullRequest) -> BreakGlass:
    """Two LEADs release a head that PLAN never judged."""
    second = portal.add_person("lead2", Role.LEAD)
    wanted = BreakGlassRequest(
        "Payments are down; this is the fix, and the runner is down, too.", "INC-7", pull.head_sha
    )
    with acting_in("lead"):
        glass = request_break_glass(pull.pk, wanted, by=portal.actor("lead"))
        open_break_glass(glass.pk, by=second)
    return BreakGlass.objects.get(pk=glass.pk)


@pytest.mark.threat("SOD-12")
def test_a_merge_behind_broken_glass_is_a_class_of_its_own(portal: Portal, settings):
    pull = portal.verified()
    glass = broken_glass(portal, pull)
    sign_log()
    merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    sign_log()
    pull.refresh_from_db()
    for state, told, filters in (("not_computed", "note", {}), ("ok", "ok", {"pull": "acme/payments#1"})):
        if state == "ok":
            words = "Looked at the change after the incident: it does what the request says, and nothing else."
            review_break_glass(glass.pk, words, by=portal.add_person("yuri", Role.ADMIN))
            sign_log()
        path = make_pack(settings, **filters)
        status, said = by_command(path)
        assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
        assert said["commits"][1].startswith("2 BREAK-GLASS")
        assert said["break-glass"][0] == "ok"
        assert ("note" in states_of(path, "break-glass")) is (told == "note")
        assert read_separation(pull).state == state
        assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


@pytest.mark.threat("SOD-12")
def test_a_broken_glass_that_nobody_reviewed_in_time_breaks_the_separation(portal: Portal):
    pull = portal.verified()
    glass = broken_glass(portal, pull)
    assert read_separation(pull).state == "not_computed"
    assert glass.review_due_at is not None
    late = replace(gather(pull), now=glass.review_due_at + timedelta(seconds=1))
    assert glass_by_two_and_a_third(late).state == "broken"
    alone = replace(gather(pull), parts=())
    assert glass_by_two_and_a_third(alone).state == "broken"
    one_person(person("lead"), person("lead2"))
    assert read_separation(pull).state == "broken"


def test_a_commit_that_came_past_the_portal_is_listed_as_a_bypass(full: Portal, settings):
    sign_log()
    bare = Git(full.bare)
    tip = bare.resolve("refs/heads/main")
    long = "past the portal\n\n" + "word " * 300_000
    past = bare.write_commit(bare.tree_of(tip), [tip], long, name="x", email="x@example.org",
                             when=bare.committed_at(tip))  # fmt: skip
    git(full.bare, "update-ref", "refs/heads/main", past)
    path = make_pack(settings)
    status, said = by_command(path)
    assert status == 1, said
    assert said["bypass"] == ("BROKEN", f"1 commits landed without the portal: {past[:12]}")
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 1


def test_an_earlier_checkpoint_of_another_log_is_refused(full: Portal, settings):
    sign_log()
    other = SignerKey.generate(log_vkeys()[0].name)
    text = Checkpoint(other.name, 3, bytes(32)).text
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    note = Note(text, (other.sign(text),)).raw.decode()
    assert client.post("/audit/exports/packs/", {"earlier": note}).status_code == 302
    made = Export.objects.latest("pk")
    assert run_export(made.pk) == "failed"
    assert "none of this log" in Export.objects.get(pk=made.pk).error


def test_erased_texts_are_gone_from_pages_rows_and_packs_and_every_proof_holds(full: Portal, settings):
    words = [str(row) for row in ErasableText.objects.filter(kind="decision")]
    assert len(words) == 3
    assert sum(word in make_pack(settings).read_text(errors="replace") for word in words) == 3
    before = b"".join(bytes(leaf) for leaf in LogEntry.objects.order_by("pk").values_list("leaf", flat=True))
    assert apply_retention({"decision": 1}, now=timezone.now() + timedelta(days=2)) == 3
    leaves = b"".join(bytes(leaf) for leaf in LogEntry.objects.order_by("pk").values_list("leaf", flat=True))
    assert leaves.startswith(before)
    assert find_changed_rows() == []
    client = Client()
    client.force_login(User.objects.get(username="lead"), backend="leoportal.roles.SignInBackend")
    entry = LogEntry.objects.get(kind="verdict.recorded")
    for address in ("/prs/acme/payments/1/", "/prs/acme/payments/1/history/", f"/audit/events/{entry.pk}/"):
        page = client.get(address).content.decode()
        assert ERASED in page, address
        assert not any(word in page for word in words), address
    path = make_pack(settings)
    assert not any(word in path.read_text(errors="replace") for word in words)
    assert by_command(path)[0] == 0
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


def test_a_text_that_was_changed_past_its_guard_is_found(full: Portal):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_text DISABLE TRIGGER history_rows")
        ErasableText.objects.filter(kind="decision").update(text="I never said that.")
        cursor.execute("ALTER TABLE audit_text ENABLE ALWAYS TRIGGER history_rows")
    found = find_changed_rows()
    assert any("justification, question" in line for line in found)
    assert any(line.startswith("Decision") for line in found)


SALT = "ab" * 32
DIGEST = commitment(bytes.fromhex(SALT), "Read it.")
TEXTS = {
    "as it was written": ((DIGEST, "Read it.", SALT, None), True),
    "erased, and it says when": ((DIGEST, None, None, "2026-11-25T12:00:00.000000+00:00"), True),
    "never written": ((None, None, None, None), True),
    "another text": ((DIGEST, "Read that.", SALT, None), False),
    "another salt": ((DIGEST, "Read it.", "cd" * 32, None), False),
    "no salt": ((DIGEST, "Read it.", None, None), False),
    "left out, and not erased": ((DIGEST, None, None, None), False),
    "erased and still there": ((DIGEST, "Read it.", SALT, "2026-11-25T12:00:00.000000+00:00"), False),
    "a text without a digest": ((None, "Read it.", SALT, None), False),
}


@pytest.mark.parametrize("holds", [pack_records.holds_text, standalone_verifier.holds_text], ids=["portal", "file"])
@pytest.mark.parametrize("case", TEXTS)
def test_both_verifiers_hold_a_text_against_its_digest(case: str, holds):
    given, expected = TEXTS[case]
    assert holds(*given) is expected


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
