"""Evidence packs of a real portal: one handoff through the lanes, packed, and checked by both verifiers, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from audit import standalone_verifier
from audit.checkpoint import Checkpoint
from audit.keeping import log_vkeys
from audit.models import LogEntry
from audit.notes import Note, SignerKey
from audit.pack_reading import Pack
from audit.pack_writing import artifact_name
from handoffs.git.repository import Git
from handoffs.models import Handoff
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.portal import Portal, git
from tests.support.portal_packs import by_command, key_of_the_log, make_pack, sign_log, states_of
from tests.support.signing import IDENTITY, use_sigstore
from verdicts.export_rows import Export
from verdicts.tasks import run_export


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
