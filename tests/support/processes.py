"""A whole stack in a folder of its own, whose processes may be killed: PostgreSQL, a broker, beat, workers.

Every process goes through its own lane's login, as in production; hooks through theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from celery import Celery

from leoportal.lanes.agreeing import connect, make_grants
from leoportal.lanes.matrix import read_matrix
from leoportal.stack import portal as product
from leoportal.stack.broker import Broker
from leoportal.stack.postgres import Postgres
from leoportal.stack.process import clean_environment, wait_until
from leoportal.stack.services import ROOT
from leoportal.stack.supervisor import Child
from tests.support.faulty_worker import FOLDER, Traps

FOREIGN: Final = (
    "DATABASE",
    "REDIS",
    "CACHE",
    "LEO",
    "PYTEST",
    "SECRET_KEY",
    "SIGNING_KEY",
    "SIGSTORE",
    "PG",
    "DJANGO",
)


class Stack:
    """PostgreSQL that survives a crash (unlike the throw-away one of the test run), a broker, beat and one worker."""

    def __init__(self, folder: Path, *, sweep_seconds: float = 0.8, lease_seconds: float = 3.0) -> None:
        self.folder = folder
        self.traps = Traps(folder / "traps")
        self.postgres = Postgres(folder / "pg")
        self.broker = Broker(folder / "valkey")
        temporary = folder / "tmp"
        temporary.mkdir()
        self.environment = clean_environment(without=FOREIGN) | {
            "LEOPORTAL_VAR": str(folder / "var"),
            "LEOPORTAL_EMBEDDED": "1",
            "DATABASE_URL": self.postgres.url("leoportal_operator"),
            **{role.variable: self.postgres.url(role.name) for role in read_matrix().logins},
            "REDIS_URL": self.broker.url,
            "CACHE_URL": self.broker.cache_url,
            "SWEEP_SECONDS": str(sweep_seconds),
            "LEASE_SECONDS": str(lease_seconds),
            "TMPDIR": str(temporary),
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser",  # it would hide what they say
            FOLDER: str(self.traps.folder),
        }
        self.workers, self.beat = self._children()
        self.extra: list[Child] = []
        self.deaths = 0
        self._asking: psycopg.Connection[tuple[Any, ...]] | None = None

    def start(self) -> None:
        """Services, schema by its owner, grants, then the processes that never see the owner's address."""
        self.postgres.start()
        self.broker.start()
        migrate = self.environment["DATABASE_MIGRATE_URL"]
        self.run("manage.py", "migrate", "--noinput", "-v0", DATABASE_URL=migrate)
        with connect(migrate) as connection:
            make_grants(connection)

    def start_processes(self) -> None:
        """Beat and the lanes' workers."""
        for child in (self.beat, *self.workers):
            child.start()

    def stop(self) -> None:
        """Everything at once: nothing here has to end well."""
        self._hang_up()
        for child in (*self.extra, *self.workers, self.beat):
            if child.process is not None:
                child.process.kill()
        for service in (self.broker, self.postgres):
            if service.process is not None:
                service.process.kill()
        for left in self.processes():
            left.kill()

    def run(self, *arguments: str, is_killed: bool = False, **changes: str) -> str:
        """One Python process of the portal, in a session of its own; its output. `is_killed`: it must die by SIGKILL."""
        done = subprocess.run(
            [sys.executable, *arguments],
            check=False,
            cwd=ROOT,
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=120,
            start_new_session=True,
        )
        assert done.returncode == (-signal.SIGKILL if is_killed else 0), done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def second_worker(self, *, processes: int) -> Iterator[None]:
        """One more worker beside each lane's; at the end all are asked to finish what they are at."""
        seconds = [self._second(worker, processes) for worker in self.workers]
        self.extra += seconds
        for second in seconds:
            second.start()
        try:
            yield
        finally:
            self.extra = [child for child in self.extra if child not in seconds]
            for worker in (*seconds, *self.workers):
                if worker.process is not None:
                    worker.process.ask_to_stop()
            for worker in (*seconds, *self.workers):
                worker.stop()

    def _second(self, worker: Child, processes: int) -> Child:
        command, name = worker.command, f"second-{worker.name}"
        argv = (*command.argv, "-n", f"{name}@%h", "--concurrency", str(processes))
        return Child(dataclasses.replace(command, name=name, argv=argv, log=command.log.with_name(f"{name}.log")))

    def kill_worker(self) -> None:
        """SIGKILL for the workers' process groups, as the kernel's memory killer or a person would."""
        for worker in self.workers:
            assert worker.process is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)

    def kill_worker_tree(self) -> None:
        """SIGKILL for the workers and whatever they started: git, hooks, scanners. What the end of a container does."""
        for worker in self.workers:
            assert worker.process is not None
            with contextlib.suppress(psutil.NoSuchProcess):
                tree = psutil.Process(worker.process.pid)
                for process in (tree, *tree.children(recursive=True)):
                    process.kill()

    def kill_postgres(self, *, with_children: bool = False) -> None:
        """SIGKILL for the postmaster, whose children notice in a moment, or for all of them at once."""
        self._hang_up()
        assert self.postgres.process is not None
        postmaster = psutil.Process(self.postgres.process.pid)
        if with_children:
            postmaster.suspend()  # it starts no more of them
            for child in postmaster.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        postmaster.kill()
        assert wait_until(lambda: not self.postgres.is_running, seconds=10)

    def lose_broker(self) -> None:
        """SIGKILL for the broker, and its data is gone."""
        assert self.broker.process is not None
        os.kill(self.broker.process.pid, signal.SIGKILL)
        assert wait_until(lambda: not self.broker.is_running, seconds=10)
        self.broker.process.kill()
        shutil.rmtree(self.broker.folder)
        self.broker = Broker(self.broker.folder)

    def revive(self) -> None:
        """Start again what has died, as the supervisor does."""
        for child in (*self.workers, self.beat, *self.extra):
            if child.process is not None and not child.is_running:
                self.deaths += 1
                child.start()

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
        """Watch the processes until `condition` holds; if it does not in time, say what the workers said."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds:g} s: {what}\n{self.complaints()}")
            self.revive()
            time.sleep(0.1)

    def wait_deaths(self, places: Sequence[str], branch: str, *, since: int) -> None:
        """Watch until somebody died at each of these places. What a step leaves may be seen before its worker dies behind it."""
        self.wait(
            lambda: all(self.traps.has_fired(place, branch) for place in places) and self.deaths >= since + len(places),
            f"a death at each of {', '.join(places)}",
        )

    def complaints(self) -> str:
        """The last lines of every log, the rows that still have work, and what the database is at."""
        logs = [child.command.log for child in (*self.workers, self.beat, *self.extra)]
        said = [f"-- {log.name}\n" + "\n".join(log.read_text().splitlines()[-25:]) for log in logs if log.exists()]
        if self.postgres.is_running:
            open_rows = self.rows(
                "SELECT id, status, staging_branch, attempts, lease_until, next_try_at, error FROM handoffs_handoff"
                " WHERE status NOT IN ('triggered', 'superseded', 'refused')"
            )
            open_rows += self.rows(
                "SELECT id, pull_request_id, name, round, attempts, lease_until, next_try_at, error"
                " FROM verdicts_verificationwork WHERE status = 'waiting'"
            )
            open_rows += self.rows(
                "SELECT now(), usename, state, wait_event, left(query, 90), now() - state_change"
                " FROM pg_stat_activity WHERE usename IS NOT NULL AND pid <> pg_backend_pid()"
            )
            said += [str(row) for row in open_rows]
        return "\n".join(said)

    def said(self) -> str:
        """What the workers wrote to their logs."""
        return "".join(worker.command.log.read_text() for worker in self.workers)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database as the schema's owner: what the test sees is not what a lane sees."""
        if self._asking is None or self._asking.closed:
            self._asking = psycopg.connect(self.environment["DATABASE_MIGRATE_URL"], autocommit=True, connect_timeout=5)
        return self._asking.execute(query.encode(), values).fetchall()

    def send(self, *messages: tuple[object, ...]) -> None:
        """Messages to the workers: a task and its arguments each."""
        with Celery(broker=self.broker.url, set_as_current=False) as app:
            for task, *arguments in messages:
                queue = "enforcer" if str(task).startswith("handoffs.") else "verifier"
                app.send_task(str(task), args=arguments, queue=queue, retry=False)

    def processes(self) -> list[psutil.Process]:
        """Everything alive that belongs to this stack, and to nothing else."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(FOLDER) == str(self.traps.folder) or str(self.folder) in process.cmdline():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _hang_up(self) -> None:
        if self._asking is not None:
            self._asking.close()

    def _children(self) -> tuple[list[Child], Child]:
        """The product's own commands; the workers start through the module that lays the traps."""
        children = product.children(self.environment, self.folder / "var", 0)
        names = (*product.QUEUES, *product.LOG_PROCESSES)
        return [self._trapped(children[name]) for name in names], children["beat"]

    def _trapped(self, worker: Child) -> Child:
        python, flag, *rest = worker.command.argv
        argv = (python, flag, "tests.support.faulty_worker", *rest)
        return Child(dataclasses.replace(worker.command, argv=argv))


@contextmanager
def running_stack(folder: Path, **seconds: float) -> Iterator[Stack]:
    """A stack with its schema, stopped and deleted whatever happens."""
    stack = Stack(folder, **seconds)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(stack.broker.sockets, ignore_errors=True)
        stack.postgres.delete()
