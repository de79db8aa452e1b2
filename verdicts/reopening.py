"""What makes a judgement stale: the base moved, an approval ran out, a signature no longer holds, worse news came."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from audit import events
from audit.actions import append_event
from audit.events import Actor
from handoffs.models import PullRequest, PullStatus
from verdicts import evidence
from verdicts.models import VerificationWork, WorkStatus

JUDGED = (PullStatus.READY_TO_MERGE, PullStatus.GATES_PASSING, PullStatus.LEAD_REVIEW)


@transaction.atomic(durable=True)
def move_base(pull_id: int, *, base_sha: str, merge_tree: str, by: Actor) -> bool:
    """The protected branch moved: every verdict is stale, the gates run again. `merge_tree` empty: it conflicts."""
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.base_sha == base_sha or pull.status not in JUDGED:
        return False
    new = PullStatus.GATES_PASSING if merge_tree else PullStatus.NEEDS_REVISION
    changes = {"base_sha": base_sha, "triggered_at": None, "deadline_at": None, "merge_sha": ""}
    if merge_tree:
        changes["merge_tree"] = merge_tree
    if pull.status == new:
        PullRequest.objects.filter(pk=pull.pk).update(**changes)
    else:
        PullRequest.objects.move(pull.pk, old=PullStatus(pull.status), new=new, **changes)
    append_event(
        events.VERDICT_STALE,
        by,
        subject_of(pull),
        {"old_base": pull.base_sha, "new_base": base_sha, "conflict": not merge_tree},
    )
    return True


@transaction.atomic(durable=True)
def expire_approval(pull_id: int, *, by: Actor) -> bool:
    """Take a release back whose approval ran out before anybody merged: a broken glass closes by itself."""
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.status != PullStatus.READY_TO_MERGE or evidence.released_judgement(pull) is not None:
        return False
    PullRequest.objects.move(pull.pk, old=PullStatus.READY_TO_MERGE, new=PullStatus.GATES_PASSING, merge_sha="")
    append_event(events.APPROVAL_EXPIRED, by, subject_of(pull), {"pr": pull.number, "head": pull.head_sha})
    return True


def distrust_bundle(pull: PullRequest, why: str, by: Actor) -> None:
    """The signature of a pull request's bundle no longer holds: run the SLSA gate again, and take a release back.

    In the caller's transaction, on the locked row. Without weighing anything: who revokes a key may be of the
    enforcer's lane, which sees no gates.
    """
    verify_signature_again(pull)
    if pull.status == PullStatus.READY_TO_MERGE:
        _reopen(pull, why, by, computed="", news=[why])


def verify_signature_again(pull: PullRequest) -> None:
    """Run the SLSA gate once more, in the caller's transaction, on the locked row; once, if it waits to run already."""
    waiting = pull.work.filter(name="slsa", head_sha=pull.head_sha, status=WorkStatus.WAITING)
    if pull.triggered_at is not None and pull.status in JUDGED and not waiting.exists():
        VerificationWork.objects.create(
            pull_request=pull,
            head_sha=pull.head_sha,
            round=pull.round,
            kind=VerificationWork.Kind.GATE,
            name="slsa",
            run=1 + (pull.work.aggregate(newest=Max("run"))["newest"] or 0),
        )


def reopen_if_worse(pull: PullRequest, why: str, by: Actor) -> None:
    """Anything that speaks against the merge and was not known when it was released takes the permission away.

    In the caller's transaction. The whole judgement is made again: what a reporter calls its result decides nothing,
    and news of the same weight as what LEAD accepted is news all the same.
    """
    if pull.status != PullStatus.READY_TO_MERGE:
        return
    now = evidence.gather(pull, tree=pull.handoff.result_tree).judgement
    news = evidence.news_since(evidence.released_judgement(pull), now)
    if news:
        said = now.verdict.value if now.verdict else ""
        _reopen(pull, why, by, computed=said, news=[reason.sentence for reason in news[:20]])


def _reopen(pull: PullRequest, why: str, by: Actor, *, computed: str, news: list[str]) -> None:
    PullRequest.objects.move(pull.pk, old=PullStatus.READY_TO_MERGE, new=PullStatus.GATES_PASSING, merge_sha="")
    append_event(events.VERDICT_STALE, by, subject_of(pull), {"why": why, "computed": computed, "news": [*news]})


def subject_of(pull: PullRequest) -> str:
    """What the trail calls a pull request's acts: its handoff."""
    return f"H-{pull.handoff_id}"
