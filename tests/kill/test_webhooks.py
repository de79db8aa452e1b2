"""Webhooks keep coming while the worker is dead half of the time: each is acknowledged, none is lost. HOK-05.

`make hooks` is the long form: 3,000 in 60 seconds. Here it is fewer, as fast. How long answers take is printed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from leoportal.stack.portal import free_port, health
from leoportal.stack.services import ROOT, for_login
from tests.github import events
from tests.github.delivering import SECRETS, headers
from tests.kill.arrival import Arrivals
from tests.support.processes import Stack

pytestmark = pytest.mark.kill
LONG = bool(os.environ.get("LEO_HOOKS"))
COUNT, SECONDS = (3000, 60) if LONG else (250, 5)
FUZZED = 50_000 if LONG else 400
DEAD = 5.0 if LONG else 1.0


@pytest.fixture
def web(arrivals: Arrivals) -> Iterator[str]:
    """The web process as the portal starts it, with its own login and the Apps' secrets."""
    port = free_port(18_500)
    environment = for_login(arrivals.stack.environment, "web") | {"DB_POOL": "1", "LOG_LEVEL": "ERROR"}
    environment |= {f"GITHUB_{app.upper()}_WEBHOOK_SECRETS": secret for app, secret in SECRETS.items()}
    granian = (
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *(
            "--workers",
            "1",
            "--blocking-threads",
            "8",
            "--no-ws",
            "--log-level",
            "warning",
            "leoportal.wsgi:application",
        ),
    )
    process = subprocess.Popen(granian, cwd=ROOT, env=environment)
    try:
        arrivals.stack.wait(lambda: health(port) > 0, "the web answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def kill_and_start_again(stack: Stack, is_over: threading.Event) -> None:
    """The enforcer's worker is dead as long as it lives."""
    worker = stack.workers[0]
    while not is_over.wait(DEAD):
        assert worker.process is not None
        if worker.is_running:
            os.killpg(worker.process.pid, signal.SIGKILL)
        else:
            worker.start()


def deliveries() -> list[tuple[str, str, bytes]]:
    sent = []
    for number in range(COUNT):
        event, body = random.Random(number).choice(
            [
                ("push", events.push()),
                ("ping", b"{}"),
                ("pull_request", events.pull("synchronize", number=number + 1, filling="x" * 19_000)),
                ("issue_comment", events.comment("/leo-status", remote_id=number + 1)),
            ]
        )
        sent.append((str(uuid.uuid4()), event, body))
    return sent


@pytest.mark.threat("HOK-05")
def test_each_delivery_is_acknowledged_and_none_is_lost_while_the_worker_dies_again_and_again(
    arrivals: Arrivals, web: str
):
    stack, sent, is_over = arrivals.stack, deliveries(), threading.Event()
    dying = threading.Thread(target=kill_and_start_again, args=(stack, is_over))
    begin, local = time.monotonic(), threading.local()

    def deliver(number: int) -> tuple[int, float]:
        time.sleep(max(0.0, begin + number * SECONDS / COUNT - time.monotonic()))
        delivery, event, body = sent[number]
        local.session = getattr(local, "session", None) or requests.Session()
        asked = time.monotonic()
        given = headers(body, event, delivery=delivery) | {"Content-Type": "application/json"}
        answer = local.session.post(f"{web}/github/webhook/enforcer/", body, headers=given, timeout=10)
        return answer.status_code, time.monotonic() - asked

    dying.start()
    try:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(deliver, range(COUNT)))
    finally:
        is_over.set()
        dying.join()
    assert {status for status, _ in answers} == {202}
    times = sorted(seconds for _, seconds in answers)
    print(f"\n{COUNT} in {time.monotonic() - begin:.0f} s, all 202; p50 {times[COUNT // 2] * 1000:.0f} ms, "
          f"p99 {times[COUNT * 99 // 100] * 1000:.0f} ms, slowest {times[-1] * 1000:.0f} ms")  # fmt: skip
    stack.revive()
    open_rows = "SELECT 1 FROM leo_webhook_delivery WHERE status = 'stored' LIMIT 1"
    stack.wait(lambda: not stack.rows(open_rows), "every delivery is processed", seconds=120)
    rows = stack.rows("SELECT delivery_id, status, code, body IS NULL FROM leo_webhook_delivery")
    ends = {delivery: rest for delivery, *rest in rows}
    wanted = {"ping": ["ignored", "event.unused", True]}
    foreign = ["refused", "event.foreign_repository", True]
    assert {delivery: ends.get(delivery) for delivery, *_ in sent} == {
        delivery: wanted.get(event, foreign) for delivery, event, _ in sent
    }


@pytest.mark.threat("HOK-05")
def test_no_payload_however_made_up_is_an_error(arrivals: Arrivals, web: str):
    """Signed ones, since all others are refused before anybody looks at them; a few of those, too."""
    stack, rng = arrivals.stack, random.Random(5)
    whole = [events.pull("opened"), events.check_run("rerequested"), events.comment("/leo-help"), events.push()]
    names = ["pull_request", "check_run", "issue_comment", "push", "merge_group", "installation", "made_up"]
    statuses: set[int] = set()
    with requests.Session() as session:
        for number in range(FUZZED):
            body = mutated(rng, rng.choice(whole))
            given = headers(body, rng.choice(names)) | {"Content-Type": "application/json"}
            if number % 10 == 0:
                given["X-Hub-Signature-256"] = "sha256=" + rng.randbytes(32).hex()
            statuses.add(session.post(f"{web}/github/webhook/gate/", body, headers=given, timeout=10).status_code)
            given = headers(body, rng.choice(names), app="gate") | {"Content-Type": "application/json"}
            statuses.add(session.post(f"{web}/github/webhook/gate/", body, headers=given, timeout=10).status_code)
    assert statuses == {202, 401}
    stack.revive()
    open_rows = "SELECT 1 FROM leo_webhook_delivery WHERE status = 'stored' LIMIT 1"
    stack.wait(lambda: not stack.rows(open_rows), "every delivery is processed", seconds=120 if not LONG else 1200)
    assert not stack.rows("SELECT error FROM leo_webhook_delivery WHERE status = 'failed' OR error <> ''")


def mutated(rng: random.Random, body: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or put in."""
    raw = bytearray(body)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(raw) or 1)
        match rng.randrange(5):
            case 0:
                raw[at : at + 1] = rng.randbytes(1)
            case 1:
                del raw[at : at + rng.randint(1, 40)]
            case 2:
                raw[at:at] = raw[at : at + rng.randint(1, 40)]
            case 3:
                raw[at:at] = rng.choice(
                    [b"null", b"-1", b"1e400", b"[[[[", b"{}", b'"\\ud800"', b"\x00", b"\xff", b"true"]
                )
            case _:
                raw = raw[: at + 1]
    return bytes(raw)
