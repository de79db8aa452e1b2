"""PostgreSQL and the broker die; messages come twice; two workers and a worker that wakes up too late."""

from __future__ import annotations

import contextlib
import threading

import psycopg
import pytest

from tests.kill.arrival import Arrivals

pytestmark = pytest.mark.kill


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


@pytest.mark.parametrize("place", ["record.handoff.signed", "push.before"])
def test_the_database_server_killed_in_the_middle_of_the_lane(arrivals: Arrivals, place: str):
    stack, name = arrivals.stack, f"database-{place.replace('.', '-')}"
    branch = f"staging/codex-{name}"
    stack.traps.lay(place, branch, "hold")
    acknowledged: list[int] = []
    stop = threading.Event()
    hook = threading.Thread(
        target=report_refusals, args=(stack.environment["DATABASE_HOOK_URL"], acknowledged, stop), daemon=True
    )
    arrivals.push(name)
    stack.wait(lambda: stack.traps.has_fired(place, branch), f"the worker comes to {place}")
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
    stack, under_way = arrivals.stack, "staging/codex-under-way"
    stack.traps.lay("sign.before", under_way, "hold")
    arrivals.push("under-way")
    stack.wait(lambda: stack.traps.has_fired("sign.before", under_way), "a handoff is under way")
    stack.lose_broker()
    unheard = arrivals.push("unheard")
    stack.traps.release("sign.before", under_way)
    stack.broker.start()
    arrivals.wait(under_way, unheard)
    arrivals.assert_once(under_way)
    arrivals.assert_once(unheard)
    arrivals.assert_portal_is_whole()


def test_sweeps_and_duplicate_messages_at_once_on_two_workers(arrivals: Arrivals):
    stack = arrivals.stack
    stack.add_worker("second")
    branches = [arrivals.push(f"twice-{number}") for number in range(3)]

    def repeat() -> bool:
        """Every message again, about every row."""
        for task in ("handoffs.tasks.sweep_staging", "handoffs.tasks.sweep_handoffs", "verdicts.tasks.sweep_verification"):
            stack.send(task)
        stack.send("handoffs.tasks.notice_staging", str(arrivals.git.path))
        for (pk,) in stack.rows("SELECT id FROM handoffs_handoff"):
            stack.send("handoffs.tasks.advance", pk)
        for (pk,) in stack.rows("SELECT id FROM verdicts_verificationwork"):
            stack.send("verdicts.tasks.run_work", pk)
        return arrivals.is_done(*branches)

    stack.wait(repeat, "three handoffs arrive")
    for branch in branches:
        arrivals.assert_once(branch)
    arrivals.assert_portal_is_whole()


@pytest.mark.parametrize("place", ["verify.after", "signature.after", "push.before", "agent.before", "trigger.before"])
def test_a_worker_that_wakes_up_after_another_took_over(arrivals: Arrivals, place: str):
    stack, name = arrivals.stack, f"late-{place.replace('.', '-')}"
    branch = f"staging/codex-{name}"
    stack.traps.lay(place, branch, "hold")
    arrivals.push(name)
    stack.wait(lambda: stack.traps.has_fired(place, branch), f"a worker comes to {place}")
    arrivals.wait(branch)
    done = stack.rows("SELECT count(*) FROM leo_log_entry WHERE subject = %s", arrivals.subject(branch))
    stack.traps.release(place, branch)
    stack.wait(lambda: stack.traps.is_over(place, branch), "the late worker goes on")
    arrivals.settle()
    arrivals.assert_once(branch)
    assert stack.rows("SELECT count(*) FROM leo_log_entry WHERE subject = %s", arrivals.subject(branch)) == done
