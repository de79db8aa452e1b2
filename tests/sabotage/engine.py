"""Taking guards out, one at a time, in copies of the project; one copy a worker.

Only a failed test counts: a test that is not found, or that cannot be collected, is an error of the list.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from leoportal.lanes.matrix import read_matrix
from leoportal.stack.broker import Broker
from leoportal.stack.postgres import TESTER, Postgres
from leoportal.stack.pytest_plugin import STARTED

ROOT = Path(__file__).parents[2]
SECONDS = 300
WRITES_MIGRATIONS = "audit/appendonly.py"
_NOTICED = re.compile(r"^(FAILED|ERROR) tests/", re.MULTILINE)


@dataclass(frozen=True)
class Guard:
    """One guard: where it stands, its text (which stands there once), what is put in its place, who must notice."""

    file: str
    old: str
    new: str
    test: str

    def __str__(self) -> str:
        return f"{self.file}: {self.old.strip().splitlines()[0][:90]}"


def run(guards: Sequence[Guard], *, workers: int, with_database: bool, say: Callable[[str], object]) -> list[str]:
    """Take every guard out; returns what is wrong, empty when each was missed by its test."""
    wrong = [problem for guard in guards if (problem := misfit(guard))]
    if wrong:
        return wrong
    with ExitStack() as stack:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for _ in range(workers):
            copies.put(stack.enter_context(Copy.make(with_database=with_database)))

        def with_copy(work: Callable[[Copy], str]) -> str:
            copy = copies.get()
            try:
                return work(copy)
            finally:
                copies.put(copy)

        def attempt(guard: Guard) -> str:
            problem = with_copy(lambda copy: copy.sabotage(guard))
            say(f"{'SURVIVED' if problem else 'noticed '} {guard}")
            return problem

        honest = with_copy(lambda copy: copy.check([*dict.fromkeys(guard.test for guard in guards)]))
        if honest:
            return [honest]
        with ThreadPoolExecutor(workers) as pool:
            return [problem for problem in pool.map(attempt, guards) if problem]


def misfit(guard: Guard) -> str:
    """Why the text of a guard is not what its file holds, once; empty when it is."""
    count = (ROOT / guard.file).read_text("utf-8").count(guard.old)
    return "" if count == 1 else f"{guard}: stands there {count} times, expected once"


class Copy:
    """One copy of the project's files as they lie here, with a database of its own if tests need one."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    @classmethod
    @contextmanager
    def make(cls, *, with_database: bool) -> Iterator[Copy]:
        """Copy what git tracks or would track; everything is gone at the end."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="leo-sabotage-") as name, ExitStack() as stack:
            folder = Path(name) / "leoportal"
            for path in filter(None, listed.split("\0")):
                if (ROOT / path).is_file():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / path, folder / path)
            (folder / ".venv").symlink_to(ROOT / ".venv")
            subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
            given = {"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://localhost:1"}
            if with_database:
                postgres, broker = Postgres(Path(name) / "pg", is_throwaway=True), Broker(Path(name) / "valkey")
                for server in (postgres, broker):
                    stack.callback(server.stop)
                    server.start()
                given = {"REDIS_URL": broker.url, "CACHE_URL": broker.cache_url, "DATABASE_URL": postgres.url(TESTER)}
                given |= {role.variable: postgres.url(role.name) for role in read_matrix().logins}
            inherited = {
                name: value for name, value in os.environ.items() if name != STARTED and not name.startswith("PYTEST_")
            }
            yield cls(folder, {**inherited, **given, "PYTHONDONTWRITEBYTECODE": "1"})

    def check(self, tests: Sequence[str]) -> str:
        """Why these tests do not pass as the project is; empty when they do."""
        done = self._pytest(tests)
        return (
            ""
            if done.returncode == 0
            else f"a named test does not pass to begin with:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )

    def sabotage(self, guard: Guard) -> str:
        """Take one guard out, run its test, put the guard back. Empty when the test failed, as it must."""
        path = self.folder / guard.file
        honest = path.read_text("utf-8")
        path.write_text(honest.replace(guard.old, guard.new), "utf-8")
        try:
            done = self._pytest([guard.test], is_new=guard.file == WRITES_MIGRATIONS or "/migrations/" in guard.file)
        except subprocess.TimeoutExpired:
            return f"{guard}: {guard.test} did not end within {SECONDS} s"
        finally:
            path.write_text(honest, "utf-8")
        # Python ends with 1, too, when pytest itself breaks: only its summary tells that a test did.
        if done.returncode == pytest.ExitCode.TESTS_FAILED and _NOTICED.search(done.stdout):
            return ""
        said = (
            "passes without it" if done.returncode == 0 else f"could not be run (pytest ended with {done.returncode})"
        )
        return f"{guard}: {guard.test} {said}"

    def _pytest(self, tests: Sequence[str], *, is_new: bool = False) -> subprocess.CompletedProcess[str]:
        """`is_new`: on a database of its own, made by the migrations as they are now."""
        database = "--create-db" if is_new else "--reuse-db"
        command = [sys.executable, "-m", "pytest", "-n", "0", "-x", database, "-p", "no:cacheprovider", *tests]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True,
            timeout=SECONDS * (1 + len(tests) // 10),
        )  # fmt: skip
