"""Who asks a GitHub that does not answer: one at a time, rarely; and everybody again after its first answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from handoffs import circuits
from handoffs.circuits import LONGEST, MOST_FAILURES, PROBE, Circuit, wait
from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import App, Connection, Installation
from handoffs.models import GitHubCircuit
from tests.support.github.house import House


@pytest.fixture
def workers(db, house: House) -> tuple[Connection, Connection]:
    """Two processes that ask the same GitHub."""
    identity = Installation(App(house.enforcer.id, house.enforcer.private_key()), house.enforcing.id)
    made = [Connection(house.github.api, identity, breaker=Circuit(house.github.api)) for _ in range(2)]
    for one in made:
        one.request("GET", "/rate_limit")
    return made[0], made[1]


def ask(worker: Connection) -> str:
    """What comes of asking."""
    try:
        worker.request("GET", "/rate_limit")
    except ForgeError as error:
        return error.code.removeprefix("github.")
    return "answered"


def asked(house: House) -> int:
    return len(house.github.requests)


def later(seconds: float) -> None:
    """So much time passed."""
    past = timedelta(seconds=seconds)
    GitHubCircuit.objects.update(failing_since=F("failing_since") - past, next_try_at=F("next_try_at") - past)


@pytest.mark.parametrize("kind", ["outage", "reset"])
def test_after_failures_in_a_row_one_asks_at_a_time_until_it_answers(house: House, workers, kind: str):
    first, second = workers
    if kind == "outage":
        house.github.chaos.outage()
    else:
        house.github.chaos.plant("reset", path="/rate_limit", times=1000)
    failed = "unavailable" if kind == "outage" else "unreachable"
    assert [ask(first) for _ in range(MOST_FAILURES)] == [failed] * MOST_FAILURES
    before = asked(house)
    assert (ask(first), ask(second), asked(house)) == ("silent", "silent", before)
    for _ in range(6):
        later(LONGEST.total_seconds())
        assert (ask(second), ask(first), ask(second)) == (failed, "silent", "silent")
    assert asked(house) == before + 6
    assert GitHubCircuit.objects.get().tries == 7
    house.github.chaos.end()
    assert ask(first) == "silent", "before the next try nobody knows"
    later(LONGEST.total_seconds())
    assert (ask(first), ask(second)) == ("answered", "answered")
    assert GitHubCircuit.objects.get().failing_since is None


def test_failures_that_are_not_in_a_row_stop_nobody(house: House, workers):
    first, second = workers
    for _ in range(4):
        house.github.chaos.plant(502, path="/rate_limit", times=MOST_FAILURES - 1)
        assert [ask(first) for _ in range(MOST_FAILURES)] == ["unavailable"] * (MOST_FAILURES - 1) + ["answered"]
    assert not GitHubCircuit.objects.exists()
    assert first.request("GET", "/rate_limit").status == 200
    with pytest.raises(ForgeError, match=r"github\.not_found"):
        second.request("GET", "/repos/acme/nothing")


def test_who_was_to_ask_and_died_is_replaced_and_a_token_from_memory_is_no_answer(house: House, workers):
    first, second = workers
    first.token()
    house.github.chaos.outage()
    for _ in range(MOST_FAILURES):
        ask(first)
    later(LONGEST.total_seconds())
    Circuit(house.github.api).admit(may_probe=True)  # and nothing more is heard of that process
    assert (ask(first), ask(second)) == ("silent", "silent")
    later(PROBE.total_seconds())
    for one in workers:
        with pytest.raises(ForgeError, match=r"github\.silent: GitHub has not answered since .* UTC, next try at"):
            one.token()
        with pytest.raises(ForgeError, match=r"github\.silent"):
            one.as_app()
    assert GitHubCircuit.objects.get().failing_since is not None
    house.github.chaos.end()
    assert (ask(first), ask(second)) == ("answered", "answered")


def test_the_waits_grow_and_end_below_a_minute():
    assert all(timedelta(seconds=12) <= wait(1) <= timedelta(seconds=15) for _ in range(20))
    assert all(LONGEST * 0.8 <= wait(tries) <= LONGEST for tries in range(3, 400))
    assert len({wait(9) for _ in range(20)}) > 1, "not everybody at the same moment"


class Meeting:
    """A span of time that two processes add at one moment: each has read the row, neither has written it."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)

    def __radd__(self, now: datetime) -> datetime:
        self.barrier.wait(timeout=20)
        return now + PROBE


def test_of_two_whose_turn_it_is_at_one_moment_one_asks(transactional_db, monkeypatch: pytest.MonkeyPatch):
    past = timezone.now() - timedelta(minutes=1)
    GitHubCircuit.objects.create(api_url="https://github.invalid", failing_since=past, tries=1, next_try_at=past)
    monkeypatch.setattr(circuits, "PROBE", Meeting())

    def may_ask(_: int) -> str:
        try:
            Circuit("https://github.invalid").admit(may_probe=True)
        except ForgeError as error:
            return error.code
        finally:
            connection.close()
        return "asks"

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(may_ask, range(2))) == ["asks", "github.silent"]
