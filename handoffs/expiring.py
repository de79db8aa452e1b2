"""Erasing bundles: their bytes go after the time they are kept; digest, checks and signature stay for ever."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.bundles.store import BundleStore
from handoffs.models import ENDED, PULL_OPEN, Handoff, PullRequest


def expire_old_bundles(store: BundleStore, *, before: datetime, by: Actor) -> int:
    """Erase what was received before `before` and is done with, except of people under a legal hold.

    Safe to repeat: the rows name the entry that says so first, then the bytes are deleted; what a crash left of them
    goes the next time.
    Returns how many were deleted.
    """
    done = _done(before)
    digests = dict.fromkeys(done.values_list("digest", flat=True))
    due = [digest for digest in digests if store.holds(digest)]
    if due:
        _record(done.filter(digest__in=due, erase_entry=None), before, by)
    return sum(store.delete(digest) for digest in due)


def _done(before: datetime) -> QuerySet[Handoff]:
    """Handoffs whose bundle nobody needs: no other one with the same bytes is young, open or held."""
    open_pulls = PullRequest.objects.filter(status__in=PULL_OPEN).values("handoff")
    held = Q(builder__is_held=True) | Q(sponsor__is_held=True)
    waiting = ~Q(status__in=ENDED) & Q(pull_request=None)
    needed = Handoff.objects.filter(Q(received_at__gte=before) | Q(pk__in=open_pulls) | held | waiting)
    return Handoff.objects.exclude(digest="").exclude(digest__in=needed.values("digest"))


@transaction.atomic(durable=True)
def _record(rows: QuerySet[Handoff], before: datetime, by: Actor) -> None:
    found = dict(rows.select_for_update().order_by("pk").values_list("pk", "digest"))
    if not found:
        return
    erased = list(dict.fromkeys(found.values()))
    body: dict[str, JsonValue] = {
        "bundles": [*erased[:1000]],
        "count": len(erased),
        "before": before.isoformat(),
    }
    Handoff.objects.filter(pk__in=found).update(erase_entry=append_event(events.BUNDLES_ERASED, by, "", body))
