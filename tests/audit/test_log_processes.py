"""The log's processes as in production: sequencer and signer with their own logins, a witness over HTTP, anchors in git.

With PLACES=100 (`make tamper`) the time from commit to checkpoint is measured for 100 acts, and printed.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from audit.checkpoint import parse_checkpoint
from audit.covering import is_covered
from audit.epochs import set_quorum
from audit.events import Actor, Role
from audit.keeping import make_key
from audit.models import LogAlarm, LogCheckpoint, LogEntry, LogLeaf
from audit.notes import SignerKey, parse_note, parse_vkey
from leoportal.anchors import anchor as put_into_git
from leoportal.stack.portal import free_port
from tests.audit.tampering import append

NAME = "portal.example/log"
MANAGE, LEO = (sys.executable, "-m", "manage"), str(Path(sys.executable).with_name("leo"))
ROOT = Path(__file__).parents[2]
ACTS = 100 if int(os.environ.get("PLACES", "0")) >= 100 else 3
OPERATOR = Actor(0, "operator", Role.OPERATOR)


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def process(*arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the product, stopped at the end as its supervisor would."""
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as child:
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


class Witness:
    """`leo witness serve` as a process of its own, with its key and its memory in a folder of its own."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder, self.log, self.port = folder, log, free_port(8600)
        folder.mkdir()
        made = leo("witness", "key", "witness.example/1", str(folder / "key"))
        self.vkey = made.strip()

    @contextmanager
    def serving(self) -> Iterator[None]:
        own = {"PATH": "/usr/bin:/bin"}
        options = ("--key", str(self.folder / "key"), "--log", self.log, "--folder", str(self.folder / "seen"))
        with process(LEO, "witness", "serve", *options, "--port", str(self.port), environment=own):
            wait_for(self.is_there)
            yield

    def is_there(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


def leo(*arguments: str) -> str:
    """What the command prints."""
    return subprocess.run([LEO, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def window(acts: int) -> list[float]:
    """For how long acts stood in no checkpoint after they had committed, in seconds."""
    found = []
    for _ in range(acts):
        time.sleep(random.Random(len(found)).uniform(0, 0.3) if acts > 3 else 0)
        append(1)
        committed, entry = time.monotonic(), LogEntry.objects.latest("pk").pk
        wait_for(partial(is_signed, entry))
        found.append(time.monotonic() - committed)
    return sorted(found)


def is_signed(entry: int) -> bool:
    leaf = LogLeaf.objects.filter(entry=entry).first()
    return leaf is not None and LogCheckpoint.objects.filter(size__gt=leaf.index).exists()


@pytest.mark.threat("AUD-03")
@pytest.mark.threat("AUD-05")
def test_signed_cosigned_elsewhere_and_anchored(transactional_db, settings, tmp_path: Path, address, capsys):
    settings.LOG_KEY_FILE = tmp_path / "log-key" / "log.key"
    key = SignerKey(f"{NAME}/1", make_key(settings.LOG_KEY_FILE, NAME).private).verifier()
    witness = Witness(tmp_path / "witness", key.vkey)
    seen, anchors = parse_vkey(witness.vkey), tmp_path / "anchors.git"
    common = {
        "LEOPORTAL_VAR": str(tmp_path), "LOG_KEY_FILE": str(settings.LOG_KEY_FILE), "LOG_ANCHOR": str(anchors),
        "LOG_WITNESSES": f"http://127.0.0.1:{witness.port} {witness.vkey}", "REDIS_URL": os.environ["REDIS_URL"],
        "PATH": "/usr/bin:/bin", "SECRET_KEY": "x" * 50, "SIGNING_KEY_PASSWORD": "5f0e9c8b7a6d4e3f2a1b0c9d8e7f6a5b",
        "DEBUG": "1",
    }  # fmt: skip
    log = {login: {**common, "DATABASE_URL": address(login)} for login in ("sequencer", "signer")}

    def cosigned(size: int) -> LogCheckpoint | None:
        return LogCheckpoint.objects.filter(size__gte=size, cosignatures__witness="witness.example/1").first()

    with process(*MANAGE, "log", "sequence", environment=log["sequencer"]), ExitStack() as beside:
        beside.enter_context(process(*MANAGE, "log", "sign", environment=log["signer"]))
        with witness.serving():
            set_quorum(1, by=OPERATOR)
            append(5)
            wait_for(lambda: cosigned(6))
            row = cosigned(6)
            assert row is not None
            (line,) = row.cosignatures.values_list("line", flat=True)
            (found,) = parse_note(bytes(row.note) + line.encode()).verify([seen])
            assert found.time is not None
            assert is_covered(LogEntry.objects.values_list("pk", flat=True))
            command = [*MANAGE, "log", "anchor"]
            done = subprocess.run(command, cwd=ROOT, env=log["signer"], check=True, capture_output=True, text=True)
            first = done.stdout.strip()
        append(1)  # the witness is away: signed, and it counts for nothing
        late = LogEntry.objects.latest("pk").pk
        wait_for(lambda: is_signed(late))
        assert not is_covered([late])
        with witness.serving():  # it still knows what it signed, and goes on from there
            wait_for(lambda: is_covered([late]))
            second = put_into_git(anchors)
        assert not LogAlarm.objects.exists()
        assert not put_into_git(anchors)
        waited = window(ACTS)
    git = ("git", "-C", str(anchors))
    told = subprocess.run([*git, "rev-list", "log"], check=True, capture_output=True, text=True).stdout.split()
    assert told == [second, first]
    for commit in told:
        raw = subprocess.run([*git, "show", f"{commit}:checkpoint"], check=True, capture_output=True).stdout
        note = parse_note(raw)
        assert {one.signature.name for one in note.verify([key, seen])} == {key.name, seen.name}
        assert LogCheckpoint.objects.filter(root=parse_checkpoint(note.text).root).exists()
    with capsys.disabled():
        if len(waited) > 3:
            print(f"\nfrom commit to checkpoint, {len(waited)} acts: median {statistics.median(waited):.3f} s, "
                  f"p99 {waited[-2]:.3f} s, longest {waited[-1]:.3f} s")  # fmt: skip
