"""The checks of what raises the approvals: each lists what it found, and fails only where the policy refuses it."""

from __future__ import annotations

from handoffs.checks.evidence import Evidence, Judged, failed, first_of, passed, without
from handoffs.checks.patch import NO_REPOSITORY
from handoffs.scope.control_plane import RaisedKind


def scope_control_plane(evidence: Evidence) -> Judged:
    """Changed paths that steer the gates are listed; LEAD decides on them, or the policy refuses them."""
    return _judge(evidence, RaisedKind.CONTROL_PLANE, evidence.context.approvals.control_plane)


def scope_unreviewable(evidence: Evidence) -> Judged:
    """Content that nobody can review is listed; LEAD decides on it, or the policy refuses it."""
    return _judge(evidence, RaisedKind.UNREVIEWABLE, evidence.context.approvals.unreviewable)


def scope_informational_gate(evidence: Evidence) -> Judged:
    """Lines that keep a gate from failing are listed; LEAD decides on them, or the policy refuses them."""
    return _judge(evidence, RaisedKind.INFORMATIONAL_GATE, evidence.context.approvals.informational_gate)


def _judge(evidence: Evidence, kind: RaisedKind, demand: str) -> Judged:
    expected = "none: the policy refuses them" if demand == "refuse" else "a list, possibly empty, for LEAD"
    facts = evidence.facts
    if facts is None or facts.result_tree is None or evidence.raised is None:
        return without("the result tree", facts.apply_error if facts else NO_REPOSITORY, expected)
    found = [one for one in evidence.raised if one.kind == kind]
    listed = first_of([f"{one.path} ({one.why})" for one in found], at_most=20) or "none"
    return failed(listed, expected) if found and demand != "lead" else passed(listed, expected)
