"""Goals 6 and 7: appends by 8 and 32 clients against a row-locked hash chain and a plain INSERT, and their integration.

pgbench, of the same PostgreSQL, is the client: it costs least, so nothing of the server's work hides behind it. The
server runs with the product's own settings, flushing each commit to the disk of the temporary folder; a flush of 2 ms
is `commit_delay`, which sleeps before each flush. Sequencer and signer are the product's processes and work all the
while; a round begins when they are done with the one before.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from bench.enforcement import BODY, LEAF, SALT
from bench.goals import Measured
from bench.measure import Series, print_table
from leoportal.lanes.agreeing import connect, make_grants
from leoportal.lanes.catalogue import Connection
from leoportal.lanes.matrix import read_matrix
from leoportal.stack.postgres import DATABASE, SUPERUSER, Postgres
from leoportal.stack.services import ROOT

ROUNDS: Final = 5
SECONDS: Final = 5
BACKLOG: Final = 100_000
TICK_MS: Final = 100.0
FLUSH_US: Final = 2000
TABLES: Final = """
CREATE TABLE bench_plain (LIKE leo_log_entry INCLUDING ALL);
CREATE TABLE bench_chain (LIKE leo_log_entry INCLUDING ALL);
CREATE TABLE bench_tip (size bigint, hash bytea);
INSERT INTO bench_tip VALUES (0, sha256(''));
GRANT INSERT, SELECT ON bench_plain, bench_chain TO leo_plan;
GRANT SELECT, UPDATE ON bench_tip TO leo_plan;
"""
COLUMNS: Final = "(kind, principal, role, subject, body, salt, leaf, leaf_hash, created_at, xid)"


def _bytea(raw: bytes) -> str:
    return f"'\\x{raw.hex()}'::bytea"


_ROW: Final = f"'verdict.recorded', :n, 'PLAN', 'H-' || :n, {_bytea(BODY)}, {_bytea(SALT)}"
_LEAF: Final = _bytea(LEAF)
_ANY: Final = "\\set n random(1, 500)\n"
SCRIPTS: Final = {
    # The client brings leaf and hash: nothing in the table writes or checks them.
    "plain": f"{_ANY}INSERT INTO bench_plain {COLUMNS} VALUES ({_ROW}, {_LEAF}, {_bytea(SALT * 2)}, now(), 0);",
    # What a table with a hash of the row before it does: the newest hash is locked until the commit.
    "chain": f"{_ANY}BEGIN;\nUPDATE bench_tip SET size = size + 1, hash = sha256(hash || {_LEAF});\n"
    f"INSERT INTO bench_chain {COLUMNS} SELECT {_ROW}, {_LEAF}, hash, now(), 0 FROM bench_tip;\nCOMMIT;",
    "append": f"{_ANY}INSERT INTO leo_log_entry {COLUMNS} VALUES ({_ROW}, '', '', now(), 0);",
}
LAGS: Final = """
SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
    ORDER BY extract(epoch FROM pg_xact_commit_timestamp(l.xmin) - e.created_at) * 1000)::float8[], count(*)
FROM leo_log_leaf l JOIN leo_log_entry e ON e.id = l.entry_id WHERE l.index > 0
"""
DRAINED: Final = """
SELECT count(*), extract(epoch FROM max(at) - min(at))::float8, count(*) FILTER (WHERE at = first)
FROM (SELECT at, min(at) OVER () AS first FROM (
    SELECT pg_xact_commit_timestamp(xmin) AS at FROM leo_log_leaf WHERE entry_id > %s) AS times) AS found
"""
BURST: Final = f"""
INSERT INTO leo_log_entry {COLUMNS}
SELECT {_ROW.replace(":n", "n")}, '', '', now(), 0 FROM generate_series(1, %s) AS n
"""


@dataclass
class Load:
    """One kind of client: appends a second in each round, and how long each append took."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def p99(self) -> float:
        """Units: milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[98]


def run(folder: Path) -> None:
    """Start the server and the log's processes, measure, print."""
    postgres = Postgres(folder / "pg")
    environment = {
        **os.environ,
        **{role.variable: postgres.url(role.name) for role in read_matrix().logins},
        "DATABASE_URL": postgres.url("leoportal_migrate"),
        "LEOPORTAL_EMBEDDED": "1",
        "LEOPORTAL_VAR": str(folder / "var"),
    }
    try:
        postgres.start()
        # Needs a new start: when a batch became visible is read from its commit.
        with psycopg.connect(postgres.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        postgres.stop()
        postgres.start()
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        with connect(environment["DATABASE_URL"]) as connection:
            make_grants(connection)
        with (
            psycopg.connect(postgres.url(SUPERUSER), autocommit=True) as connection,
            _log_process(environment, "sequencer", "sequence"),
            _log_process(environment, "signer", "sign"),
        ):
            connection.execute(TABLES)
            _measure(postgres, connection, folder)
    finally:
        postgres.stop()
        postgres.delete()


def _measure(postgres: Postgres, connection: Connection, folder: Path) -> None:
    with psycopg.connect(postgres.url(SUPERUSER), options="-c role=leo_plan") as plan:
        plan.execute(BURST.encode(), [1])
    _settled(connection)  # both processes are at work
    clients = {"8": _rounds(postgres, connection, folder, clients=8)}
    lag_p50, lag_p99, lag_most, placed = _lags(connection)
    clients["8 alone"] = _rounds(postgres, connection, folder, clients=8, kinds=("append", "plain"), is_alone=True)
    drained = _drain(postgres, connection)
    connection.execute(f"ALTER SYSTEM SET commit_delay = {FLUSH_US}")
    connection.execute("ALTER SYSTEM SET commit_siblings = 0")
    connection.execute("SELECT pg_reload_conf()")
    clients["32"] = _rounds(postgres, connection, folder, clients=32)
    print(f"goals 6 and 7: {postgres.describe().split(' (', maxsplit=1)[0]}, {ROUNDS} rounds of {SECONDS} s; a second")
    print(f"  8 clients: {_told(clients['8'])}")
    print(f"  8 clients, log processes stopped: {_told(clients['8 alone'])}")
    print(f"  32 clients, flush of {FLUSH_US / 1000:g} ms: {_told(clients['32'])}")
    print(f"  {placed:,} placed while 8 clients appended: median {lag_p50:.0f} ms, most {lag_most:.0f} ms")
    plain = _median(clients["8"], "plain")
    rows = [
        _of_rates("6", "appends / row-locked chain, 8 clients", clients["8"], "chain", 4),
        _of_rates("6", "appends / row-locked chain, 32 clients, 2 ms flush", clients["32"], "chain", 20),
        _of_rates("6", "appends / plain INSERT, 8 clients", clients["8"], "plain", 0.9),
        _of_rates("6", "... log processes stopped", clients["8 alone"], "plain", 0.9),
        _of_rates("6", "... 32 clients, 2 ms flush", clients["32"], "plain", 0.9),
        _of_p99("append p99 / plain INSERT p99, 8 clients", clients["8"]),
        _of_p99("... 32 clients, 2 ms flush", clients["32"]),
        Measured("7", "append to placed, p99 ms / tick", lag_p99, TICK_MS, 1.5, at_most=True),
        Measured("7", "placed a second from a backlog / plain INSERT", drained, plain, 5, at_most=False),
    ]  # fmt: skip
    print_table(("goal", "above", "below", "ratio", "wanted", ""), [row.row() for row in rows])


def _rounds(
    postgres: Postgres,
    connection: Connection,
    folder: Path,
    *,
    clients: int,
    kinds: tuple[str, ...] = ("chain", "plain", "append"),
    is_alone: bool = False,
) -> dict[str, Load]:
    """Each kind once in each round, each round beginning with another. `is_alone`: nothing is placed meanwhile."""
    loads = {kind: Load() for kind in kinds}
    for number in range(ROUNDS):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            connection.execute("CHECKPOINT")
            with _held(postgres) if is_alone else _nothing():
                _pgbench(postgres, folder, SCRIPTS[kind], clients, loads[kind])
            _settled(connection)
    return loads


def _pgbench(postgres: Postgres, folder: Path, script: str, clients: int, load: Load) -> None:
    file, logs = folder / "script.sql", folder / "latencies"
    file.write_text(script)
    logs.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            *(str(postgres.binaries / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={file}"),
            *(f"--client={clients}", "--jobs=2", f"--time={SECONDS}", "--log", f"--log-prefix={logs}/log"),
            *("--host", str(postgres.sockets), "--username", SUPERUSER, DATABASE),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PGOPTIONS": "-c role=leo_plan"},
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None or "number of failed transactions: 0 " not in done.stdout:
        raise AssertionError(done.stdout + done.stderr)
    load.rates.append(float(found[1]))
    for log in logs.iterdir():
        load.latencies += [int(line.split()[2]) / 1000 for line in log.read_text().splitlines()]
        log.unlink()


def _settled(connection: Connection) -> None:
    """Everything is placed and signed."""
    waiting = """
        SELECT coalesce((SELECT max(size) FROM leo_log_checkpoint), 0) < (SELECT count(*) FROM leo_log_entry)
    """
    deadline = time.monotonic() + 300
    while connection.execute(waiting).fetchone() == (True,):
        if time.monotonic() > deadline:
            raise AssertionError("sequencer and signer do not keep up")
        time.sleep(0.2)


@contextmanager
def _held(postgres: Postgres) -> Iterator[None]:
    """An open transaction: nothing that is younger can be placed."""
    with psycopg.connect(postgres.url(SUPERUSER)) as older:
        older.execute("SELECT pg_current_xact_id()")
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _lags(connection: Connection) -> tuple[float, float, float, int]:
    """Median, p99 and most of the time from append to placed of all there is. Units: ms."""
    row = connection.execute(LAGS).fetchone()
    assert row is not None
    return *row[0], row[1]


def _drain(postgres: Postgres, connection: Connection) -> float:
    """Entries placed in a second, from a backlog; from the first batch's commit to the last's."""
    row = connection.execute("SELECT max(id) FROM leo_log_entry").fetchone()
    assert row is not None
    with _held(postgres), psycopg.connect(postgres.url(SUPERUSER), options="-c role=leo_plan") as plan:
        plan.execute(BURST.encode(), [BACKLOG])
    _settled(connection)
    found = connection.execute(DRAINED, row).fetchone()
    assert found is not None
    count, seconds, first = found
    return float((count - first) / seconds)


@contextmanager
def _log_process(environment: dict[str, str], login: str, act: str) -> Iterator[None]:
    own = {**environment, "DATABASE_URL": environment[f"DATABASE_{login.upper()}_URL"]}
    process = subprocess.Popen([sys.executable, "manage.py", "log", act], cwd=ROOT, env=own)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _median(loads: dict[str, Load], kind: str) -> float:
    return statistics.median(loads[kind].rates)


def _told(loads: dict[str, Load]) -> str:
    return ", ".join(f"{kind} {_median(loads, kind):,.0f} (p99 {load.p99():.1f} ms)" for kind, load in loads.items())


def _of_rates(goal: str, what: str, loads: dict[str, Load], anchor: str, wanted: float) -> Measured:
    above, below = Series(tuple(loads["append"].rates)), Series(tuple(loads[anchor].rates))
    return Measured(goal, what, above, below, wanted, at_most=False)


def _of_p99(what: str, loads: dict[str, Load]) -> Measured:
    return Measured("6", what, loads["append"].p99(), loads["plain"].p99(), 1.5, at_most=True)
