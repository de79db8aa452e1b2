"""Refused attempts on a pull request, kept in the trail: each in its own transaction, after that of the act."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Final

from django.db import transaction

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor, AuditError, Role
from handoffs.forges.protocol import ForgeError
from handoffs.models import PullRequest
from leoportal.lanes.switching import LANE_OF, acting_in
from verdicts.models import VerdictError

# Who has no part in an act has no right in the database to write of it: the portal does, in the lane of the act.
_LANE_OF_ACT: Final[Mapping[str, str]] = {
    events.VERDICT_REFUSED: LANE_OF[Role.PLAN],
    events.DECISION_REFUSED: LANE_OF[Role.LEAD],
    events.BREAK_GLASS_REFUSED: LANE_OF[Role.LEAD],
    events.MERGE_REFUSED: LANE_OF[Role.PLAN],
}


def log_refusal(
    kind: str, pull_id: int, by: Actor, error: VerdictError | AuditError | ForgeError, *, wanted: str = ""
) -> None:
    """Record who was refused what and why, in their own role, whichever lane the database lets write it."""
    lane = acting_in(_LANE_OF_ACT[kind]) if error.code == "role.not_allowed" else nullcontext()
    with lane, transaction.atomic(durable=True):
        pull = PullRequest.objects.get(pk=pull_id)
        body: dict[str, JsonValue] = {"code": error.code, "detail": error.detail[:2000], "pr": pull.number}
        if wanted:
            body["wanted"] = wanted
        append_event(kind, by, f"H-{pull.handoff_id}", body)
