"""kill -9 of the worker before and after every effect of the lanes: the handoff still arrives exactly once."""

from __future__ import annotations

import pytest

from tests.kill.arrival import Arrivals

pytestmark = pytest.mark.kill

# Every handoff dies twice, at two places of the lane; `record.*` is inside the transaction, before it commits.
PLACES = (
    ("receive.after", "signature.after"),
    ("verify.before", "push.before"),
    ("store.after", "push.after"),
    ("record.handoff.verified", "apply.after"),
    ("verify.after", "open.after"),
    ("sign.before", "record.handoff.applied"),
    ("record.handoff.signed", "trigger.before"),
    ("sign.after", "record.handoff.opened"),
    ("record.handoff.applying", "trigger.after"),
    ("apply.before", "record.handoff.triggered"),
)


@pytest.mark.parametrize("places", PLACES, ids=" and ".join)
def test_a_worker_killed_twice_in_the_lane(arrivals: Arrivals, places: tuple[str, str]):
    traps, deaths = arrivals.stack.traps, arrivals.stack.deaths
    branch = f"staging/codex-{places[0].replace('.', '-')}"
    for place in places:
        traps.lay(place, branch)
    assert arrivals.push(branch.removeprefix("staging/codex-")) == branch
    arrivals.wait(branch)
    assert [place for place in places if not traps.has_fired(place, branch)] == []
    assert arrivals.stack.deaths >= deaths + 2
    arrivals.assert_once(branch)
    assert (arrivals.applyings(branch) > 1) is ("push.before" in places)
