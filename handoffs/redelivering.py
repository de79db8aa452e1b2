"""Asking GitHub again for what it could not deliver: by itself it redelivers nothing."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from handoffs.forges.protocol import ForgeError
from handoffs.github.hook_deliveries import deliver_again, find_failed, list_attempts
from handoffs.hosting import Side, connect
from handoffs.models import GitHubRepository, WebhookDelivery

log = logging.getLogger(__name__)
KEPT: Final = timedelta(days=3)  # by GitHub
AT_ONCE: Final = 50


def ask_again(side: Side, *, now: datetime | None = None) -> int:
    """Have each event that GitHub still has and that did not arrive delivered again. Returns how many.

    Runs in the worker that holds the App's key. With a token there is no App, and so no webhook of one.
    """
    hosted = GitHubRepository.objects.filter(gate_installation__gt=0).order_by("pk").first()
    if hosted is None:
        return 0
    now, count = now or timezone.now(), 0
    try:
        with connect(hosted, side).as_app() as app:
            failed = find_failed(list_attempts(app, since=now - KEPT))
            guids = [one.guid for one in failed]
            rows = WebhookDelivery.objects.filter(app=side.value, delivery_id__in=guids)
            stored = set(rows.values_list("delivery_id", flat=True))
            for one in [one for one in failed if one.guid not in stored and one.is_due(now)][:AT_ONCE]:
                deliver_again(app, one)
                count += 1
    except ForgeError as error:
        log.warning("failed deliveries of leo-%s cannot be asked for again: %s", side, error)
    return count
