"""The portal's own processes: what prepares the database, and web, the lanes' workers and beat."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from leoportal.lanes.agreeing import connect, find_differences, make_grants
from leoportal.stack.process import Command, Process, StackError, StopRequestedError, wait_until
from leoportal.stack.services import ROOT, for_login, is_database_given
from leoportal.stack.supervisor import Child

HOST: Final = "127.0.0.1"
PORTS_TO_TRY: Final = 50
LOG_PROCESSES: Final = {"sequencer": "sequence", "signer": "sign"}  # each named like its login
QUEUES: Final = ("enforcer", "verifier")  # each named like the login of its worker
PUBLISHER: Final = "publisher"  # a worker of its own, where there is a GitHub to publish to
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
    """Migrate as the owner, make the database agree with the lanes' matrix, collect the static files.

    Skipped if nothing that matters has changed since this cluster was prepared: each step starts a Django.
    Raises: StackError stack.prepare; StopRequestedError.
    """
    stamp = var / "pg" / "prepared"
    fingerprint = _fingerprint() if not is_database_given() else ""
    if fingerprint and stamp.exists() and stamp.read_text() == fingerprint and (var / "static").exists():
        return
    stamp.unlink(missing_ok=True)
    as_owner = for_login(environment, "migrate")
    static = _manage("collectstatic", "--noinput", "-v0", environment=as_owner, var=var)
    try:
        _finish(_manage("migrate", "--noinput", "-v1", environment=as_owner, var=var), is_interrupted)
        with connect(as_owner["DATABASE_URL"]) as connection:
            changed = make_grants(connection)
            left = [difference.what for difference in find_differences(connection)]
        if left:
            raise StackError(
                "stack.catalogue",
                f"the database is not as this release made it: {'; '.join(left[:5])}. Next: find out who changed it; "
                "`make reset` throws the local data away.",
            )
        say(f"manage.py migrate: done; {len(changed)} rights and guards set as the lanes' matrix says")
        _finish(static, is_interrupted)
    finally:
        static.kill()
    if fingerprint:
        stamp.write_text(fingerprint)


def children(environment: Mapping[str, str], var: Path, port: int) -> dict[str, Child]:
    """Web, a worker for each lane that has work, beat, and the log's two. Each has its own login and knows no other.

    Beat is a process of its own: as a child of a worker it could die and all schedules would stop unnoticed. It needs
    no database.
    """
    granian = (
        *("granian", "--interface", "wsgi", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--blocking-threads", "8", "--workers-kill-timeout", "3", "--no-ws", "--log-level", "warning"),
        "leoportal.wsgi:application",
    )
    beat = ("celery", "-A", "leoportal", "--quiet", "beat", "-l", "WARNING", "--pidfile=")

    def child(name: str, module: tuple[str, ...], login: str, **more: Any) -> Child:
        own = for_login(environment, login) | more.pop("settings", {})
        argv, log = (sys.executable, "-m", *module), var / "log" / f"{name}.log"
        return Child(Command(name=name, argv=argv, log=log, folder=ROOT, environment=own, **more))

    workers = {
        queue: child(
            queue,
            worker_command(queue),
            queue,
            stops=((signal.SIGTERM, 4.0), (signal.SIGQUIT, 12.0)),
            orphaned=signal.SIGQUIT,
        )
        for queue in (*QUEUES, *([PUBLISHER] if is_publishing(environment) else []))
    }
    publishes = {"LEO_PUBLISHER": str(int(is_publishing(environment)))}
    web = child("web", granian, "web", settings={"DB_POOL": "1"}, stops=((signal.SIGTERM, 8.0),))
    log = {login: child(f"log-{login}", ("manage", "log", act), login) for login, act in LOG_PROCESSES.items()}
    return {"web": web, **workers, "beat": child("beat", beat, "", settings=publishes), **log}


def is_publishing(environment: Mapping[str, str]) -> bool:
    """Whether there is an App, or a token, that publishes check runs."""
    return any(environment.get(name) for name in ("GITHUB_GATE_KEY", "GITHUB_GATE_KEY_FILE", "GITHUB_TOKEN"))


def worker_command(queue: str) -> tuple[str, ...]:
    """The worker of one lane's queue, as a Python module with its arguments."""
    options = ("--concurrency", "2", "--without-gossip", "--without-mingle", "-Q", queue, "-n", f"{queue}@%h")
    return ("celery", "-A", "leoportal", "--quiet", "worker", "-l", "INFO", *options)


def demo(arguments: tuple[str, ...], environment: Mapping[str, str], var: Path) -> Process:
    """The tour through the portal, in the foreground."""
    return Process(
        Command(
            name="demo",
            argv=(sys.executable, "-m", "leoportal.demo", *arguments),
            log=var / "log" / "demo.log",
            folder=ROOT,
            environment=for_login(environment, "operator") | {"DATABASE_HOOK_URL": environment["DATABASE_HOOK_URL"]},
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
