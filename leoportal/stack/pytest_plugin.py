"""A throw-away PostgreSQL and Valkey for one test run, in memory where there is enough.

Loaded with `-p leoportal.stack.pytest_plugin`. A wrapper of pytest_load_initial_conftests, since pytest-django
reads the settings in that hook: a conftest.py comes too late. Each worker of xdist has services of its own, since the
log's order waits for every open transaction of a cluster, whatever its database.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from leoportal.lanes.matrix import read_matrix
from leoportal.stack.broker import Broker
from leoportal.stack.postgres import TESTER, Postgres
from leoportal.stack.services import is_database_given

MEMORY: Final = Path("/dev/shm")  # noqa: S108  the kernel's memory file system, not a shared temporary file
MEMORY_BYTES: Final = 1 << 30
PREFIX: Final = f"leoportal-test-{os.geteuid()}-"
STARTED: Final = "LEOPORTAL_TEST_STARTED"  # the services that are ours, for the workers that do not share them


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Start what nobody gave us; whatever happens then, it is stopped with the run."""
    for name in os.environ.get(STARTED, "").split():
        del os.environ[name]
    _start(early_config)
    return (yield)


def _start(config: pytest.Config) -> None:
    parent = find_parent_folder()
    _delete_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    config.add_cleanup(lock.close)
    variables = folder / "var"
    variables.mkdir(mode=0o700)
    os.environ["LEOPORTAL_VAR"] = str(variables)
    started = []
    if not is_database_given():
        postgres = Postgres(folder / "pg", is_throwaway=True)
        config.add_cleanup(postgres.stop)
        postgres.start()
        addresses = {role.variable: postgres.url(role.name) for role in read_matrix().logins}
        os.environ |= addresses | {"DATABASE_URL": postgres.url(TESTER)}
        started += ["DATABASE_URL", *addresses]
    if not os.environ.get("REDIS_URL"):
        broker = Broker(folder / "valkey", is_throwaway=True)
        config.add_cleanup(broker.stop)
        broker.start()
        os.environ["REDIS_URL"] = broker.url
        os.environ["CACHE_URL"] = broker.cache_url
        started += ["REDIS_URL"]
    os.environ[STARTED] = " ".join(started)


def find_parent_folder() -> Path:
    """Memory if there is enough of it: a container's default of 64 MB holds no cluster."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        return MEMORY
    return Path(tempfile.gettempdir())


def _delete_leftovers(parent: Path) -> None:
    """Folders of runs that were killed: their lock is free."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            with (folder / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # in use, or somebody else deletes it
