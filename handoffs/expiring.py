"""Erasing bundles: their bytes go after the time they are kept; digest, checks and signature stay for ever."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.bundles.store import BundleStore
from handoffs.models import ENDED, PULL_OPEN, Handoff, PullRequest


def expire_old_bundles(store: BundleStore, *, before: datetime, by: Actor) -> int:
    """Erase what was received before `before` and is done with, except of people under a legal hold.

    Safe to repeat: bytes are deleted first, what was deleted is recorded; a crash between the two
    deletes nothing twice.
    Returns how many.
    """
    open_pulls = PullRequest.objects.filter(status__in=PULL_OPEN).values("handoff")
    young = Handoff.objects.filter(Q(received_at__gte=before) | Q(pk__in=open_pulls)).values("digest")
    held = Q(builder__is_held=True) | Q(sponsor__is_held=True)
    old = Handoff.objects.filter(received_at__lt=before).exclude(digest="").exclude(held).exclude(digest__in=young)
    done = old.filter(Q(status__in=ENDED) | Q(pull_request__isnull=False))
    erased = [digest for digest in dict.fromkeys(done.values_list("digest", flat=True)) if store.delete(digest)]
    if erased:
        body: dict[str, JsonValue] = {
            "bundles": list(erased[:1000]),
            "count": len(erased),
            "before": before.isoformat(),
        }
        with transaction.atomic(durable=True):
            append_event(events.BUNDLES_ERASED, by, "", body)
    return len(erased)
