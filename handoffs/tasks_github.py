"""Celery tasks of the enforcer's App: deliveries, looking at repositories, and asking GitHub for what did not arrive.

An event makes somebody look; the beat would have made them look anyway.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from celery import shared_task
from django.conf import settings
from django.db import OperationalError
from django.db.models import F, Q
from django.db.models.functions import Now

from handoffs.deliveries import forget_deliveries, give_up, process_delivery
from handoffs.forges.protocol import ForgeError
from handoffs.git.process import GitError
from handoffs.github.admission import Outcome
from handoffs.github.events import Wake
from handoffs.github.failures import wait_after
from handoffs.hosting import Side
from handoffs.models import GitHubRepository, HandoffError, StaleStatusError, WebhookDelivery
from handoffs.reconciling import reconcile_repository
from handoffs.redelivering import ask_again
from handoffs.scope.secrets import redact
from handoffs.tasks import enforcer, nudge

log = logging.getLogger(__name__)
AT_ONCE: Final = 500
AGAIN: Final = timedelta(seconds=60)  # after an error that does not say when to come again
ANSWER: Final = "verdicts.tasks_projecting.sweep_requests"
PUBLISH: Final = "verdicts.tasks_publishing.sweep_publishing"


@shared_task(ignore_result=True)
def take_deliveries() -> int:
    """Process the deliveries that wait, oldest first, then wake who has to look. Returns how many were processed."""
    by, wakes, count = enforcer(), set[Wake](), 0
    for pk in list(WebhookDelivery.objects.abandoned().values_list("pk", flat=True)[:AT_ONCE]):
        give_up(pk, why="its worker died each time")
    for pk in list(WebhookDelivery.objects.due().order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        attempt = WebhookDelivery.objects.claim(pk, lease=timedelta(seconds=settings.LEASE_SECONDS))
        if attempt is None:
            continue
        try:
            outcome: Outcome = process_delivery(WebhookDelivery.objects.get(pk=pk), attempt, by=by)
        except (StaleStatusError, OperationalError) as error:
            log.warning("delivery %s lost its place: %s", pk, error)
            continue
        except Exception as error:
            wait = timedelta(seconds=2**attempt)
            WebhookDelivery.objects.release(pk, attempt, error=repr(error), retry_in=wait)
            raise
        wakes |= outcome.wakes
        count += 1
    if count == AT_ONCE:
        nudge("handoffs.tasks_github.take_deliveries")
    if Wake.RECONCILE in wakes:
        nudge("handoffs.tasks_github.sweep_github")
        nudge(ANSWER)
    if Wake.PUBLISH in wakes:
        nudge(PUBLISH)
    return count


@shared_task(ignore_result=True)
def sweep_github() -> int:
    """Wake a worker for deliveries, and for each repository that events came for or nobody looked at for a minute."""
    if WebhookDelivery.objects.due().exists():
        nudge("handoffs.tasks_github.take_deliveries")
    due = GitHubRepository.objects.enforcer_due(seconds=settings.GITHUB_POLL_SECONDS)
    found = list(due.values_list("repository_id", flat=True)[:AT_ONCE])
    for pk in found:
        nudge("handoffs.tasks_github.reconcile", pk)
    return len(found)


@shared_task(ignore_result=True)
def reconcile(repository_id: int) -> str:
    """Look at one repository on GitHub and repair what the portal knows of it; one worker at a time."""
    rows = GitHubRepository.objects.filter(repository_id=repository_id)
    free = Q(enforcer_next_try_at=None) | Q(enforcer_next_try_at__lte=Now())
    if not rows.filter(free).update(enforcer_next_try_at=Now() + timedelta(seconds=settings.LEASE_SECONDS)):
        return "not mine"
    began = rows.values_list(Now(), flat=True).get()
    hosted = rows.select_related("repository").get()
    try:
        reconcile_repository(hosted, by=enforcer())
    except (ForgeError, GitError, HandoffError, StaleStatusError) as error:
        away = began - (hosted.enforcer_looked_at or hosted.created_at)
        wait = (wait_after(error, away=away) if isinstance(error, ForgeError) else None) or AGAIN
        said = redact(str(error))[:2000]
        rows.update(enforcer_next_try_at=Now() + wait, enforcer_error=said)
        log.warning("%s cannot be looked at: %s", hosted, said)
        return "failed"
    except Exception as error:
        rows.update(enforcer_next_try_at=Now() + AGAIN, enforcer_error=redact(repr(error))[:2000])
        raise
    rows.update(enforcer_next_try_at=None, enforcer_looked_at=began, enforcer_error="")
    nudge("handoffs.tasks.sweep_staging")
    nudge("verdicts.tasks.sweep_verification")
    if rows.filter(enforcer_dirty_at__gt=F("enforcer_looked_at")).exists():
        nudge("handoffs.tasks_github.reconcile", repository_id)
    return "done"


@shared_task(ignore_result=True)
def sweep_failed_deliveries() -> int:
    """Have GitHub deliver again what it could not deliver to the enforcer's App."""
    return ask_again(Side.ENFORCER)


@shared_task(ignore_result=True)
def erase_deliveries() -> int:
    """Delete what is left of deliveries that are too old to come again; the beat calls it every day."""
    return forget_deliveries(older_than=timedelta(days=settings.RETENTION_DELIVERY_DAYS))
