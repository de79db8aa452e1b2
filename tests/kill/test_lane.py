"""kill -9 of the worker before and after every effect of the lanes: the handoff still arrives exactly once."""

from __future__ import annotations

import pytest

from tests.kill.arrival import Arrivals

pytestmark = pytest.mark.kill

LANE = (
    "receive.after",
    "verify.before",
    "store.after",
    "record.handoff.verified",
    "verify.after",
    "sign.before",
    "signature.after",
    "record.handoff.signed",
    "sign.after",
    "push.before",
    "push.after",
    "record.handoff.applied",
    "apply.after",
    "record.handoff.opened",
    "open.after",
    "trigger.before",
    "record.handoff.triggered",
    "trigger.after",
)


@pytest.mark.parametrize("point", LANE)
def test_a_worker_killed_in_the_lane(arrivals: Arrivals, point: str):
    branch = f"staging/codex-{point.replace('.', '-')}"
    arrivals.stack.traps.lay(point, branch)
    assert arrivals.push(point.replace(".", "-")) == branch
    arrivals.wait(branch)
    assert arrivals.stack.traps.has_fired(point, branch)
    arrivals.assert_once(branch, applyings=2 if point == "push.before" else 1)
    arrivals.assert_portal_is_whole()
