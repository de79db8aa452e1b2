"""Kills at every place and at random moments, until the time is up: `make kill`, or `make kill MINUTES=60`.

Not part of `make test`: that kills once at each step. Every round hands bundles over, kills something while they are
under way, and then looks as closely as the tests do. A red round prints what is needed to see it again and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")
# Only so that models can be imported here: the campaign asks its own cluster, by psycopg.
with tempfile.TemporaryDirectory() as unused:
    for name, value in (("LEOPORTAL_VAR", unused), ("LEOPORTAL_EMBEDDED", "1"), ("DATABASE_URL", "postgresql:///none")):
        os.environ[name] = value
    django.setup()

from leoportal.stack.pytest_plugin import find_parent_folder
from tests.kill.arrival import LANE, Arrivals
from tests.kill.signing import kill_at_each_point
from tests.support.processes import Stack, running_stack

PLACES: Final = (
    *(f"{step}.{moment}" for step in ("verify", "sign", "apply", "open", "trigger") for moment in ("before", "after")),
    *(
        f"{effect}.{moment}"
        for effect in ("store", "signature", "push", "gate", "agent")
        for moment in ("before", "after")
    ),
    *(f"record.handoff.{event}" for event in LANE),
    "receive.before",
    "receive.after",
    "last-report.after",
    "scanner.running",
)


def kill_pool_process(stack: Stack) -> None:
    """SIGKILL for one process of the worker's pool; its parent lives on and starts another."""
    parents = [worker.process.pid for worker in stack.workers if worker.process is not None]
    pool = [process.pid for process in stack.processes() if process.ppid() in parents]
    with contextlib.suppress(ProcessLookupError):
        os.kill(random.choice(pool or parents), signal.SIGKILL)


def kill_beat(stack: Stack) -> None:
    """SIGKILL for the scheduler."""
    assert stack.beat.process is not None
    os.killpg(stack.beat.process.pid, signal.SIGKILL)


def kill_postgres(stack: Stack) -> None:
    """SIGKILL for the database server; it is away for a moment."""
    stack.kill_postgres()
    time.sleep(random.uniform(0, 2))
    stack.postgres.start()


def lose_broker(stack: Stack) -> None:
    """SIGKILL for the broker, its data gone; it is away for a moment."""
    stack.lose_broker()
    time.sleep(random.uniform(0, 2))
    stack.broker.start()


BLOWS: Final[tuple[Callable[[Stack], None], ...]] = (
    Stack.kill_worker,
    Stack.kill_worker_tree,
    kill_pool_process,
    kill_beat,
    kill_postgres,
    lose_broker,
)


def at_each_place(arrivals: Arrivals, number: int) -> str:
    """One handoff that dies at one place of the list; returns what was done."""
    place = PLACES[number]
    branch, deaths = f"staging/codex-place-{number}", arrivals.stack.deaths
    arrivals.stack.traps.lay(place, branch)
    push = arrivals.push_code if place == "scanner.running" else arrivals.push
    push(f"place-{number}")
    arrivals.wait(branch, seconds=120)
    arrivals.stack.wait_deaths([place], branch, since=deaths)
    arrivals.assert_once(branch)
    return f"killed at {place}"


def at_random(arrivals: Arrivals, number: int) -> str:
    """Up to three handoffs, two blows at random moments; returns what was done."""
    branches = [arrivals.push(f"random-{number}-{each}") for each in range(random.randint(1, 3))]
    blows = random.sample(BLOWS, 2)
    for blow in blows:
        time.sleep(random.uniform(0, 1.5))
        arrivals.stack.revive()
        blow(arrivals.stack)
    arrivals.wait(*branches, seconds=120)
    for branch in branches:
        arrivals.assert_once(branch)
    return f"{len(branches)} handoffs; " + ", then ".join(blow.__name__.replace("_", " ") for blow in blows)


def main() -> int:
    """Every place once, then random rounds until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, at least every place once")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the random rounds")
    parser.add_argument("--signings", type=int, default=25, help="kills at each point of keyless signing, before that")
    options = parser.parse_args()
    kill_at_each_point(options.signings, say)
    random.seed(options.seed)
    began = time.monotonic()
    say(f"seed {options.seed}; {len(PLACES)} places, then random rounds for {options.minutes:g} minutes in all")
    rounds = [(at_each_place, number) for number in range(len(PLACES))]
    folder = Path(tempfile.mkdtemp(prefix="lk-", dir=find_parent_folder()))
    with running_stack(folder) as stack:
        stack.run("-m", "tests.kill.people", "make")
        stack.start_processes()
        arrivals = Arrivals(stack)
        number = 0
        while number < len(rounds) or time.monotonic() - began < options.minutes * 60:
            act, argument = rounds[number] if number < len(rounds) else (at_random, number)
            try:
                done = act(arrivals, argument)
                arrivals.assert_portal_is_whole()
            except AssertionError:
                kept = Path(tempfile.mkdtemp(prefix="leoportal-kill-"))
                shutil.copytree(stack.folder / "var" / "log", kept / "log")
                say(f"round {number + 1} is red; seed {options.seed}; logs: {kept}")
                raise
            number += 1
            say(f"{time.monotonic() - began:6.0f} s  round {number:4}  {done}")
        say(f"{number} rounds, {stack.deaths} dead processes started again; every handoff arrived exactly once")
    return 0


def say(line: str) -> None:
    """A line for the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
