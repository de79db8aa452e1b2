"""What the sequencer does all the time, done now."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from audit.events import AuditError
from audit.models import LogEntry
from audit.notes import SignerKey
from audit.sequencing import integrate_log, newest_head
from audit.signer import LogSigner

EVERYTHING = 1 << 62


def settle_log(*, batch: int = 5000) -> None:
    """Integrate all there is. A test's own transaction is not over, and another worker's may hold the horizon back."""
    deadline = time.monotonic() + 60
    below = EVERYTHING if connection.in_atomic_block else None
    while LogEntry.objects.waiting(newest_head()).exists():
        if not integrate_log(batch=batch, below=below):
            assert time.monotonic() < deadline, "something holds the log's horizon back"
            time.sleep(0.01)


@contextmanager
def log_running(folder: Path) -> Iterator[LogSigner]:
    """The sequencer and a signer at work, as they are beside a portal. Alarms end them."""
    signer = LogSigner(SignerKey.generate("portal.example/log/1"), folder / "signed.json")
    (folder / "log-key").mkdir(exist_ok=True)
    (folder / "log-key" / "log.vkey").write_text(f"{signer.key.verifier().vkey}\n")
    stop = threading.Event()

    def run() -> None:
        try:
            while not stop.wait(0.1):
                integrate_log()
                signer.sign()
        except AuditError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield signer
    finally:
        stop.set()
        thread.join(60)
