"""Celery tasks that read the rules of governed repositories, in the publisher's lane.

Who publishes looks whether it means anything; the enforcer, whose changes the rules hold back, does not judge them.

Each repository is read each minute, and at once when an event about it came. A message only wakes a worker.
Source: GATE-08 and GATE-16 of the threat list: a difference is seen within 120 seconds.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from celery import shared_task
from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from audit.actions import actor_of
from audit.models import Principal
from handoffs.forges.protocol import ForgeError
from handoffs.github.onboarding import check_onboarding
from handoffs.github.rules import Reader, Remembered, read_live
from handoffs.hosting import Side, connect
from handoffs.models import GitHubRepository
from handoffs.models import Reader as Who
from handoffs.protecting import expected_of, newest_expectation, note_unread, record_reading
from handoffs.scope.secrets import redact
from verdicts.evidence import VERIFIER

log = logging.getLogger(__name__)
# What GitHub gave with which ETag, by repository; a worker that starts anew asks once more.
_remembered: Final[dict[int, Remembered]] = {}


def due_for_reading(*, seconds: float) -> QuerySet[GitHubRepository]:
    """Enrolled repositories whose rules nobody has read for so long, or not since an event about them came."""
    read_at = "repository__protection_watch__read_at"
    is_old = Q(**{read_at: None}) | Q(**{f"{read_at}__lt": Now() - timedelta(seconds=seconds)})
    is_news = Q(gate_dirty_at__gt=F(read_at)) | Q(enforcer_dirty_at__gt=F(read_at))
    rows = GitHubRepository.objects.reachable("gate").filter(gate_app__gt=0)  # a trial has no rules to read
    enrolled = rows.filter(repository__expectations__isnull=False)
    return enrolled.filter(is_old | is_news).distinct().order_by("pk")


@shared_task(ignore_result=True)
def sweep_protection() -> int:
    """Read the rules of every repository that is due. Returns how many were read."""
    due = due_for_reading(seconds=settings.GITHUB_POLL_SECONDS * 0.75)
    return sum(watch_protection(repository_id) for repository_id in due.values_list("repository_id", flat=True)[:100])


@shared_task(ignore_result=True)
def watch_protection(repository_id: int) -> bool:
    """Read the rules of one repository and record what is news. Safe to run twice. False: they could not be read."""
    hosted = GitHubRepository.objects.select_related("repository").get(repository_id=repository_id)
    expectation = newest_expectation(hosted.repository)
    if expectation is None:
        return False
    try:
        connection = connect(hosted, Side.GATE)
        expected, reader = expected_of(expectation), Reader(connection, _remembered.setdefault(repository_id, {}))
        live = read_live(reader, hosted.full_name, expected, secrets_set={})
    except ForgeError as error:
        note_unread(hosted.repository, redact(str(error)))
        log.warning("rules of repository %s could not be read: %s", repository_id, error.code)
        return False
    findings = check_onboarding(expected, live, now=timezone.now())
    record_reading(expectation, findings, reader=Who.APP, by=actor_of(Principal.objects.get(name=VERIFIER)))
    return True
