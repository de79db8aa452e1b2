"""Writes what GitHub should show of each pull request, from the portal's rows. In the verifier's lane, which sees them.

A row is written only where it differs, so that nothing is sent to GitHub for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from handoffs.models import (
    PULL_OPEN,
    GitHubRepository,
    Notice,
    Projection,
    PullRequest,
    PullRequestQuerySet,
    Repository,
)
from verdicts import evidence
from verdicts.models import Decision, DecisionKind, Verdict
from verdicts.policy import parse_policy
from verdicts.projecting import Facts, Said, notices_of, project
from verdicts.queueing import Glance, for_glance, glance_at
from verdicts.results import GateOutcome

AT_ONCE = 500


def on_github() -> PullRequestQuerySet:
    """Pull requests of repositories on GitHub that are open, or ended since they were last shown."""
    is_behind = (
        Q(projection=None)
        | ~Q(projection__digest=F("projection__applied_digest"))
        | Q(projection__composed_at__lt=F("moved_at"))
    )
    rows = PullRequest.objects.filter(repository__forge=Repository.Forge.GITHUB)
    return rows.filter(Q(status__in=PULL_OPEN) | is_behind)


def compose(rows: PullRequestQuerySet, *, portal_url: str) -> int:
    """Write what GitHub should show of these pull requests, the newest first. Returns how many rows changed."""
    pulls = list(for_glance(rows).order_by("-pk")[:AT_ONCE])
    return sum(_write(glance.pull, facts) for glance, facts in facts_of(pulls, portal_url=portal_url)) if pulls else 0


def facts_of(pulls: Sequence[PullRequest], *, portal_url: str) -> Iterable[tuple[Glance, Facts]]:
    """What the rows say of pull requests that were loaded `for_glance`, in a fixed number of queries for all."""
    version = evidence.policy_in_force()
    policy = parse_policy(version.document.encode())
    said = _said(pulls)
    trials = set(GitHubRepository.objects.filter(gate_installation=0).values_list("repository_id", flat=True))
    for glance in glance_at(pulls):
        pull = glance.pull
        done = evidence.gate_executions(pull, policy)
        yield (
            glance,
            Facts(
                label=pull.label,
                status=pull.status,
                head_sha=pull.head_sha,
                round=pull.round,
                policy=version.number,
                address=f"{portal_url}/prs/{pull.repository.full_name}/{pull.number}/",
                judgement=glance.judgement,
                gates=tuple(
                    (gate.key, GateOutcome(done[gate.key].conclusion) if gate.key in done else GateOutcome.MISSING)
                    for gate in policy.input_gates
                ),
                said=tuple(said.get(pull.pk, ())),
                has_work_left=evidence.has_work_left(pull),
                is_timed_out=pull.timed_out_at is not None,
                is_separated=pull.repository_id not in trials,
                deadline_key=f"{pull.head_sha} {pull.deadline_at:%Y%m%d%H%M%S}" if pull.deadline_at else "",
            ),
        )


def _said(pulls: Sequence[PullRequest]) -> dict[int, list[Said]]:
    """Verdicts and decisions in the order of the log."""
    by_pk = {pull.pk: pull for pull in pulls}
    found: dict[int, list[tuple[int, Said]]] = {}
    for verdict in Verdict.objects.filter(pull_request__in=pulls).defer("inputs").order_by("pk"):
        pull = by_pk[verdict.pull_request_id]
        said = Said(
            key=f"verdict {verdict.pk}",
            what=verdict.verdict,
            head_sha=verdict.head_sha,
            at=verdict.created_at,
            by=verdict.supervisor_id,
            confidence=verdict.confidence,
            conditions=len(verdict.reasons.get("reasons", ())),
            is_live=verdict.binds(pull) and not verdict.superseded_by.exists(),
        )
        found.setdefault(pull.pk, []).append((verdict.log_entry_id, said))
    decisions = Decision.objects.filter(pull_request__in=pulls).select_related("justification").order_by("pk")
    for decision in decisions:
        pull = by_pk[decision.pull_request_id]
        is_same = (decision.head_sha, decision.merge_tree) == (pull.head_sha, pull.merge_tree)
        is_valid = decision.expires_at is None or decision.expires_at > timezone.now()
        said = Said(
            key=f"decision {decision.pk}",
            what=decision.decision,
            head_sha=decision.head_sha,
            at=decision.created_at,
            by=decision.lead_id,
            digest=decision.justification.digest if decision.decision == DecisionKind.APPROVE else "",
            is_override=decision.is_override,
            is_break_glass=bool(decision.countersigned_by_id),
            is_live=is_same and is_valid,
        )
        found.setdefault(pull.pk, []).append((decision.log_entry_id, said))
    return {pk: [said for _, said in sorted(rows, key=lambda row: row[0])] for pk, rows in found.items()}


@transaction.atomic(durable=True)
def _write(pull: PullRequest, facts: Facts) -> bool:
    shown = project(facts)
    values = {"labels": list(shown.labels), "body": shown.body, "digest": shown.digest, "composed_at": timezone.now()}
    row, is_new = Projection.objects.get_or_create(pull_request=pull, defaults=values)
    is_changed = is_new or row.digest != shown.digest
    if not is_new and (is_changed or row.composed_at < pull.moved_at):
        Projection.objects.filter(pk=row.pk).update(**values)
    known = set(Notice.objects.filter(pull_request=pull).values_list("key", flat=True))
    wanted = [(key, body) for key, body in notices_of(facts) if key not in known]
    Notice.objects.bulk_create(
        (Notice(pull_request=pull, key=key, body=body) for key, body in wanted), ignore_conflicts=True
    )
    return is_changed or bool(wanted)
