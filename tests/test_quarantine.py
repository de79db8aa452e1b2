"""Bundles that nobody may be given: those that hold a credential, and those whose bytes changed under us."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from typer.testing import CliRunner

from handoffs.bundles.bundle import digest_of
from handoffs.bundles.store import BundleStore
from handoffs.forges.hook import Update, judge
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest, Status
from handoffs.signing import sign_handoff
from handoffs.tasks import advance, sweep_staging
from handoffs.verifying import verify_handoff
from leoportal.cli import app
from leoportal.logs import OneLineFormatter
from tests.support.bundles import Handover
from tests.support.credentials import SURE
from tests.support.exports import export
from tests.support.portal import GOOD_CHANGE, Portal, git
from verdicts.models import VerificationWork
from verdicts.tables import TABLES

WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)
FIFTY = (SURE * 2)[:50]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Every log line of the test as the portal's processes would write it."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    keeper = Keeper(logging.DEBUG)
    keeper.setFormatter(OneLineFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(keeper)
    root.setLevel(level)


def put(portal: Portal, raw: bytes, branch: str, subject: str | None = None) -> None:
    """A staging commit straight into the bare repository: the intake is what is tried here, not the hook."""
    bare = Git(portal.bare)
    base = bare.resolve("refs/heads/main")
    tree = bare.with_file(base, ".leo/artifact.tar.gz", bare.write_blob(raw))
    said = subject or f"[CODEX-READY:{digest_of(raw)}] {branch}"
    commit = bare.write_commit(tree, [base], said, name="Cody", email="codex@builder.invalid", when=WHEN)
    git(portal.bare, "update-ref", f"refs/heads/{branch}", commit)


def planted(honest: Handover, place: int, text: str) -> bytes:
    """The honest bundle with a credential in one of its places; digests are made right again."""
    quoted = text.replace("\n", " ")
    match place % 6:
        case 0:
            return honest.rebuilt(manifest=lambda d: d.update(task=f"Use {quoted} for now"))
        case 1:
            return honest.rebuilt(manifest=lambda d: d.update(prd_id=quoted[:90], created_at=quoted, merge_base=quoted))
        case 2:
            return honest.rebuilt(sbom=lambda d: d["components"][0].update(description=quoted, name=quoted))
        case 3:
            return honest.rebuilt(statement=lambda d: d["predicate"].update(note=quoted))
        case 4:
            return honest.rebuilt(rollback=f"Log in with {quoted} and revert the one commit of this change.\n".encode())
        case _:
            patch = honest.members["changes.patch"].replace(b"cents - fee(cents)", f"cents - 1  # {quoted}".encode())
            return honest.rebuilt(patch=patch)


def honest_of(portal: Portal) -> Handover:
    raw = portal.bundle(GOOD_CHANGE)
    base = Git(portal.bare).resolve("refs/heads/main")
    return Handover(Git(portal.source), base, Git(portal.source).resolve("HEAD"), raw)


def database_text() -> str:
    """Every column of every row of every table, as text; bytes as the characters they are."""
    parts = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                parts += [
                    bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)
                    for value in row
                ]
    return "\n".join(parts)


def pages_text(portal: Portal, *addresses: str) -> str:
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    return "\n".join(client.get(address).content.decode("utf-8", "replace") for address in addresses)


def exports_text() -> str:
    """Every table, in every form, as the auditor downloads it."""
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    said = []
    for table, _ in TABLES:
        for form in ("csv", "jsonl"):
            answer = export(client, table=table, file_format=form)
            assert answer.status_code == 200, answer.content
            said.append(b"".join(answer).decode("utf-8", "replace"))
    assert all(said)
    return "\n".join(said)


@pytest.mark.threat("BUN-09")
def test_fifty_credentials_are_quarantined_and_never_seen_again(portal: Portal, logged: list[str], settings):
    Path(configured.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    honest = honest_of(portal)
    assert len({kind for kind, _ in FIFTY}) >= 25
    for number, (_, text) in enumerate(FIFTY):
        put(portal, planted(honest, number, text), f"staging/codex-{number:02}")
    sweep_staging()
    for handoff in Handoff.objects.order_by("pk"):
        advance(handoff.pk)
    rows = list(Handoff.objects.order_by("pk"))
    assert [row.status for row in rows] == [Status.QUARANTINED] * len(FIFTY)
    assert {row.refusal_code for row in rows} == {"secrets.none"}
    assert not PullRequest.objects.exists()
    assert not VerificationWork.objects.exists()
    assert not [path for path in Path(settings.BUNDLE_STORE).rglob("*") if path.is_file()]
    for row, (kind, _) in zip(rows, FIFTY, strict=True):
        (check,) = row.checks.filter(code="secrets.none")
        assert kind in check.got, check.got
        (event,) = row.events.filter(event="handoff.quarantined")
        assert kind in event.detail["found"]
    for _, text in FIFTY:
        logging.getLogger("handoffs.tasks").warning("an attempt failed: git said %s", text)
    assert len(logged) >= len(FIFTY)
    told = {
        "the database": database_text(),
        "logs": "\n".join(logged),
        "exports": exports_text(),
        "pages": pages_text(portal, "/handoffs/", "/audit/", *(f"/handoffs/{row.pk}/" for row in rows)),
    }
    for place, everything in told.items():
        seen = [kind for kind, text in FIFTY if text in everything or text[12:] in everything]
        assert not seen, (place, seen)
    assert "Quarantined" in told["pages"]
    assert "rotate or revoke it" in told["pages"]


@pytest.mark.threat("BUN-09")
def test_the_commit_subject_and_the_branch_are_no_hiding_place(portal: Portal):
    token = next(text for kind, text in SURE if kind == "GitHub token")
    raw = portal.bundle(GOOD_CHANGE)
    put(portal, raw, "staging/codex-one", f"[CODEX-READY:{digest_of(raw)}] Add {token}")
    put(portal, raw + b"\0", f"staging/codex-{token}")
    sweep_staging()
    for handoff in Handoff.objects.order_by("pk"):
        advance(handoff.pk)
    assert set(Handoff.objects.values_list("status", flat=True)) == {Status.QUARANTINED}
    assert token not in database_text()


@pytest.mark.threat("BUN-09")
def test_a_refused_push_is_recorded_without_the_credential_in_its_name(portal: Portal):
    token = next(text for kind, text in SURE if kind == "GitHub token")
    config = str(portal.bare / "leo-hook.json")
    assert judge(config, Update(f"refs/heads/feature/{token}", "0" * 40, "1" * 40)) == "ref.not_allowed"
    sweep_staging()
    text = database_text()
    assert token not in text
    assert "[redacted: GitHub token]" in text


@pytest.mark.threat("BUN-09")
def test_the_bytes_of_a_quarantined_bundle_are_given_to_nobody(portal: Portal):
    Path(configured.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    token = next(text for kind, text in SURE if kind == "npm token")
    raw = honest_of(portal).rebuilt(rollback=f"Use {token} to undo this change, all of it.\n".encode())
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert handoff.status == Status.QUARANTINED
    BundleStore(Path(configured.BUNDLE_STORE)).put(raw)  # even if it lay there
    client = Client()
    client.force_login(User.objects.get(username="auditor"), backend="leoportal.roles.SignInBackend")
    answer = client.get(f"/handoffs/{handoff.pk}/artifact.tar.gz")
    assert answer.status_code == 404
    assert "quarantined: its bundle is given to nobody" in answer.content.decode()


@pytest.mark.threat("BUN-09")
def test_the_command_line_tells_the_builder_kind_and_place_only(portal: Portal, tmp_path: Path):
    honest = honest_of(portal)
    for place in range(6):
        kind, text = FIFTY[place + 20]
        file = tmp_path / "artifact.tar.gz"
        file.write_bytes(planted(honest, place, text))
        for options in ((), ("--json",)):
            done = CliRunner().invoke(app, ["bundle", "verify", str(file), "--repo", str(portal.source), *options])
            assert done.exit_code != 0
            assert kind in done.output
            assert text not in done.output


@pytest.mark.threat("BUN-09")
def test_a_credential_can_be_taken_out_and_the_diff_does_not_show_it(portal: Portal):
    Path(configured.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    token = next(text for kind, text in SURE if kind == "Stripe key")
    leaky = f'"""Settings."""\n\nKEY = "{token}"\n'
    (portal.source / "payments/leak.py").write_text(leaky)
    git(portal.source, "add", "--all")
    git(portal.source, "commit", "--quiet", "-m", "leak")
    git(portal.bare, "fetch", "--quiet", str(portal.source), "+HEAD:refs/heads/main")
    handoff = portal.hand_over({"payments/leak.py": '"""Settings."""\n\nKEY = ""\n'})
    assert handoff.status == Status.TRIGGERED
    portal.run_work()
    pull = f"/prs/acme/payments/{portal.pull().number}/"
    diff = pages_text(portal, pull, "/audit/", f"{pull}diff/?path=payments/leak.py")
    assert token not in diff
    assert token not in database_text()
    assert "[redacted: Stripe key]" in diff


@pytest.mark.threat("BUN-03")
@pytest.mark.parametrize("after", [Status.VERIFIED, Status.SIGNED])
def test_bytes_that_changed_after_verification_are_quarantined(portal: Portal, after: Status):

    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    sweep_staging()
    handoff = Handoff.objects.select_related("repository").get()
    verify_handoff(handoff, portal.tools())
    if after == Status.SIGNED:
        handoff = Handoff.objects.select_related("repository").get()
        sign_handoff(handoff, portal.tools())
    handoff = Handoff.objects.get()
    assert handoff.status == after
    stored = Path(configured.BUNDLE_STORE) / handoff.digest[:2] / handoff.digest
    stored.chmod(0o600)
    stored.write_bytes(portal.bundle({**GOOD_CHANGE, "evil.py": "x = 1\n"}))
    assert advance(handoff.pk) == Status.QUARANTINED
    handoff.refresh_from_db()
    assert (handoff.refusal_code, handoff.applied_commit) == ("digest.changed", "")
    assert not Git(portal.bare).refs("refs/heads/feature/")
    (event,) = handoff.events.filter(event="handoff.quarantined")
    assert event.detail["failed"] == ["digest.changed"]


def test_a_quarantine_that_a_command_reports_is_final(portal: Portal):
    token = next(text for kind, text in SURE if kind == "npm token")
    portal.push_bundle(honest_of(portal).rebuilt(rollback=f"{token} undoes all of this change again\n".encode()))
    handoff = portal.receive()
    assert advance(handoff.pk) == "not mine"
    done = subprocess.run(
        ["git", "log", "--all", "--format=%D"], cwd=portal.bare, capture_output=True, text=True, check=True
    )
    assert "feature/" not in done.stdout
