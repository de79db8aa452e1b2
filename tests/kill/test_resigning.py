"""kill -9 of the worker while it signs an open handoff again: one new signature, one entry, and the gate passes."""

from __future__ import annotations

import pytest

from tests.kill.arrival import Arrivals

pytestmark = pytest.mark.kill
BRANCH = "staging/codex-again"


@pytest.mark.threat("ATT-07")
def test_a_worker_killed_before_a_new_signature_is_recorded(arrivals: Arrivals):
    stack = arrivals.stack
    arrivals.push("again")
    arrivals.wait(BRANCH)
    deaths = stack.deaths
    stack.traps.lay("record.handoff.resigned", BRANCH)
    stack.run("-m", "tests.kill.people", "revoke")
    stack.wait(lambda: stack.traps.has_fired("record.handoff.resigned", BRANCH), "the worker dies")
    renewals = (
        "SELECT r.key_id FROM leo_signature_renewal r JOIN leo_signature s ON s.id = r.renewed_id"
        " JOIN handoffs_handoff h ON h.id = s.handoff_id WHERE h.staging_branch = %s"
    )
    stack.wait(lambda: bool(stack.rows(renewals, BRANCH)), "it is signed again")
    assert stack.deaths > deaths
    arrivals.wait(BRANCH)
    ((key,),) = stack.rows(renewals, BRANCH)
    active = stack.rows("SELECT id FROM handoffs_signingkey WHERE lane = 'enforcer' AND revoked_at IS NULL AND retired_at IS NULL")  # fmt: skip
    assert active == [(key,)]
    entries = stack.rows(
        "SELECT 1 FROM leo_log_entry WHERE kind = 'handoff.resigned' AND subject = %s", arrivals.subject(BRANCH)
    )
    assert len(entries) == 1
    gates = stack.rows(
        "SELECT g.conclusion FROM leo_gate_executions g JOIN handoffs_pullrequest p ON p.id = g.pull_request_id"
        " JOIN handoffs_handoff h ON h.id = p.handoff_id WHERE h.staging_branch = %s AND g.gate = 'slsa' ORDER BY g.id",
        BRANCH,
    )
    assert gates[-1] == ("success",)
