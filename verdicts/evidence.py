"""Reads: everything a verdict depends on, gathered from the rows of one pull request. Nothing is written here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.utils import timezone

from audit.events import Role
from audit.models import Participation
from audit.separation import Part
from handoffs.contributors import still_unknown
from handoffs.evidence import Outcome
from handoffs.git import Git
from handoffs.models import Handoff, PullRequest, Status
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import AgentReport, Decision, GateExecution, PolicyVersion, Verdict, VerdictError, WorkStatus
from verdicts.policy import GateInput, Inputs, Judgement, decide, parse_policy
from verdicts.policy_document import Policy
from verdicts.results import AgentKind, AgentResult, Finding, GateOutcome, from_json, missing_result
from verdicts.subagents import AGENTS

# The identity under which the portal's own gates and sub-agents report.
VERIFIER: Final = "leoportal-verifier"


@dataclass(frozen=True)
class Evidence:
    """A pull request, judged as it stands now."""

    policy_version: PolicyVersion
    inputs: Inputs
    judgement: Judgement
    executions: Mapping[str, GateExecution] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()


def policy_in_force() -> PolicyVersion:
    """The newest policy. Raises: VerdictError("policy.none") with what to do."""
    version = PolicyVersion.objects.order_by("-number").first()
    if version is None:
        raise VerdictError("policy.none", "no policy is in force; run `manage.py operate setup`")
    return version


def observed_tree(pull: PullRequest, git: Git) -> str:
    """The tree the pull request's head really holds; asks the repository, not our rows."""
    return git.tree_of(pull.head_sha)


def live_verdict(pull: PullRequest) -> Verdict | None:
    """The newest verdict on a pull request, stale or not."""
    related = ("supervisor", "policy", "statement__key")
    return Verdict.objects.filter(pull_request=pull).select_related(*related).order_by("-pk").first()


def live_approval(pull: PullRequest) -> Decision | None:
    """LEAD's newest decision, if it approves exactly what the pull request is now and has not expired."""
    decision = Decision.objects.filter(pull_request=pull).select_related("lead").order_by("-pk").first()
    if decision is None or decision.decision != "approve":
        return None
    is_same = (decision.head_sha, decision.merge_tree) == (pull.head_sha, pull.merge_tree)
    is_valid = decision.expires_at is None or decision.expires_at > timezone.now()
    return decision if is_same and is_valid else None


def released_by(pull: PullRequest) -> VerdictKind | None:
    """What was computed when the merge was released: at LEAD's approval if there is one, else at the verdict."""
    approval, verdict = live_approval(pull), live_verdict(pull)
    if approval is not None:
        said = json.loads(bytes(approval.log_entry.leaf))["body"]["computed_now"]
    else:
        said = verdict.computed if verdict is not None and verdict.binds(pull) else VerdictKind.PASS.value
    return VerdictKind(said) if said else None


def gate_executions(pull: PullRequest) -> dict[str, GateExecution]:
    """The newest execution of each gate on this head since the workflows were triggered, by gate name."""
    rows = GateExecution.objects.filter(pull_request=pull, head_sha=pull.head_sha)
    if pull.triggered_at is None:
        return {}
    return {row.gate: row for row in rows.filter(created_at__gte=pull.triggered_at).order_by("pk")}


def all_reports(pull: PullRequest) -> list[AgentReport]:
    """Every sub-agent's report on this head since the workflows were triggered, in the order they came."""
    if pull.triggered_at is None:
        return []
    rows = AgentReport.objects.filter(pull_request=pull, head_sha=pull.head_sha, created_at__gte=pull.triggered_at)
    return list(rows.order_by("pk"))


def agent_reports(pull: PullRequest) -> list[AgentReport]:
    """The newest report of each sub-agent by each reporter."""
    return list({(row.agent, row.reporter): row for row in all_reports(pull)}.values())


@dataclass(frozen=True)
class Heard:
    """What sub-agents said of one head: the results that count, and findings that a reporter took back."""

    results: tuple[AgentResult, ...]
    withdrawn: tuple[Finding, ...]


def hear(reports: Sequence[AgentReport], head_sha: str) -> Heard:
    """Reports in the order they came, as `decide` hears them.

    Each kind needs the portal's own result: an outside reviewer's report stands beside it and can only lower it.
    A finding that an outside reviewer reported once stays, whatever the same reviewer says later on this head.
    """
    newest = {(row.agent, row.reporter): row for row in reports}
    results = [from_json(row.result) for _, row in sorted(newest.items())]
    own = {AgentKind(agent) for agent, reporter in newest if reporter == VERIFIER}
    results += [
        missing_result(kind, head_sha, "the portal's own sub-agent has not reported")
        for kind in AgentKind
        if kind not in own
    ]
    current = {finding for result in results for finding in result.findings}
    earlier = (from_json(row.result) for row in reports if row.reporter != VERIFIER)
    taken_back = {f: None for result in earlier for f in result.open_findings if f not in current}
    return Heard(tuple(results), tuple(taken_back))


def not_applicable(paths: Sequence[str]) -> dict[AgentKind, str]:
    """The sub-agents that have nothing to judge in these files, with the reason. Computed here, never claimed."""
    return {kind: reason for kind, agent in AGENTS.items() if (reason := agent.applies(tuple(paths)))}


def has_work_left(pull: PullRequest) -> bool:
    """Whether the portal's own workers still have something to run on this head."""
    return pull.work.filter(status=WorkStatus.WAITING, head_sha=pull.head_sha).exists()


def gather(pull: PullRequest, *, tree: str) -> Evidence:
    """Judge a pull request as it stands. `tree` is what `observed_tree` found in the repository.

    A bundle counts as verified when every stored check passed, and as signed when its one signature covers exactly
    the verified digest and its key is trusted for when it was received; the SLSA gate checks the signature itself.
    """
    version = policy_in_force()
    policy = parse_policy(version.document.encode())
    handoff = pull.handoff
    executions = gate_executions(pull)
    parts = tuple(Participation.objects.parts(handoff.chain))
    heard = hear(all_reports(pull), pull.head_sha)
    inputs = Inputs(
        policy=policy,
        repository=handoff.repository.full_name,
        pull_request=pull.number,
        base_sha=pull.base_sha,
        head_sha=pull.head_sha,
        bundle_digest=handoff.digest,
        expected_tree=handoff.result_tree,
        observed_tree=tree,
        is_bundle_verified=is_verified(handoff),
        is_bundle_signed=is_signed(handoff),
        results=heard.results,
        gates=_gates(executions, policy),
        rounds_used=pull.round,
        is_deadline_passed=pull.deadline_at is not None and pull.deadline_at <= timezone.now(),
        sod_violations=_violations(parts),
        unknown_contributors=tuple(still_unknown(handoff.unknown_contributors)),
        other_findings=heard.withdrawn,
    )
    return Evidence(version, inputs, decide(inputs), executions, parts)


def is_verified(handoff: Handoff) -> bool:
    """Whether the stored checks of a handoff exist and none failed."""
    outcomes = list(handoff.checks.values_list("outcome", flat=True))
    return bool(outcomes) and Outcome.FAILED.value not in outcomes and handoff.status == Status.TRIGGERED


def is_signed(handoff: Handoff) -> bool:
    """Whether a handoff has a signature over its verified digest that a revocation has not taken back."""
    if not hasattr(handoff, "signature"):
        return False
    return handoff.signature.digest == handoff.digest and handoff.signature.is_trusted


def _gates(executions: Mapping[str, GateExecution], policy: Policy) -> tuple[GateInput, ...]:
    return tuple(
        GateInput(
            gate.key,
            GateOutcome(executions[gate.key].conclusion) if gate.key in executions else GateOutcome.MISSING,
        )
        for gate in policy.input_gates
    )


def _violations(parts: Sequence[Part]) -> tuple[str, ...]:
    """Principals that appear on the chain in two duties. The constraint forbids it; the verdict looks again."""
    duties: dict[int, set[Role]] = {}
    for part in parts:
        duties.setdefault(part.principal_id, set()).add(part.duty)
    missing = [] if any(part.duty is Role.BUILDER for part in parts) else ["nobody is recorded as the builder"]
    return (*missing, *(f"principal {pk} acts as {len(found)} roles" for pk, found in duties.items() if len(found) > 1))
