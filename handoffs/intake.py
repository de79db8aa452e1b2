"""The door of the enforcer lane: noticing a builder's commit, and refusing what is too much or known already.

Source: BUN-09, BUN-10 and MRK-04 of the threat list.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from audit import events
from audit.events import Actor
from handoffs.actions import record_event
from handoffs.bundles.markers import marker_in
from handoffs.forges.protocol import StagingCommit
from handoffs.lane import rules_in_force
from handoffs.models import ENDED, Handoff, HandoffError, PullRequest, PullStatus, Repository, Status
from handoffs.scope.secrets import redact
from handoffs.signatures.commit_signatures import CODE as UNSIGNED
from handoffs.signatures.commit_signatures import signer_of
from handoffs.signatures.refusals import RefusedError

# Refused before anything was read: such a handoff takes no place among the resubmissions of its branch.
AT_THE_DOOR: Final = ("intake.duplicate", "quota.handoffs", "quota.bytes", UNSIGNED)


@transaction.atomic(durable=True)
def receive_handoff(repository: Repository, staging: StagingCommit, *, by: Actor) -> Handoff | None:
    """Note a builder's commit. Returns None when it is known. A newer commit supersedes the branch's older handoff.

    A bundle that is on its way already, and one over the hour's quota, is refused at the door: it supersedes nothing
    and not one of its bytes is read. Where the policy asks for signed pushes, a commit that no builder's key signed is
    quarantined there, unread, too, and so is a credential in the branch's name.
    """
    repository = Repository.objects.select_for_update().get(pk=repository.pk)
    if Handoff.objects.filter(repository=repository, staging_commit=staging.commit).exists():
        return None
    branch = redact(staging.branch)
    refusal = _refusal(repository, staging)
    ended = Handoff.objects.filter(repository=repository, staging_branch=branch, next=None)
    previous = None if refusal else ended.exclude(refusal_code__in=AT_THE_DOOR).first()
    handoff = Handoff.objects.create(
        repository=repository,
        staging_branch=branch,
        staging_commit=staging.commit,
        artifact_blob=staging.artifact,
        size_bytes=0 if refusal else staging.artifact_bytes,
        title=redact(staging.subject.partition("] ")[2])[:200] or branch,
        previous=previous,
        chain=f"{repository.full_name}:{branch}"[:200],
    )
    if previous is not None:
        _supersede(previous, handoff, by)
    record_event(
        handoff,
        events.HANDOFF_RECEIVED,
        by,
        {"branch": branch, "commit": staging.commit},
        marker=marker_in(staging.subject),
    )
    if branch != staging.branch:
        _end(handoff, Status.QUARANTINED, "secrets.none", "a credential in the branch's name", by)
    elif refusal is not None:
        status = Status.QUARANTINED if refusal.code == UNSIGNED else Status.REFUSED
        _end(handoff, status, refusal.code, refusal.detail, by)
    return handoff


def _end(handoff: Handoff, status: Status, code: str, detail: str, by: Actor) -> None:
    """End a handoff before anything of it was read."""
    event = events.HANDOFF_REFUSED if status is Status.REFUSED else events.HANDOFF_QUARANTINED
    Handoff.objects.move(handoff.pk, old=Status.RECEIVED, new=status, refusal_code=code)
    record_event(handoff, event, by, {"failed": [code], "detail": detail})


def _refusal(repository: Repository, staging: StagingCommit) -> HandoffError | None:
    """Why a bundle is not taken in at all. The caller holds the repository's row, so that nobody slips past."""
    rules, now = rules_in_force(), timezone.now()
    if rules.staging.push == "signed":
        try:
            signer_of(staging.raw, rules.staging.keys, now)
        except RefusedError as error:
            return HandoffError(error.code, error.detail)
    rows, quota = Handoff.objects.filter(repository=repository), rules.hourly_quota
    hour = rows.filter(received_at__gt=now - timedelta(hours=1)).exclude(refusal_code__startswith="quota.")
    hour = hour.exclude(refusal_code=UNSIGNED)  # so that nobody uses up what is the builders'
    used = hour.aggregate(handoffs=Count("pk"), bytes=Sum("size_bytes", default=0))
    if used["handoffs"] >= quota.handoffs:
        detail = f"got {used['handoffs']} handoffs within an hour, expected {quota.handoffs} at most; hand over later"
        return HandoffError("quota.handoffs", detail)
    if staging.artifact and rows.filter(artifact_blob=staging.artifact).exclude(status__in=ENDED).exists():
        return HandoffError("intake.duplicate", "got a bundle that is on its way already, byte for byte")
    total = used["bytes"] + staging.artifact_bytes
    if total > quota.bytes:
        detail = f"got {total} bytes within an hour, expected {quota.bytes} at most; hand over later"
        return HandoffError("quota.bytes", detail)
    return None


def _supersede(previous: Handoff, handoff: Handoff, by: Actor) -> None:
    """The branch moved on: its older handoff ends, and its open pull request waits for the new bundle."""
    if previous.status not in ENDED:
        Handoff.objects.move(previous.pk, old=Status(previous.status), new=Status.SUPERSEDED)
        record_event(previous, events.HANDOFF_SUPERSEDED, by, {"by": str(handoff)})
    pull = PullRequest.objects.is_open().filter(handoff=previous).first()
    if pull is not None and pull.status != PullStatus.NEEDS_REVISION:
        PullRequest.objects.move(pull.pk, old=PullStatus(pull.status), new=PullStatus.NEEDS_REVISION)
