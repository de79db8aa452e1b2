"""What becomes of a webhook delivery: who is woken for it, what was asked for, or why it is refused.

One transaction without the network: marks, request, entry of the log and the delivery's end commit together, and each
of them is the same when it comes again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from audit import events
from audit.actions import append_event
from audit.canonical import JsonError
from audit.events import Actor
from audit.models import LogEntry
from handoffs.github.admission import Outcome, Subscription, Taken, admit
from handoffs.github.events import Asked, AskedKind, Event, EventError, Ignored, Wake, parse_event
from handoffs.models import (
    DeliveryStatus,
    GitHubApp,
    GitHubRepository,
    GitHubRequest,
    StaleStatusError,
    WebhookDelivery,
)

AUDIT_EVERY: Final = timedelta(hours=1)
MOST_AUDITED: Final = 20  # in that time: an App that sees a whole organisation hears of hundreds of other repositories


@transaction.atomic(durable=True)
def process_delivery(delivery: WebhookDelivery, attempt: int, *, by: Actor) -> Outcome:
    """Do what a delivery asks for, and erase its body.

    Raises: StaleStatusError if another run took it meanwhile.
    """
    found: Event | Ignored | None = None
    try:
        found = parse_event(delivery.event, bytes(delivery.body or b""))
        outcome = admit(found, _subscriptions(GitHubApp(delivery.app), found))
    except (EventError, JsonError) as error:
        outcome = Outcome(Taken.REFUSED, error.code)
    if isinstance(found, Event):
        if outcome.taken is Taken.REFUSED:
            _audit_foreign(delivery, found, outcome.code, by)
        mark_dirty(outcome.repositories, outcome.wakes)
        if outcome.asked is not None:
            _keep_request(found.repository_id, outcome.asked)
    ended = WebhookDelivery.objects.open().filter(pk=delivery.pk, attempts=attempt).update(
        status=DeliveryStatus(outcome.taken.value),
        code=outcome.code[:60],
        action=found.action if found else "",
        repository_id=found.repository_id if isinstance(found, Event) else 0,
        body=None,
        processed_at=Now(),
        lease_until=None,
        error="",
    )  # fmt: skip
    if ended != 1:
        raise StaleStatusError(f"delivery {delivery.pk} was taken by another run")
    return outcome


def mark_dirty(github_ids: frozenset[int], wakes: frozenset[Wake]) -> None:
    """Note that these repositories have to be looked at, for a worker whose nudge is lost."""
    marks = {Wake.RECONCILE: "enforcer_dirty_at", Wake.PUBLISH: "gate_dirty_at"}
    if github_ids and wakes:
        rows = GitHubRepository.objects.filter(github_id__in=github_ids)
        rows.update(**{marks[wake]: Now() for wake in wakes})


def _subscriptions(app: GitHubApp, found: Event | Ignored) -> frozenset[Subscription]:
    """What this App is installed for, as far as the event is about it."""
    if isinstance(found, Ignored):
        return frozenset()
    column = "enforcer_installation" if app is GitHubApp.ENFORCER else "gate_installation"
    about = Q(github_id=found.repository_id) if found.repository_id else Q(**{column: found.installation_id})
    rows = GitHubRepository.objects.filter(about).values_list("github_id", column)
    return frozenset(Subscription(github_id, installation) for github_id, installation in rows)


def _keep_request(github_id: int, asked: Asked) -> None:
    repository_id = GitHubRepository.objects.values_list("repository_id", flat=True).get(github_id=github_id)
    request = GitHubRequest(
        repository_id=repository_id,
        kind=GitHubRequest.Kind(asked.kind.value),
        key=asked.key,
        pull_number=asked.pull,
        remote_id=asked.remote_id,
        head_sha=asked.head_sha,
        actor_id=asked.actor_id,
        text="" if asked.kind is AskedKind.COMMAND else asked.text,  # a comment is read again; its words stay there
        is_edited=asked.is_edited,
    )
    GitHubRequest.objects.bulk_create([request], ignore_conflicts=True)


def _audit_foreign(delivery: WebhookDelivery, event: Event, code: str, by: Actor) -> None:
    """One entry for each kind of refusal and repository in an hour, and not more than some altogether."""
    subject = f"github:{event.repository_id or event.installation_id} {code}"
    recent = LogEntry.objects.filter(kind=events.WEBHOOK_REFUSED, created_at__gt=Now() - AUDIT_EVERY)
    if recent.filter(subject=subject).exists() or recent.count() >= MOST_AUDITED:
        return
    append_event(
        events.WEBHOOK_REFUSED,
        by,
        subject,
        {
            "code": code,
            "app": delivery.app,
            "event": event.kind,
            "action": event.action,
            "github_id": event.repository_id,
            "installation": event.installation_id,
            "head_repository": event.head_repository_id,
            "head": event.head_sha,
        },
    )


def give_up(delivery_id: int, *, why: str) -> None:
    """A delivery that failed too often ends; what it was about is found by the next look at GitHub."""
    WebhookDelivery.objects.abandoned().filter(pk=delivery_id).update(
        status=DeliveryStatus.FAILED, code="delivery.gave_up", body=None, processed_at=Now(), error=why[:2000]
    )


def forget_deliveries(*, older_than: timedelta) -> int:
    """Delete the rows of deliveries that ended so long ago that GitHub does not deliver them again."""
    old = WebhookDelivery.objects.exclude(status=DeliveryStatus.STORED).filter(received_at__lt=Now() - older_than)
    return old.delete()[0]
