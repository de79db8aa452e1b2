"""Handoffs that wait for their signer, and what the trail says of them."""

from __future__ import annotations

from handoffs.models import (
    Handoff,
    HandoffEvent,
    Status,
)
from handoffs.tasks import advance
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.portal import GOOD_CHANGE, Portal


def happened(handoff: Handoff, event: str) -> list[dict]:
    return list(
        HandoffEvent.objects.filter(handoff=handoff, event=event).order_by("pk").values_list("detail", flat=True)
    )


def again(handoff: Handoff) -> str:
    """The sweep's next look at a handoff, as if its time had come."""
    Handoff.objects.filter(pk=handoff.pk).update(next_try_at=None)
    return str(advance(handoff.pk))


def waiting(portal: Portal, sigstore: LoopbackSigstore) -> Handoff:
    """A handoff that waits for its signer."""
    sigstore.faults = {"fulcio-down"}
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert handoff.status == Status.WAITING_SIGNER
    return handoff
