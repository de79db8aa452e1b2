"""Makes GitHub show what the projections say: found again before it is made again, written only where it differs.

In the enforcer's lane. Nothing that is read here becomes a state: what differs from what we left was tampered with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from audit.events import Actor
from handoffs.forges.protocol import ForgeError
from handoffs.github.comments import STATUS, Comment, Comments, is_same_text, notice_marker, with_marker
from handoffs.github.labels import Labels, PullFacts
from handoffs.models import GitHubRepository, Notice, Projection, ProjectionQuerySet, Tampering
from verdicts.projecting import is_owned
from verdicts.tampering import Found, Place, digest_of_text, names_of_labels, record_claims, record_repair

MAX_NOTICES = 20
OVERLAP = timedelta(minutes=2)  # GitHub's clock and ours


@dataclass(frozen=True)
class Tools:
    """One repository's comments and labels, and who acts."""

    hosted: GitHubRepository
    comments: Comments
    labels: Labels
    by: Actor


def due_projections(hosted: GitHubRepository, *, now: datetime) -> ProjectionQuerySet:
    """What is not shown as it should be, was not compared for a while, or may have been changed: an event came."""
    is_old = Q(looked_at=None) | Q(looked_at__lt=now - timedelta(seconds=settings.GITHUB_POLL_SECONDS))
    if hosted.enforcer_dirty_at is not None:
        is_old |= Q(looked_at__lt=hosted.enforcer_dirty_at)
    rows = Projection.objects.due().filter(pull_request__repository=hosted.repository)
    return rows.filter(is_old | ~Q(digest=F("applied_digest"))).select_related("pull_request__repository")


@contextmanager
def leased[M: (Projection, Notice)](row: M) -> Iterator[bool]:
    """The row for this worker alone; False if another has it. What fails is tried again, however often."""
    rows = type(row).objects
    attempt = rows.claim(row.pk, lease=timedelta(seconds=settings.LEASE_SECONDS))
    if attempt is None:
        yield False
        return
    try:
        yield True
    except ForgeError as error:
        wait = error.retry_in or timedelta(seconds=60)
        rows.release(row.pk, attempt, error=str(error), retry_in=wait, is_waiting=True)
        raise
    rows.release(row.pk, attempt)


def show(row: Projection, facts: PullFacts, tools: Tools) -> None:
    """The status comment and the labels of one pull request.

    Raises: ForgeError.
    """
    began = timezone.now()
    _show_comment(row, tools)
    _show_labels(row, facts, tools)
    Projection.objects.filter(pk=row.pk).update(applied_digest=row.digest, looked_at=began)


def _show_comment(row: Projection, tools: Tools) -> None:
    wanted = with_marker(STATUS, row.body)
    is_applied = row.applied_body == digest_of_text(wanted)
    found = _ours(row, tools, etag=row.etag if is_applied else "")
    if found is not None and found.id == row.comment_id and not found.body:
        return  # not modified
    number = row.pull_request.number
    if found is None:
        found = tools.comments.create(number, STATUS, row.body)
    if not is_same_text(found.body, wanted):
        left = digest_of_text(found.body)
        if row.applied_body and left != row.applied_body:
            edit = Found(
                Tampering.What.COMMENT,
                f"edited {found.id} {found.updated_at} {left[:16]}",
                number,
                0,
                {"comment": found.id, "did": "edited", "sha256": left},
            )
            record_repair(row, edit, "The status comment was edited by {who}; it is put back.", by=tools.by)
        found = tools.comments.edit(found.id, STATUS, row.body)
    row.comment_id, row.etag, row.applied_body = found.id, found.etag, digest_of_text(found.body)
    Projection.objects.filter(pk=row.pk).update(comment_id=row.comment_id, etag=row.etag, applied_body=row.applied_body)


def _ours(row: Projection, tools: Tools, *, etag: str) -> Comment | None:
    """The status comment as it is now, with an empty body where it was not modified; None if there is none."""
    if not row.comment_id:
        return None
    try:
        found = tools.comments.read(row.comment_id, etag=etag)
    except ForgeError as error:
        if error.code != "github.not_found":
            raise
        gone = Found(
            Tampering.What.COMMENT,
            f"deleted {row.comment_id}",
            row.pull_request.number,
            0,
            {"comment": row.comment_id, "did": "deleted"},
        )
        record_repair(row, gone, "The status comment was deleted by {who}; here it is again.", by=tools.by)
        return None
    if found is None:
        return Comment(row.comment_id, "", 0, is_bot=True, app_id=0, pull=0, created_at="", updated_at="", etag=etag)
    return found if tools.comments.is_ours(found) else None


def _show_labels(row: Projection, facts: PullFacts, tools: Tools) -> None:
    names = {label.lower(): label for label in facts.labels if is_owned(label)}
    shown, wanted, left = set(names), set(row.labels), set(row.applied_labels)
    if shown != wanted:
        if shown != left:
            _record_labels(row, shown, left, tools)
        gone = [names[label] for label in shown - wanted]
        tools.labels.change(row.pull_request.number, add=wanted - shown, remove=gone)
    if left != wanted:
        row.applied_labels = sorted(wanted)
        Projection.objects.filter(pk=row.pk).update(applied_labels=row.applied_labels)


def _record_labels(row: Projection, shown: set[str], left: set[str], tools: Tools) -> None:
    """Labels are not as we left them. What we began ourselves and did not end is nobody's tampering."""
    number = row.pull_request.number
    changes = tools.labels.last_changes(number)
    us = tools.comments.read(row.comment_id)
    by_others = sorted(
        label for label in shown ^ left if label not in changes or us is None or changes[label].actor_id != us.author_id
    )
    if not by_others:
        return
    seen = [changes[label] for label in by_others if label in changes]
    done = Found(
        Tampering.What.LABELS,
        f"labels {number} {' '.join(str(change.event_id) for change in seen) or ' '.join(by_others)}",
        number,
        seen[0].actor_id if seen else 0,
        {
            "added": names_of_labels(set(by_others) & shown),
            "removed": names_of_labels(set(by_others) & left),
            "wanted": names_of_labels(row.labels),
        },
    )
    record_repair(row, done, "Labels of the portal were changed by {who}; they are put back.", by=tools.by)


def show_notices(tools: Tools) -> int:
    """Write the short comments that are not on GitHub yet, oldest first. Returns how many.

    Raises: ForgeError.
    """
    count = 0
    rows = Notice.objects.due().filter(pull_request__repository=tools.hosted.repository).order_by("pk")
    for notice in rows.select_related("pull_request")[:MAX_NOTICES]:
        with leased(notice) as is_mine:
            if is_mine:
                made = tools.comments.create(notice.pull_request.number, notice_marker(notice.key), notice.body)
                Notice.objects.filter(pk=notice.pk).update(comment_id=made.id)
                count += 1
    return count


def look_for_claims(tools: Tools, pulls: list[PullFacts], *, since: datetime) -> int:
    """Put what only the portal says, written by others since then, on record. Returns how much is new."""

    def note(place: Place, text: str) -> bool:
        return record_claims(tools.hosted.repository, place, text, by=tools.by)

    count = 0
    for comment in tools.comments.since(since - OVERLAP):
        if not tools.comments.is_ours(comment):
            count += note(Place("comment", str(comment.id), comment.pull, comment.author_id), comment.body)
    for facts in pulls:
        for label in facts.labels:
            count += note(Place("label", label, facts.number), label)
        if facts.updated_at >= f"{since - OVERLAP:%Y-%m-%dT%H:%M:%SZ}":
            for review, author, text in tools.labels.reviews(facts.number):
                count += note(Place("review", str(review), facts.number, author), text)
    return count
