"""Pages with 100 and 100,000 handoffs: the services for it, thrown away afterwards; the timing is `bench.portal`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from leoportal.stack.broker import Broker
from leoportal.stack.postgres import SUPERUSER, TESTER, Postgres
from leoportal.stack.pytest_plugin import find_parent_folder

ROOT: Final = Path(__file__).resolve().parents[1]


def parent_folder() -> Path:
    """Where the cluster goes: into memory if there is room, so that a disk is not what is measured."""
    return find_parent_folder()


def run(folder: Path, child: tuple[str, ...] = ("bench.portal",)) -> None:
    """Start PostgreSQL (fsync off) and Valkey, let a child that loads Django do the rest, stop both."""
    postgres = Postgres(folder / "pg", is_throwaway=True)
    broker = Broker(folder / "valkey", is_throwaway=True)
    try:
        postgres.start()
        broker.start()
        variables = folder / "var"
        variables.mkdir()
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "leoportal.settings",
            "LEOPORTAL_EMBEDDED": "1",
            "LEOPORTAL_VAR": str(variables),
            "LOG_LEVEL": "CRITICAL",
            "DATABASE_URL": postgres.url(TESTER),
            "DATABASE_HOOK_URL": postgres.url("leoportal_hook"),
            "BENCH_WEB_URL": postgres.url("leoportal_web"),
            "BENCH_SUPERUSER_URL": postgres.url(SUPERUSER),
            "REDIS_URL": broker.url,
            "CACHE_URL": broker.cache_url,
        }
        print(f"pages, with {postgres.describe().split(' (')[0]}, fsync off, and Valkey", flush=True)
        subprocess.run([sys.executable, "-m", *child], cwd=ROOT, env=environment, check=True)
    finally:
        broker.stop()
        postgres.stop()
