"""The system's own PostgreSQL, which is another version than the embedded one, is guarded by the same rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from leoportal.lanes.agreeing import connect, find_differences, make_grants
from leoportal.stack.postgres import OLDEST_MAJOR, SYSTEM_FOLDERS, Postgres

FOUND = [
    folder
    for pattern in SYSTEM_FOLDERS
    for folder in Path("/").glob(pattern[1:])
    if (folder / "initdb").exists() and int(re.findall(r"\d+", str(folder))[-1]) >= OLDEST_MAJOR
]


@pytest.mark.skipif(not FOUND, reason=f"no PostgreSQL {OLDEST_MAJOR} or newer beside the embedded one")
@pytest.mark.threat("AUD-06")
def test_another_version_gets_the_same_rules(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PG_BINDIR", str(FOUND[0]))
    postgres = Postgres(tmp_path / "pg")
    postgres.start()
    try:
        owner = postgres.url("leoportal_migrate")
        environment = os.environ | {"DATABASE_URL": owner, "LEOPORTAL_VAR": str(tmp_path), "LEOPORTAL_EMBEDDED": "1"}
        subprocess.run([sys.executable, "manage.py", "migrate", "--noinput", "-v0"], check=True, env=environment)
        with connect(owner) as connection:
            assert make_grants(connection)
            assert [difference.what for difference in find_differences(connection)] == []
    finally:
        postgres.stop()
