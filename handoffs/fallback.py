"""What happens while the signing service is down: probes, and LEAD's acknowledgement of OpenPGP in its place.

Nothing is downgraded silently: the policy must allow it, the probes must have failed long enough, and LEAD must have
acknowledged it for this handoff.
Source: ATT-10 of the threat list; SOP section 10.3.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import take_part
from audit.events import Actor
from audit.models import ErasableText
from audit.texts import store_text
from handoffs.actions import record_event
from handoffs.lane import rules_in_force
from handoffs.models import Handoff, HandoffError, HandoffEvent, SigningDowngrade, Status
from handoffs.rules import Signing

MIN_VISIBLE: Final = 30
MAX_TEXT: Final = 10_000
LONGEST_INTERVAL: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Outage:
    """The failed probes of the signing service for one handoff. `code` and `detail` are the last one's."""

    probes: int
    first_at: datetime | None
    last_at: datetime | None
    code: str
    detail: str
    rules: Signing

    @property
    def interval(self) -> timedelta:
        """At most one probe in this time."""
        return min(timedelta(seconds=self.rules.probe_seconds // self.rules.probes), LONGEST_INTERVAL)

    @property
    def next_at(self) -> datetime | None:
        """When the next probe is due; None at once."""
        return self.last_at + self.interval if self.last_at else None

    @property
    def span(self) -> timedelta:
        """From the first failed probe to the last."""
        return self.last_at - self.first_at if self.first_at and self.last_at else timedelta()

    @property
    def is_long_enough(self) -> bool:
        """Whether the policy's number of probes failed over the policy's time."""
        return self.probes >= self.rules.probes and self.span >= timedelta(seconds=self.rules.probe_seconds)

    @property
    def may_fall_back(self) -> bool:
        """Whether the policy lets OpenPGP stand in at all."""
        return self.rules.method == "sigstore" and self.rules.fallback == "acknowledged"


def read_outage(handoff: Handoff, rules: Signing) -> Outage:
    """The failed probes so far, from the trail."""
    rows = HandoffEvent.objects.filter(handoff=handoff, event=events.SIGNING_UNAVAILABLE).order_by("created_at", "pk")
    found = list(rows.values_list("created_at", "detail"))
    last = found[-1][1] if found else {}
    return Outage(
        probes=len(found),
        first_at=found[0][0] if found else None,
        last_at=found[-1][0] if found else None,
        code=str(last.get("code", "")),
        detail=str(last.get("detail", "")),
        rules=rules,
    )


def visible_length(text: str) -> int:
    """How many characters of a text somebody can see: no spaces, no control or format characters."""
    return sum(unicodedata.category(character)[0] not in "ZC" for character in text)


@transaction.atomic(durable=True)
def acknowledge_downgrade(handoff_id: int, justification: str, *, by: Actor) -> SigningDowngrade:
    """LEAD takes it on themselves that one handoff is signed with OpenPGP because Sigstore is down.

    Raises: HandoffError, AuditError (role.not_allowed, sod.conflict).
    """
    require(by, Act.ACKNOWLEDGE_DOWNGRADE)
    handoff = Handoff.objects.select_for_update(of=("self",)).select_related("repository").get(pk=handoff_id)
    outage = read_outage(handoff, rules_in_force().signing)
    _refuse_too_early(handoff, outage)
    if visible_length(justification) < MIN_VISIBLE or len(justification) > MAX_TEXT:
        raise HandoffError(
            "downgrade.justification",
            f"got {visible_length(justification)} visible characters, expected {MIN_VISIBLE} to {MAX_TEXT}",
        )
    take_part(handoff.chain, by)
    text = store_text(ErasableText.Kind.DECISION, justification, author=by.principal_id, at=timezone.now())
    entry = record_event(
        handoff,
        events.SIGNING_DOWNGRADED,
        by,
        {
            "justification": text.digest,
            "probes": outage.probes,
            "span_seconds": int(outage.span.total_seconds()),
            "code": outage.code,
        },
    ).log_entry
    Handoff.objects.filter(pk=handoff.pk).update(next_try_at=None)
    return SigningDowngrade.objects.create(
        handoff=handoff,
        lead_id=by.principal_id,
        justification=text,
        created_at=entry.created_at,
        log_entry=entry,
    )


def _refuse_too_early(handoff: Handoff, outage: Outage) -> None:
    if handoff.status != Status.WAITING_SIGNER:
        raise HandoffError("downgrade.not_waiting", f"{handoff} is {handoff.status}, it does not wait for a signer")
    if SigningDowngrade.objects.filter(handoff=handoff).exists():
        raise HandoffError("downgrade.twice", f"the downgrade of {handoff} is acknowledged already")
    if not outage.may_fall_back:
        raise HandoffError("downgrade.policy", "the policy says fallback: never; the handoff waits for Sigstore")
    if not outage.is_long_enough:
        raise HandoffError(
            "downgrade.too_early",
            f"got {outage.probes} failed probes over {outage.span.total_seconds():.0f} s, "
            f"expected {outage.rules.probes} over {outage.rules.probe_seconds} s",
        )
