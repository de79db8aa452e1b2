"""Rounds of verification: sub-agents that disagree judge again, and PLAN has everything run once more."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, take_part
from audit.events import Actor
from handoffs.models import Handoff, PullRequest, PullStatus
from verdicts import evidence
from verdicts.models import VerdictError, VerificationWork
from verdicts.policy import disagreements, parse_policy
from verdicts.reopening import JUDGED, subject_of
from verdicts.subagents import AGENTS

BUILT_IN_GATES = ("slsa", "policy-bundle")


def start_round(pull: PullRequest, by: Actor) -> None:
    """With the last result, let disagreeing sub-agents judge again with each other's findings.

    In that result's transaction, on the locked row: a worker that dies cannot lose the round. At most the policy's.
    """
    policy = parse_policy(evidence.policy_in_force().document.encode())
    if pull.triggered_at is None or pull.status != PullStatus.GATES_PASSING or pull.round >= policy.max_rounds:
        return
    if evidence.has_work_left(pull):
        return
    found = disagreements(evidence.gather(pull, tree="").inputs.results, policy)
    kinds = sorted({kind.value for item in found for kind in (item.passed, item.failed)})
    if not kinds:
        return
    pull.round += 1
    pull.save(update_fields=["round"])
    run = pull.work.aggregate(newest=Max("run"))["newest"] or 1
    VerificationWork.objects.bulk_create(
        VerificationWork(
            pull_request=pull,
            head_sha=pull.head_sha,
            round=pull.round,
            kind=VerificationWork.Kind.AGENT,
            name=kind,
            run=run,
        )
        for kind in kinds
    )
    append_event(events.ROUND_STARTED, by, subject_of(pull), {"round": pull.round, "agents": list(kinds)})


@transaction.atomic(durable=True)
def verify_again(pull_id: int, *, by: Actor) -> int:
    """PLAN has all five sub-agents and the built-in gates run on this head once more.

    Returns how many pieces of work were queued; 0 when they are queued already.
    """
    return queue_verification(pull_id, by=by)


def queue_verification(pull_id: int, *, by: Actor) -> int:
    """`verify_again` in the caller's transaction.

    Raises: AuditError("role.not_allowed"), ("sod.conflict"); VerdictError("verification.not_now").
    """
    require(by, Act.RUN_VERIFICATION)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.triggered_at is None or pull.status not in JUDGED:
        raise VerdictError("verification.not_now", f"PR-{pull.number} is {pull.label}; nothing can be verified on it")
    take_part(Handoff.objects.get(pk=pull.handoff_id).chain, by)
    if evidence.has_work_left(pull):
        return 0
    run = 1 + (pull.work.aggregate(newest=Max("run"))["newest"] or 0)
    names = [(VerificationWork.Kind.GATE, gate) for gate in BUILT_IN_GATES]
    names += [(VerificationWork.Kind.AGENT, kind.value) for kind in AGENTS]
    VerificationWork.objects.bulk_create(
        VerificationWork(pull_request=pull, head_sha=pull.head_sha, round=pull.round, kind=kind, name=name, run=run)
        for kind, name in names
    )
    append_event(events.ROUND_STARTED, by, subject_of(pull), {"round": pull.round, "agents": [n for _, n in names]})
    return len(names)
