"""`python -m bench.webhooks`, started by `bench.pages`: four ways to take a webhook, under the same server, in turn.

Each server is granian with two workers of four threads, the portal's with its pool; a body of 19.4 kB, 16 connections.
The client, the servers and PostgreSQL share the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Final

import django
from django.core.management import call_command
from django.db import connection

from bench.goals import Measured
from bench.measure import Series, print_table
from bench.webhooks.client import drive
from leoportal.lanes.agreeing import make_grants
from leoportal.stack.portal import free_port
from leoportal.stack.postgres import TESTER
from leoportal.stack.services import ROOT
from tests.github import events

SECRET: Final = "a secret of the bench"  # noqa: S105  it guards nothing
BODY: Final = events.pull("synchronize", filling="x" * 18_900)
SIGNED: Final = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
CONNECTIONS: Final = 16
REQUESTS: Final = 2000
ROUNDS: Final = 7
BURST: Final = 1000
BURSTS: Final = 5
COUNTED: Final = "SELECT count(*), count(*) FILTER (WHERE delivery_id = ANY(%s)) FROM leo_webhook_delivery"
PATHS: Final = {
    "portal": "/github/webhook/enforcer/",
    "message in the request": "/bench/message/",
    "ORM": "/bench/orm/",
    "bare": "/",
}


def main() -> None:
    """Set up, measure, print."""
    django.setup()
    call_command("migrate", verbosity=0)
    connection.ensure_connection()
    make_grants(connection.connection, others=frozenset({TESTER}))
    with connection.cursor() as cursor:  # the ORM reads every column back
        cursor.execute("GRANT SELECT, INSERT ON leo_webhook_delivery TO leo_ingest")
    with serving("bench.webhooks.raw:application") as bare, serving("leoportal.wsgi:application") as portal:
        ports = {name: bare if name == "bare" else portal for name in PATHS}
        rates = measure_rates(ports)
        bursts, slowest = measure_bursts(ports)
    times = {name: Series(tuple(1000.0 / rate for rate in found)) for name, found in rates.items()}
    ours, said = times["portal"], "ms a webhook,"
    rows = [
        Measured("10", f"{said} message in it / portal", times["message in the request"], ours, 1.8, at_most=False),
        Measured("10", f"{said} ORM get_or_create / portal", times["ORM"], ours, 2.5, at_most=False),
        Measured("10", f"{said} bare / portal", times["bare"], ours, 0.55, at_most=False),
        Measured("11", "last answer of 1,000, portal / bare", bursts["portal"], bursts["bare"], 1.5, at_most=True),
        Measured("11", "slowest answer of all bursts / second", slowest, 1.0, 2.0, at_most=True),
    ]  # fmt: skip
    print("  a second: " + ", ".join(f"{name} {statistics.median(found):.0f}" for name, found in rates.items()))
    print_table(("goal", "above", "below", "ratio", "goal", ""), [row.row() for row in rows])


def request(path: str, delivery: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: GitHub-Hookshot/bench\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nX-GitHub-Event: pull_request\r\n"
        f"X-GitHub-Delivery: {delivery}\r\nX-Hub-Signature-256: sha256={SIGNED}\r\n\r\n"
    )
    return head.encode() + BODY


def measure_rates(ports: dict[str, int]) -> dict[str, list[float]]:
    """Webhooks a second, each way once in each round, each round beginning with another one."""
    names, found = list(ports), {name: list[float]() for name in ports}
    for number in range(-1, ROUNDS):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            sent = [str(uuid.uuid4()) for _ in range(REQUESTS)]
            total, _ = drive(ports[name], [request(PATHS[name], one) for one in sent], connections=CONNECTIONS)
            refuse_lost(sent)
            forget()
            if number >= 0:
                found[name].append(REQUESTS / total)
    return found


def measure_bursts(ports: dict[str, int]) -> tuple[dict[str, Series], float]:
    """All at once, then the same ones again: until the last answer (ms), and the slowest answer of the portal (s)."""
    found, slowest = {name: list[float]() for name in ("portal", "bare")}, 0.0
    for number in range(-1, BURSTS):
        for name in sorted(found, reverse=bool(number % 2)):
            sent = [str(uuid.uuid4()) for _ in range(BURST)]
            wanted = [request(PATHS[name], one) for one in sent]
            total, times = drive(ports[name], wanted, connections=BURST)
            refuse_lost(sent)
            if number >= 0:
                found[name].append(total * 1000)
                slowest = max(slowest, *times) if name == "portal" else slowest
            drive(ports[name], wanted[:200], connections=CONNECTIONS)
            refuse_lost(sent)
            forget()
    return {name: Series(tuple(times)) for name, times in found.items()}, slowest


def refuse_lost(sent: list[str]) -> None:
    """Each of them is there, once, and nothing else is."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE delivery_id = ANY(%s)) FROM leo_webhook_delivery", [sent]
        )
        assert cursor.fetchone() == (len(sent), len(sent))


def forget() -> None:
    """Begin anew: an empty table is as quick for each."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE leo_webhook_delivery")


@contextlib.contextmanager
def serving(application: str) -> Iterator[int]:
    """A server of its own process, ready; it signs in as the web does."""
    port = free_port(18_000)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bench.webhooks.settings",
        "DATABASE_URL": os.environ["BENCH_WEB_URL"],
        "DB_POOL": "1",
        "GITHUB_ENFORCER_WEBHOOK_SECRETS": SECRET,
    }
    command = (
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "2", "--blocking-threads", "4", "--no-ws", "--log-level", "warning", "--backlog", "2048"),
        application,
    )
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        for _ in range(300):
            time.sleep(0.1)
            with contextlib.suppress(OSError):
                drive(port, [], connections=1)
                break
        time.sleep(3)
        yield port
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    main()
