"""PostgreSQL and the broker die; messages come twice; workers wake up too late; a merge dies on its way."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import psycopg
import pytest

from tests.kill.arrival import Arrivals

pytestmark = pytest.mark.kill

HOLD_THE_LOCK = """#!/bin/sh
read -r _ _ ref
[ "$1 $ref" = "prepared refs/heads/feature/locked" ] || exit 0
[ -e {reached} ] && exit 0
touch {reached}
sleep 60
"""
SWEEPS = ("handoffs.tasks.sweep_staging", "handoffs.tasks.sweep_handoffs", "verdicts.tasks.sweep_verification")
LATE = ("verify.after", "signature.after", "push.before", "trigger.before", "agent.before")


def report_refusals(url: str, acknowledged: list[int], stop: threading.Event) -> None:
    """What the hook does after a refused push, one commit after the other until the server is gone."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as hook:
        while not stop.is_set():
            number = len(acknowledged)
            hook.execute(
                "INSERT INTO leo_push_refusal (repository_path, ref, old, new, code) VALUES (%s, %s, %s, %s, %s)",
                ["killed.git", f"refs/heads/acknowledged-{number}", "0" * 40, "1" * 40, "ref.not_allowed"],
            )
            acknowledged.append(number)
            stop.wait(0.01)


def test_the_database_server_killed_in_the_middle_of_the_lane(arrivals: Arrivals):
    stack, place = arrivals.stack, "record.handoff.signed"
    branch = "staging/codex-database"
    stack.traps.lay(place, branch, "hold")
    acknowledged: list[int] = []
    stop = threading.Event()
    hook = threading.Thread(
        target=report_refusals, args=(stack.environment["DATABASE_HOOK_URL"], acknowledged, stop), daemon=True
    )
    arrivals.push("database")
    stack.wait(lambda: stack.traps.has_fired(place, branch), "a worker is about to commit")
    hook.start()
    stack.wait(lambda: len(acknowledged) >= 20, "the hook reports")
    committed = stack.rows("SELECT id, leaf_hash FROM leo_log_entry ORDER BY id")
    stack.kill_postgres()
    hook.join(10)
    stack.traps.release(place, branch)
    stack.postgres.start()
    arrivals.wait(branch)
    kept = dict(stack.rows("SELECT id, leaf_hash FROM leo_log_entry"))
    assert {key: kept.get(key) for key, _ in committed} == dict(committed)
    told = {ref for (ref,) in stack.rows("SELECT ref FROM leo_push_refusal WHERE repository_path = 'killed.git'")}
    assert {f"refs/heads/acknowledged-{number}" for number in acknowledged} <= told
    arrivals.assert_once(branch)
    stack.wait(
        lambda: not stack.rows("SELECT 1 FROM leo_push_refusal WHERE log_entry_id IS NULL"), "refusals reach the trail"
    )
    arrivals.assert_portal_is_whole()


def test_the_broker_killed_and_its_data_deleted(arrivals: Arrivals):
    """Three messages are lost: that of the hook, the worker's to advance what it noted, and its last to trigger."""
    stack = arrivals.stack
    held = {"staging/codex-under-way": "sign.before", "staging/codex-noted": "receive.after"}
    for branch, place in held.items():
        stack.traps.lay(place, branch, "hold")
        arrivals.push(branch.removeprefix("staging/codex-"))
        stack.wait(lambda at=place, on=branch: stack.traps.has_fired(at, on), f"a worker comes to {place}")  # type: ignore[misc]
    stack.lose_broker()
    unheard = arrivals.push("unheard")
    for branch, place in held.items():
        stack.traps.release(place, branch)
    stack.wait(lambda: "nudge handoffs.tasks.advance lost" in stack.said(), "the worker's message is lost")
    stack.broker.start()
    arrivals.wait(unheard, *held)
    for branch in (unheard, *held):
        arrivals.assert_once(branch)
    arrivals.assert_portal_is_whole()


def test_sweeps_and_duplicate_messages_at_once_on_two_workers(arrivals: Arrivals):
    stack = arrivals.stack
    branches = [arrivals.push(f"twice-{number}") for number in range(3)]

    with stack.second_worker(processes=2):
        for _ in range(4):
            handoffs = [row[0] for row in stack.rows("SELECT id FROM handoffs_handoff ORDER BY id DESC LIMIT 3")]
            work = [row[0] for row in stack.rows("SELECT id FROM verdicts_verificationwork ORDER BY id DESC LIMIT 21")]
            stack.send(
                *[(sweep,) for sweep in SWEEPS for _ in range(3)],
                ("handoffs.tasks.notice_staging", str(arrivals.git.path)),
                *[("handoffs.tasks.advance", pk) for pk in handoffs for _ in range(2)],
                *[("verdicts.tasks.run_work", pk) for pk in work],
            )
            time.sleep(0.3)
        arrivals.wait(*branches)
    stack.revive()
    for branch in branches:
        arrivals.assert_once(branch)
    arrivals.assert_portal_is_whole()


def test_workers_that_wake_up_after_others_took_over(arrivals: Arrivals):
    stack = arrivals.stack
    places = {f"staging/codex-late-{place.replace('.', '-')}": place for place in LATE}
    with stack.second_worker(processes=len(LATE) + 1):
        for branch, place in places.items():
            stack.traps.lay(place, branch, "hold")
            arrivals.push(branch.removeprefix("staging/codex-"))
            stack.wait(lambda at=place, on=branch: stack.traps.has_fired(at, on), f"a worker comes to {place}")  # type: ignore[misc]
        arrivals.wait(*places)
        done = arrivals.entries(places)
        for branch, place in places.items():
            assert not stack.traps.is_over(place, branch), place
            stack.traps.release(place, branch)
        stack.wait(lambda: all(stack.traps.is_over(at, on) for on, at in places.items()), "the late ones go on")
    stack.revive()
    for branch in places:
        arrivals.assert_once(branch)
    assert arrivals.entries(places) == done


def test_everything_a_worker_started_killed_while_git_holds_the_branch(arrivals: Arrivals):
    """What the end of a container does. Git never removes the lock of a process that was killed."""
    stack, branch = arrivals.stack, "staging/codex-locked"
    reached, hook = stack.folder / "reached", arrivals.git.path / "hooks" / "reference-transaction"
    hook.write_text(HOLD_THE_LOCK.format(reached=reached))
    hook.chmod(0o755)
    arrivals.push("locked")
    stack.wait(reached.exists, "git holds the lock of the branch")
    stack.kill_worker_tree()
    lock = arrivals.git.path / "refs" / "heads" / "feature" / "locked.lock"
    assert lock.exists()
    long_ago = time.time() - 600
    os.utime(lock, (long_ago, long_ago))
    arrivals.wait(branch)
    arrivals.assert_once(branch)


def test_a_merge_killed_before_and_after_it_lands(arrivals: Arrivals):
    stack = arrivals.stack
    branch = arrivals.push_code("merge")
    arrivals.wait(branch)
    stack.run("-m", "tests.kill.people", "release")
    before = arrivals.git.resolve("refs/heads/main")
    stack.traps.lay("push.before", branch)
    stack.run("-m", "tests.kill.people", "merge", is_killed=True)
    assert arrivals.git.resolve("refs/heads/main") == before
    assert arrivals.pull_status(branch) == "ready-to-merge"
    stack.traps.lay("push.after", branch)
    stack.run("-m", "tests.kill.people", "merge", is_killed=True)
    assert arrivals.git.resolve("refs/heads/main") != before
    stack.wait(lambda: arrivals.pull_status(branch) == "merged", "the sweep records the merge that landed")
    stack.run("-m", "tests.kill.people", "merge")
    arrivals.assert_merged_once(branch, before)
