"""The portal's own processes: what prepares the database, and web, worker and beat."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from leoportal.stack.process import Command, Process, StackError, StopRequestedError, wait_until
from leoportal.stack.services import ROOT
from leoportal.stack.supervisor import Child

HOST: Final = "127.0.0.1"
PORTS_TO_TRY: Final = 50
SOURCES: Final = ("leoportal", "handoffs", "verdicts", "audit", "static", "requirements")


def free_port(first: int) -> int:
    """The first free port from `first` on.

    Raises: StackError stack.no_port.
    """
    for port in range(first, min(first + PORTS_TO_TRY, 65536)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise StackError("stack.no_port", f"no free port from {first} on. Next: `make demo PORT=9000`.")


def health(port: int) -> int:
    """What the web process answers at /healthz: an HTTP status, 0 if it does not listen yet."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz/ready")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def prepare(
    environment: Mapping[str, str], var: Path, *, say: Callable[[str], None], is_interrupted: Callable[[], bool]
) -> None:
    """Migrate as the owner, grant the runtime logins their rights, collect the static files.

    Skipped if nothing that matters has changed since this cluster was prepared: each step starts a Django.
    Raises: StackError stack.prepare; StopRequestedError.
    """
    stamp = var / "pg" / "prepared"
    fingerprint = _fingerprint() if not os.environ.get("DATABASE_URL") else ""
    if fingerprint and stamp.exists() and stamp.read_text() == fingerprint and (var / "static").exists():
        return
    stamp.unlink(missing_ok=True)
    as_owner = {**environment, "DATABASE_URL": environment["DATABASE_OWNER_URL"]}
    static = _manage("collectstatic", "--noinput", "-v0", environment=as_owner, var=var)
    try:
        for arguments in (("migrate", "--noinput", "-v1"), ("grant_runtime",)):
            _finish(_manage(*arguments, environment=as_owner, var=var), is_interrupted)
            say(f"manage.py {arguments[0]}: done")
        _finish(static, is_interrupted)
    finally:
        static.kill()
    if fingerprint:
        stamp.write_text(fingerprint)


def children(environment: Mapping[str, str], var: Path, port: int) -> tuple[Child, Child, Child]:
    """Web, worker and beat. None of them gets the owner's address: they only use the schema.

    Beat is a process of its own: as a child of the worker it could die and all schedules would stop unnoticed.
    """
    runtime = {name: value for name, value in environment.items() if name != "DATABASE_OWNER_URL"}
    logs = var / "log"
    granian = (
        *("granian", "--interface", "wsgi", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--blocking-threads", "8", "--workers-kill-timeout", "3", "--no-ws", "--log-level", "warning"),
        "leoportal.wsgi:application",
    )
    celery = ("celery", "-A", "leoportal", "--quiet")
    worker = (*celery, "worker", "-l", "INFO", "--concurrency", "2", "--without-gossip", "--without-mingle")
    beat = (*celery, "beat", "-l", "WARNING", "--pidfile=")
    return (
        Child(
            Command(
                name="web",
                argv=(sys.executable, "-m", *granian),
                log=logs / "web.log",
                folder=ROOT,
                environment={**runtime, "DB_POOL": "1"},
                stops=((signal.SIGTERM, 8.0),),
            )
        ),
        Child(
            Command(
                name="worker",
                argv=(sys.executable, "-m", *worker),
                log=logs / "worker.log",
                folder=ROOT,
                environment=runtime,
                stops=((signal.SIGTERM, 4.0), (signal.SIGQUIT, 12.0)),
                orphaned=signal.SIGQUIT,
            )
        ),
        Child(
            Command(
                name="beat", argv=(sys.executable, "-m", *beat), log=logs / "beat.log", folder=ROOT, environment=runtime
            )
        ),
    )


def demo(arguments: tuple[str, ...], environment: Mapping[str, str], var: Path) -> Process:
    """The tour through the portal, in the foreground."""
    return Process(
        Command(
            name="demo",
            argv=(sys.executable, "-m", "leoportal.demo", *arguments),
            log=var / "log" / "demo.log",
            folder=ROOT,
            environment=environment,
            stops=((signal.SIGTERM, 5.0),),
            is_quiet=False,
        )
    )


def _manage(*arguments: str, environment: Mapping[str, str], var: Path) -> Process:
    return Process(
        Command(
            name=f"manage.py {arguments[0]}",
            argv=(sys.executable, "manage.py", *arguments),
            log=var / "log" / f"{arguments[0]}.log",
            folder=ROOT,
            environment=environment,
            stops=((signal.SIGTERM, 5.0),),
        )
    )


def _finish(process: Process, is_interrupted: Callable[[], bool]) -> None:
    try:
        wait_until(lambda: not process.is_running, seconds=600, is_interrupted=is_interrupted)
    except StopRequestedError:
        process.stop()
        raise
    if process.exit_code != 0:
        process.stop()
        raise StackError(
            "stack.prepare",
            f"{process.command.name} ended with exit code {process.exit_code}. Its last lines:\n"
            f"{process.last_lines()}\n  Next: read {process.command.log}; `make reset` throws the local data away.",
        )


def _fingerprint() -> str:
    """Changes with every file a migration, a grant or the static files could come from."""
    digest = hashlib.sha256(sys.version.encode())
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                status = path.stat()
                digest.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\n".encode())
    return digest.hexdigest()
