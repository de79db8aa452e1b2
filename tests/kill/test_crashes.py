"""kill -9 of the database server while every lane appends: what was acknowledged stays, once, and the log is whole.

`make crash` runs the long form, TIMES=200. A kill leaves the kernel's memory alone: what this shows is that nothing is
acknowledged before it was handed to the disk, not that the disk keeps it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from audit.checkpoint import parse_checkpoint
from audit.merkle import Frontier, leaf_hash
from audit.notes import VerifierKey, parse_note, parse_vkey
from audit.signer import read_note
from leoportal.stack.services import ROOT
from tests.kill.arrival import Arrivals
from tests.kill.writers import LANES, told_file
from tests.support.processes import Stack

pytestmark = pytest.mark.kill

TIMES = int(os.environ.get("LEO_CRASHES", "3"))
LOG_PROCESSES = ("log-sequencer", "log-signer")
APPENDED = (
    "SELECT id, convert_from(body, 'UTF8')::jsonb->>'append' FROM leo_log_entry WHERE id > %s"
    " AND kind IN ('handoff.applying', 'verdict.refused', 'session.started')"
)
REFUSED = "SELECT ref FROM leo_push_refusal WHERE repository_path = 'crashed.git' AND id > %s"
LEAVES = (
    "SELECT l.index, l.leaf_hash, e.leaf FROM leo_log_leaf l JOIN leo_log_entry e ON e.id = l.entry_id"
    " WHERE l.index >= %s AND l.index < %s ORDER BY l.index"
)


@dataclass
class Writers:
    """The processes that append, and what they wrote down."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def told(self, lane: str) -> list[list[str]]:
        """Whole lines only: "number entry", or "number" where nobody knows."""
        file = told_file(self.folder, lane)
        return [line.split() for line in file.read_text().rpartition("\n")[0].splitlines()] if file.exists() else []

    def count(self) -> dict[str, int]:
        """How many were acknowledged to each."""
        return {lane: sum(len(line) == 2 for line in self.told(lane)) for lane in LANES}

    def unknown(self) -> int:
        """How many answers were lost on the way."""
        return sum(len(line) == 1 for lane in LANES for line in self.told(lane))

    def assert_alive(self) -> None:
        assert [process.poll() for process in self.processes] == [None] * len(LANES)


@contextmanager
def writing(stack: Stack) -> Iterator[Writers]:
    """One writer for each login, until the end of the block."""
    writers = Writers(stack.folder)
    for lane in LANES:
        with (stack.folder / f"writer-{lane}.log").open("wb") as log:
            command = [sys.executable, "-m", "tests.kill.writers", lane]
            writers.processes.append(subprocess.Popen(command, cwd=ROOT, env=stack.environment, stderr=log))
    try:
        yield writers
    finally:
        for process in writers.processes:
            process.kill()
            process.wait()


class Trail:
    """The log's tree, computed here from its leaves, as far as it was looked at: none of it may change any more."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.tree = Frontier()
        folder = Path(stack.environment["LEOPORTAL_VAR"], "log-key")
        self.file = folder / "log-signed-1.json"
        self.keys: tuple[VerifierKey, ...] = tuple(map(parse_vkey, (folder / "log.vkey").read_text().split()))

    def signed(self) -> bytes:
        """The newest checkpoint in the signer's file, which no crash of the database touches."""
        return read_note(self.file).raw

    def extends(self, raw: bytes) -> int:
        """The leaves that there are now, after all that were looked at, have the root of this checkpoint; its size."""
        note = parse_note(raw)
        note.verify(self.keys)
        checkpoint = parse_checkpoint(note.text)
        if checkpoint.size > self.tree.size:
            rows = self.stack.rows(LEAVES, self.tree.size, checkpoint.size)
            assert [index for index, *_ in rows] == list(range(self.tree.size, checkpoint.size))
            assert all(leaf_hash(bytes(leaf)) == bytes(stored) for _, stored, leaf in rows)
            self.tree = self.tree.extend(bytes(stored) for _, stored, _ in rows)
            assert self.tree.root == checkpoint.root
        return checkpoint.size

    def covered(self) -> int:
        """How much the newest checkpoint in the database covers; -1 before there is one."""
        return int(self.stack.rows("SELECT coalesce(max(size), -1) FROM leo_log_checkpoint")[0][0])


def pids(stack: Stack) -> dict[str, Any]:
    found = {child.command.name: child for child in stack.workers}
    return {name: found[name].process.pid if found[name].is_running else None for name in LOG_PROCESSES}


@pytest.mark.threat("REL-01")
def test_nothing_acknowledged_is_lost_when_the_server_is_killed_under_load(arrivals: Arrivals):
    stack, seed = arrivals.stack, random.randrange(1 << 32)
    chance = random.Random(seed)
    branch = arrivals.push("under-load")
    arrivals.wait(branch)
    trail = Trail(stack)
    first = stack.rows("SELECT (SELECT coalesce(max(id), 0) FROM leo_log_entry),"
                       " (SELECT coalesce(max(id), 0) FROM leo_push_refusal)")[0]  # fmt: skip
    processes, began = pids(stack), time.monotonic()
    with writing(stack) as writers:
        for number in range(TIMES):
            goal = {lane: count + 10 for lane, count in writers.count().items()}
            _wait(stack, lambda least=goal: _reached(writers, least), "every writer goes on")
            time.sleep(chance.uniform(0, 0.4))
            stack.kill_postgres(with_children=bool(number % 2))
            acknowledged, signed = {lane: writers.told(lane) for lane in LANES}, trail.signed()
            time.sleep(chance.choice((0, 0, 0.2)))
            stack.postgres.start()
            _assert_kept(stack, acknowledged, first)
            trail.extends(signed)
            least = stack.rows("SELECT max(id) FROM leo_log_entry")[0][0]
            _wait(stack, lambda entry=least: _is_covered(stack, entry), "what was appended is signed")
            trail.extends(trail.signed())
            assert stack.rows("SELECT code, detail FROM leo_log_alarm") == []
            assert pids(stack) == processes
            writers.assert_alive()
    _assert_kept(stack, {lane: writers.told(lane) for lane in LANES}, first)
    arrivals.wait(branch)
    stack.wait(lambda: not stack.rows("SELECT 1 FROM leo_push_refusal WHERE log_entry_id IS NULL"), "refusals arrive")
    arrivals.assert_portal_is_whole()
    checked = stack.run("manage.py", "log", "check", DATABASE_URL=stack.environment["DATABASE_VERIFIER_URL"])
    assert checked == "the log is whole\n"
    print(f"\n{TIMES} kills in {time.monotonic() - began:.0f} s, seed {seed}; acknowledged {writers.count()},"
          f" {writers.unknown()} calls without an answer; {trail.covered():,} leaves")  # fmt: skip


def _wait(stack: Stack, condition: Any, what: str, *, seconds: float = 30.0) -> None:
    """Like `stack.wait`, and nobody starts anything again: what died stays dead and is seen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}\n{stack.complaints()}"
        time.sleep(0.05)


def _reached(writers: Writers, least: dict[str, int]) -> bool:
    writers.assert_alive()
    count = writers.count()
    return all(count[lane] >= wanted for lane, wanted in least.items())


def _is_covered(stack: Stack, entry: int) -> bool:
    return bool(stack.rows("SELECT leo_log_covers(%s)", entry)[0][0])


def _assert_kept(stack: Stack, told: dict[str, list[list[str]]], first: tuple[int, int]) -> None:
    """Whatever a writer was told is there, under the number it was told, and nothing is there twice."""
    entries = {name: pk for pk, name in stack.rows(APPENDED, first[0]) if name}
    names = Counter(name for _, name in stack.rows(APPENDED, first[0]) if name)
    names.update(ref.removeprefix("refs/heads/") for (ref,) in stack.rows(REFUSED, first[1]))
    assert [name for name, count in names.items() if count > 1] == []
    for lane, lines in told.items():
        kept = {f"{lane}-{line[0]}": int(line[1]) for line in lines if len(line) == 2}
        found = {name: 0 if lane == "hook" else entries.get(name) for name in kept if name in names}
        assert found == kept
