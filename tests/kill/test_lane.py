"""kill -9 of the worker at each step of the lane and of the verification: the handoff still arrives exactly once."""

from __future__ import annotations

import pytest

from tests.kill.arrival import Arrivals
from tests.support.portal import START

pytestmark = pytest.mark.kill

# Every handoff dies twice, at two places of the lane; `record.*` is inside the transaction, before it commits.
PLACES = (
    ("receive.after", "signature.after"),
    ("verify.before", "push.before"),
    ("store.after", "push.after"),
    ("verify.after", "apply.after"),
    ("sign.before", "open.after"),
    ("record.handoff.signed", "trigger.before"),
    ("sign.after", "trigger.after"),
)
REPORTS = (("scanner.running", "agent.after", "gate.before"), ("agent.before", "gate.after"))
# The security sub-agent fails this, others pass it: their disagreement asks for another round.
DISPUTED = {
    "payments/fees.py": "import subprocess\n\n"
    + START["payments/fees.py"]
    + '\n\ndef run(command: str) -> int:\n    """Run a command."""\n    return subprocess.call(command, shell=True)\n',
}


@pytest.mark.parametrize("places", PLACES, ids=" and ".join)
def test_a_worker_killed_twice_in_the_lane(arrivals: Arrivals, places: tuple[str, str]):
    traps, deaths = arrivals.stack.traps, arrivals.stack.deaths
    branch = f"staging/codex-{places[0].replace('.', '-')}"
    for place in places:
        traps.lay(place, branch)
    assert arrivals.push(branch.removeprefix("staging/codex-")) == branch
    arrivals.wait(branch)
    arrivals.stack.wait_deaths(places, branch, since=deaths)
    arrivals.assert_once(branch)
    assert "push.before" not in places or arrivals.applyings(branch) > 1


@pytest.mark.parametrize("places", REPORTS, ids=" and ".join)
def test_a_worker_killed_while_sub_agents_and_gates_report(arrivals: Arrivals, places: tuple[str, ...]):
    deaths = arrivals.stack.deaths
    branch = f"staging/codex-{places[0].replace('.', '-')}"
    for place in places:
        arrivals.stack.traps.lay(place, branch)
    push = arrivals.push_code if "scanner.running" in places else arrivals.push
    assert push(branch.removeprefix("staging/codex-")) == branch
    arrivals.wait(branch)
    arrivals.stack.wait_deaths(places, branch, since=deaths)
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
    arrivals.stack.traps.lay("last-report.after", branch)
    arrivals.push("disputed", DISPUTED)
    arrivals.stack.wait(
        lambda: arrivals.stack.traps.has_fired("last-report.after", branch) and arrivals.rounds(branch) == 3,
        "the disagreement gets its three rounds",
    )
    arrivals.wait(branch)
    arrivals.assert_once(branch, rounds=3)
