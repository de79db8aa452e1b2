"""Reads: many pull requests at a glance, in a fixed number of queries. The rules are those of `verdicts.policy`.

Not checked: the tree in the repository. A list takes the bundle's word; the pull request's own page asks git.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef
from django.utils import timezone

from audit.events import Role
from audit.models import Participation, Principal
from audit.separation import Part
from handoffs.checks.evidence import Outcome
from handoffs.contributors import still_unknown
from handoffs.lane import raised_of
from handoffs.models import BundleCheck, PullRequest, PullRequestQuerySet, Status
from verdicts import evidence
from verdicts.models import AgentReport, GateExecution
from verdicts.policy import GateInput, Inputs, Judgement, Term, decide, parse_policy
from verdicts.policy_document import Policy
from verdicts.results import GateOutcome


@dataclass(frozen=True)
class Glance:
    """One pull request in a list."""

    pull: PullRequest
    judgement: Judgement
    gates_passed: int
    gates_required: int

    @property
    def agents(self) -> tuple[Term, ...]:
        """The five sub-agents in their fixed order."""
        return self.judgement.terms

    @property
    def why_you(self) -> str:
        """Why it waits; never empty."""
        if self.pull.triggered_at is None:
            return "The workflows are being triggered"
        if not self.judgement.reasons:
            return "Everything holds: it needs your verdict"
        more = len(self.judgement.reasons) - 1
        return self.judgement.reasons[0].sentence + (f" (and {more} more)" if more else "")


def for_glance(rows: PullRequestQuerySet) -> PullRequestQuerySet:
    """`rows` with everything `glance_at` and a list need, in one query."""
    checks = BundleCheck.objects.filter(handoff=OuterRef("handoff"))
    failed = Exists(checks.filter(outcome=Outcome.FAILED.value))
    keyed = rows.for_list().select_related("handoff__signature__key").defer("handoff__signature__key__secret_key")
    return keyed.annotate(is_sound=Exists(checks) & ~failed)


def glance_at(pulls: Sequence[PullRequest]) -> list[Glance]:
    """Judge pull requests that were loaded `for_glance`. Five queries, however many there are."""
    policy = parse_policy(evidence.policy_in_force().document.encode())
    reports: dict[int, list[AgentReport]] = {}
    for report in AgentReport.objects.filter(pull_request__in=pulls).select_related("reporter").order_by("pk"):
        reports.setdefault(report.pull_request_id, []).append(report)
    gates: dict[int, list[GateExecution]] = {}
    for execution in GateExecution.objects.filter(pull_request__in=pulls).order_by("pk"):
        gates.setdefault(execution.pull_request_id, []).append(execution)
    parts = _violations(pulls)
    unknown = still_unknown([address for pull in pulls for address in pull.handoff.unknown_contributors])
    return [
        _glance(
            pull,
            policy,
            evidence.reports_that_count(reports.get(pull.pk, []), pull),
            evidence.gates_that_count(gates.get(pull.pk, []), pull, policy),
            is_verified=getattr(pull, "is_sound", False) and pull.handoff.status == Status.TRIGGERED,
            violations=parts.get(pull.handoff.chain, (evidence.NO_BUILDER,)),
            unknown=tuple(address for address in pull.handoff.unknown_contributors if address in unknown),
        )
        for pull in pulls
    ]


def _violations(pulls: Sequence[PullRequest]) -> dict[str, tuple[str, ...]]:
    parts: dict[str, list[Part]] = {}
    rows = Participation.objects.filter(subject__in=[pull.handoff.chain for pull in pulls]).order_by("pk")
    for subject, principal_id, duty in rows.values_list("subject", "principal_id", "duty"):
        parts.setdefault(subject, []).append(Part(principal_id, Role(duty)))
    registry = Principal.objects.registry()
    return {subject: evidence.violations(held, registry) for subject, held in parts.items()}


def _glance(  # noqa: PLR0913 - what was read in bulk, row by row
    pull: PullRequest,
    policy: Policy,
    reports: list[AgentReport],
    executions: dict[str, GateExecution],
    *,
    is_verified: bool,
    violations: tuple[str, ...],
    unknown: tuple[str, ...],
) -> Glance:
    handoff = pull.handoff
    gates = tuple(
        GateInput(
            gate.key, GateOutcome(executions[gate.key].conclusion) if gate.key in executions else GateOutcome.MISSING
        )
        for gate in policy.input_gates
    )
    heard = evidence.hear(reports, pull.head_sha)
    inputs = Inputs(
        policy=policy,
        repository=pull.repository.full_name,
        pull_request=pull.number,
        base_sha=pull.base_sha,
        head_sha=pull.head_sha,
        bundle_digest=handoff.digest,
        expected_tree=handoff.result_tree,
        observed_tree=handoff.result_tree,
        is_bundle_verified=is_verified,
        is_bundle_signed=evidence.is_signed(handoff),
        results=heard.results,
        gates=gates,
        rounds_used=pull.round,
        is_deadline_passed=pull.deadline_at is not None and pull.deadline_at <= timezone.now(),
        sod_violations=violations,
        unknown_contributors=unknown,
        other_findings=heard.withdrawn,
        raised=raised_of(handoff),
    )
    passed = sum(row.conclusion == GateOutcome.SUCCESS.value for row in executions.values())
    return Glance(pull, decide(inputs), passed, len(policy.gates))
