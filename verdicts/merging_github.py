"""Merging on GitHub: the enforcer's worker asks for what a decider intended, and records what landed.

Nothing is merged because a row once said so: the database is asked again whether the release is live and covered by a
signed checkpoint, GitHub is told which head is meant, and its own rules have the last word.
"""

from __future__ import annotations

import logging

from django.db import connection as database
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.events import Actor, Role
from handoffs.clocks import current_skew
from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection
from handoffs.github.pulls import Merge, PullFacts, branch_tip, merge_pull, one_pull
from handoffs.models import GitHubRepository, Handoff, PullRequest, PullStatus, RemotePull
from handoffs.protecting import expected_of, newest_expectation
from verdicts.landing import intent_of
from verdicts.landing_rows import LandedCommit
from verdicts.merging import Landing, land
from verdicts.models import MergeIntent

log = logging.getLogger(__name__)


def waiting_intents(hosted: GitHubRepository) -> list[MergeIntent]:
    """What a decider asked to merge, while it still is what the pull request is."""
    rows = MergeIntent.objects.filter(
        merge_sha="",
        pull_request__repository=hosted.repository,
        pull_request__status=PullStatus.READY_TO_MERGE,
        pull_request__head_sha=F("head_sha"),
        pull_request__base_sha=F("base_sha"),
    )
    return list(rows.select_related("pull_request").order_by("pk"))


def merge_intended(intent: MergeIntent, hosted: GitHubRepository, connection: Connection) -> bool:
    """Ask GitHub to merge exactly this head; looked for before it is asked for. True: GitHub has merged it.

    Raises: ForgeError when GitHub cannot be asked.
    """
    pull = intent.pull_request
    if refusal := refusal_to_merge(pull.pk):
        log.warning("%s %s is not merged: %s", hosted, pull, refusal)
        return False
    found = one_pull(connection, hosted.full_name, pull.number)
    if found.merged_at is None:
        if moved := _moved(intent, found, branch_tip(connection, hosted.full_name, pull.base_ref)):
            return _refused(hosted, pull, moved)
        title = f"Merge PR-{pull.number}: {pull.title}"
        try:
            wanted = Merge(intent.head_sha, title, intent.trailers, merge_method_of(hosted))
            merge_pull(connection, hosted.full_name, pull.number, wanted)
        except ForgeError as error:
            if error.code not in {"github.conflict", "github.not_mergeable"}:
                raise
            return _refused(hosted, pull, error.detail)
    GitHubRepository.objects.filter(pk=hosted.pk).update(enforcer_dirty_at=Now())
    return True


def merge_method_of(hosted: GitHubRepository) -> str:
    """The one way in which this repository takes pull requests, as it was put under the portal."""
    expectation = newest_expectation(hosted.repository)
    return expected_of(expectation).merge_method if expectation is not None else "merge"


def _moved(intent: MergeIntent, found: PullFacts, tip: str) -> str:
    """Why this is not the merge that was judged; empty if it is. GitHub is told the head alone; rules may be off."""
    if found.base_ref != intent.pull_request.base_ref:
        return f"it merges into {found.base_ref} now, and was judged for {intent.pull_request.base_ref}"
    if tip != intent.base_sha:
        return f"{found.base_ref} is at {tip[:12]}, and it was judged on {intent.base_sha[:12]}"
    return ""


def _refused(hosted: GitHubRepository, pull: PullRequest, why: str) -> bool:
    rows = RemotePull.objects.filter(repository=hosted.repository, number=pull.number)
    rows.update(merge_refusal=why[:2000])
    log.warning("%s %s is not merged on GitHub: %s", hosted, pull, why)
    return False


def refusal_to_merge(pull_id: int) -> str:
    """Why the database says that this pull request may not merge now; empty if it may."""
    if skew := current_skew():
        return f"clock.skew: {skew}"
    with database.cursor() as cursor:
        cursor.execute("SELECT leo_may_merge(%s)", [pull_id])
        return str(cursor.fetchone()[0])


def record_landed(hosted: GitHubRepository, *, by: Actor) -> int:
    """Rows of pull requests whose commit was classed become merged. Returns how many."""
    rows = LandedCommit.objects.filter(repository=hosted.repository, is_brought=False, pull_request__isnull=False)
    waiting = rows.exclude(pull_request__status=PullStatus.MERGED).order_by("pk")
    return len([row for row in waiting if row.pull_request_id and _record(row, row.pull_request_id, by)])


@transaction.atomic(durable=True)
def _record(landed: LandedCommit, pull_id: int, enforcer: Actor) -> bool:
    """One of them. What nothing released is merged all the same; the log has it as a bypass, not as a merge of ours."""
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.status == PullStatus.MERGED:
        return False
    if not landed.is_released:
        PullRequest.objects.move(
            pull.pk,
            old=PullStatus(pull.status),
            new=PullStatus.MERGED,
            merge_sha=landed.commit,
            merged_at=landed.merged_at or landed.seen_at,
        )
        return True
    own = Handoff.objects.filter(repository=pull.repository_id, applied_commit=landed.head_sha).order_by("-pk").first()
    intent = intent_of(landed)
    by = Actor(intent.actor_id, intent.actor.name, Role(intent.role)) if intent else enforcer
    landing = Landing(own.pk if own else pull.handoff_id, landed.commit, landed.head_sha, landed.base_sha)
    return land(pull, landing, by=by)
