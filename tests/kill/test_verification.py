"""kill -9 while gates, sub-agents, rounds and merges run: one result of each, one merge."""

from __future__ import annotations

import pytest

from tests.kill.arrival import Arrivals
from tests.support.portal import START

pytestmark = pytest.mark.kill

# The security sub-agent fails this, others pass it: their disagreement asks for another round.
DISPUTED = {
    "payments/fees.py": START["payments/fees.py"]
    + '\n\ndef run(command: str) -> int:\n    """Run a command."""\n    return subprocess.call(command, shell=True)\n',
}
RESULTS = ("scanner.running", "agent.before", "agent.after", "gate.before", "gate.after")


def test_a_worker_killed_while_sub_agents_and_gates_report(arrivals: Arrivals):
    deaths = arrivals.stack.deaths
    branch = "staging/codex-reports"
    for place in RESULTS:
        arrivals.stack.traps.lay(place, branch)
    arrivals.push_code("reports")
    arrivals.wait(branch)
    assert [place for place in RESULTS if not arrivals.stack.traps.has_fired(place, branch)] == []
    assert arrivals.stack.deaths >= deaths + len(RESULTS)
    arrivals.assert_once(branch)


def test_the_integrator_of_the_log_killed_between_leaves_and_root(arrivals: Arrivals):
    arrivals.stack.traps.lay("integrate.before", "log")
    branch = arrivals.push("integration")
    arrivals.stack.wait(lambda: arrivals.stack.traps.has_fired("integrate.before", "log"), "the integrator dies")
    arrivals.wait(branch)
    arrivals.assert_once(branch)
    arrivals.assert_portal_is_whole()


def test_a_worker_killed_between_the_last_report_and_the_round_it_asks_for(arrivals: Arrivals):
    branch = "staging/codex-disputed"
    arrivals.stack.traps.lay("round.before", branch)
    arrivals.push("disputed", DISPUTED)
    arrivals.stack.wait(
        lambda: arrivals.stack.traps.has_fired("round.before", branch) and arrivals.rounds(branch) == 3,
        "the disagreement gets its three rounds",
    )
    arrivals.wait(branch)
    arrivals.assert_once(branch, rounds=3)


@pytest.mark.parametrize(
    ("place", "is_recorded_by_the_sweep"),
    [("push.before", False), ("push.after", True), ("record.pull.merged", True)],
)
def test_a_merge_killed_on_its_way(arrivals: Arrivals, place: str, is_recorded_by_the_sweep: bool):
    stack = arrivals.stack
    branch = arrivals.push_code(f"merge-{place.replace('.', '-')}")
    arrivals.wait(branch)
    stack.run("-m", "tests.kill.people", "release")
    before = arrivals.git.resolve("refs/heads/main")
    stack.traps.lay(place, branch)
    stack.run("-m", "tests.kill.people", "merge", is_killed=True)
    assert (arrivals.git.resolve("refs/heads/main") != before) is is_recorded_by_the_sweep
    if not is_recorded_by_the_sweep:
        assert arrivals.pull_status(branch) == "ready-to-merge"
        stack.run("-m", "tests.kill.people", "merge")
    stack.wait(lambda: arrivals.pull_status(branch) == "merged", "the merge is recorded")
    arrivals.assert_merged_once(branch, before)
