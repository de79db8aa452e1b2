"""Goal 16: what enforcement costs an append to the log, one committed entry at a time.

The same rows go into tables of the same shape: without any guard, with the append-only triggers, with the lane's
trigger and row-level security, and into the log itself, where the database writes the leaf. fsync is off: with it the
flush of each commit would hide the difference.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from bench.goals import Measured
from bench.measure import interleave, print_table
from leoportal.lanes.agreeing import connect, make_grants
from leoportal.lanes.catalogue import Connection
from leoportal.stack.postgres import TESTER, Postgres
from leoportal.stack.services import ROOT

ENTRIES: Final = 400
ROUNDS: Final = 11
BODY: Final = b'{"confidence":"91.20","head":"' + b"a" * 40 + b'","verdict":"PASS"}'
SALT: Final = bytes(16)
LEAF: Final = b"leo-audit/v1 1 1790000000000000 leoportal_web/leo_plan\n" + b"x" * 180
APPEND_ONLY: Final = """
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION leo_refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION leo_refuse_change();
"""
LANE: Final = """
CREATE TRIGGER lane_may_log BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION leo_lane_may_log_leo_log_entry();
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON {table} TO leoportal_owner USING (true) WITH CHECK (true);
CREATE POLICY may_insert ON {table} FOR INSERT TO leo_plan WITH CHECK (true);
CREATE POLICY may_select ON {table} FOR SELECT TO leo_plan USING (true);
GRANT SELECT, INSERT ON {table} TO leo_plan;
"""
KINDS: Final = {"bench_bare": "", "bench_append_only": APPEND_ONLY, "bench_lane": APPEND_ONLY + LANE}


def run(folder: Path) -> None:
    """Start PostgreSQL, make the tables, time the appends, print the ratios."""
    postgres = Postgres(folder / "pg", is_throwaway=True)
    try:
        postgres.start()
        url = postgres.url(TESTER)
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "LEOPORTAL_EMBEDDED": "1",
            "LEOPORTAL_VAR": str(folder / "var"),
        }
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        with connect(url) as connection:
            make_grants(connection, others=frozenset({TESTER}))
        _measure(url, postgres.describe().split(" (", maxsplit=1)[0])
    finally:
        postgres.stop()


def _measure(url: str, server: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner, psycopg.connect(url, autocommit=True) as plan:
        for table, guards in KINDS.items():
            name = sql.Identifier(table)
            owner.execute(sql.SQL("CREATE TABLE {} (LIKE leo_log_entry INCLUDING ALL)").format(name))
            owner.execute(sql.SQL(guards).format(table=name))
        plan.execute("SET ROLE leo_plan")
        found = interleave(
            {
                "bare": _appending(owner, "bench_bare", is_whole=True),
                "append-only": _appending(owner, "bench_append_only", is_whole=True),
                "lane": _appending(plan, "bench_lane", is_whole=True),
                "log": _appending(plan, "leo_log_entry", is_whole=False),
            },
            rounds=ROUNDS,
        )
    print(f"goal 16: {ENTRIES} entries, each committed by itself, {server}, fsync off; median (least-most) ms")
    rows = [
        Measured(
            "16", "rate with append-only triggers / bare", found["bare"], found["append-only"], 0.85, at_most=False
        ),
        Measured("16", "... lane's trigger, row security / bare", found["bare"], found["lane"], 0.85, at_most=False),
        Measured("16", "... and the leaf, by the database / bare", found["bare"], found["log"], 0.85, at_most=False),
    ]
    print_table(("goal", "bare", "guarded", "ratio", "wanted", ""), [row.row() for row in rows])


def _appending(connection: Connection, table: str, *, is_whole: bool) -> Callable[[], None]:
    """Append ENTRIES rows. `is_whole`: the client brings leaf and hash, since nothing in the table writes them."""
    columns = ["kind", "principal", "role", "subject", "body", "salt", "leaf", "leaf_hash"]
    statement = sql.SQL("INSERT INTO {} ({}, created_at, xid) VALUES ({}, now(), 0) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
    )

    def append() -> None:
        for _ in range(ENTRIES):
            leaf = LEAF if is_whole else b""
            digest = hashlib.sha256(b"\0" + leaf).digest() if is_whole else b""
            row = ["verdict.recorded", 7, "PLAN", "H-1", BODY, SALT, leaf, digest]
            connection.execute(statement, row, prepare=True)

    return append
