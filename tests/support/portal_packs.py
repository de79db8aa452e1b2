"""Evidence packs of a portal in tests: asked for as an auditor does, sealed by the log's processes, and checked."""

from __future__ import annotations

import json
import time
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client
from typer.testing import CliRunner

from audit import standalone_verifier
from audit.covering import log_state
from audit.keeping import log_vkeys
from audit.models import LogEntry
from audit.sequencing import newest_head
from leoportal.cli import app
from verdicts.export_rows import Export
from verdicts.tasks import run_export


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


def by_both(path: Path) -> tuple[int, list[str], str]:
    """By `leo audit verify` and by the single file: the status both give, what is wrong, and the classes of commits."""
    done = CliRunner().invoke(app, ["audit", "verify", str(path), "--key", key_of_the_log(), "--json"])
    rows = json.loads(done.stdout)["checks"]
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == done.exit_code
    wrong = [f"{row['check']}: {row['detail']}" for row in rows if row["state"] not in {"ok", "note"}]
    return (
        done.exit_code,
        wrong,
        next((row["detail"] for row in rows if (row["check"], row["state"]) == ("commits", "ok")), ""),
    )
