"""kill -9 of the worker before and after each step of a key's rotation: one active key, one transition, one switch."""

from __future__ import annotations

from typing import Any

import pytest

from handoffs.signatures.openpgp import open_envelope
from tests.kill.arrival import Arrivals

pytestmark = pytest.mark.kill
STEPS = ("requested", "made", "transition-signed", "switched")


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_around_a_step_of_a_rotation(arrivals: Arrivals, step: str):
    stack = arrivals.stack
    deaths = stack.deaths
    before = stack.rows("SELECT fingerprint FROM handoffs_signingkey WHERE lane = 'gate' AND retired_at IS NULL")
    places = (f"rotate-{step}.before", f"rotate-{step}.after")
    for place in places:
        stack.traps.lay(place, "gate")
    stack.run("-m", "tests.kill.people", "rotate")
    stack.wait(
        lambda: not stack.rows("SELECT 1 FROM handoffs_keyrotation WHERE step NOT IN ('done', 'cancelled')"),
        f"the rotation ends after two deaths at {step}",
    )
    stack.wait_deaths(places, "gate", since=deaths)
    rows = stack.rows(
        "SELECT n.fingerprint, o.fingerprint, o.public_key, n.transition, length(o.secret_key), r.draft::text"
        " FROM handoffs_keyrotation r JOIN handoffs_signingkey n ON n.id = r.new_key_id"
        " JOIN handoffs_signingkey o ON o.id = r.old_key_id ORDER BY r.id DESC LIMIT 1"
    )
    new, old, public_key, transition, secret_left, draft = rows[0]
    assert (old, secret_left, draft) == (before[0][0], 0, "{}")
    active = stack.rows("SELECT fingerprint FROM handoffs_signingkey WHERE lane = 'gate' AND retired_at IS NULL")
    assert active == [(new,)]
    said: Any = open_envelope(bytes(transition), public_key=public_key, fingerprint=old)
    assert said["predicate"]["newFingerprint"] == new
    switched = stack.rows(
        "SELECT 1 FROM leo_log_entry WHERE kind = 'key.rotated' AND position(%s in encode(body, 'escape')) > 0", new
    )
    assert len(switched) == 1
