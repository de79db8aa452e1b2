"""Reads: everything a verdict depends on, gathered from the rows of one pull request. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from django.utils import timezone

from audit.canonical import JsonValue, digest_json
from audit.events import Role, numbered
from audit.leaves import LeafError
from audit.models import Identity, Participation, Principal
from audit.separation import Assurance, Part, Registry, UnknownPrincipalError, assurance, conflicts
from handoffs.checks.evidence import Outcome
from handoffs.contributors import authors_in_another_duty, still_unknown
from handoffs.git.repository import Git
from handoffs.github.findings import Protection
from handoffs.lane import raised_of
from handoffs.models import Handoff, PullRequest, Status
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import AgentReport, Decision, GateExecution, PolicyVersion, Verdict, VerdictError, WorkStatus
from verdicts.policy import (
    WORST_LAST,
    GateInput,
    Inputs,
    Judgement,
    Reason,
    decide,
    inputs_from_json,
    judgement_to_json,
    parse_policy,
)
from verdicts.policy_document import Policy
from verdicts.protection import ENFORCED_BY_HOOK, Standing, protection_of
from verdicts.results import (
    AgentKind,
    AgentOutcome,
    AgentResult,
    Finding,
    GateOutcome,
    ResultError,
    from_json,
    missing_result,
)
from verdicts.subagents import AGENTS

# The identity under which the portal's own gates and sub-agents report.
VERIFIER: Final = "leoportal-verifier"
# GitHub Actions, as who reports the story gate from its workflow's run.
ACTIONS: Final = "github-actions"
NO_BUILDER: Final = "nobody is recorded as the builder"
MAX_LEAF_BYTES: Final = 64 << 20
# What a page shows of a verdict.
SHOWN: Final = ("supervisor", "policy", "statement__key", "justification", "question")


@dataclass(frozen=True)
class Evidence:
    """A pull request, judged as it stands now."""

    policy_version: PolicyVersion
    inputs: Inputs
    judgement: Judgement
    executions: Mapping[str, GateExecution] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    registry: Registry = field(default_factory=lambda: Registry({}))
    standing: Standing = ENFORCED_BY_HOOK

    @property
    def protection(self) -> Protection:
        """Whether the gate behind a verdict blocks anything now."""
        return self.standing.state

    @property
    def assurance(self) -> Assurance:
        """What the people behind the lanes allow to be claimed."""
        return assurance(self.registry)

    @property
    def principals(self) -> list[JsonValue]:
        """Who took part, in which duty, and which person stood behind each: what a decision is judged with."""
        return [
            {
                "principal": part.principal_id,
                "duty": part.duty.value,
                "person": self.registry.people.get(part.principal_id),
            }
            for part in self.parts
        ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 hex of why the verdict is what it is: it changes with every finding, gate and outcome."""
        return digest_json(judgement_to_json(self.judgement))


def policy_in_force() -> PolicyVersion:
    """The newest policy. Raises: VerdictError("policy.none") with what to do."""
    version = PolicyVersion.objects.order_by("-number").first()
    if version is None:
        raise VerdictError("policy.none", "no policy is in force; run `manage.py operate setup`")
    return version


def observed_tree(pull: PullRequest, git: Git) -> str:
    """The tree the pull request's head really holds; asks the repository, not our rows."""
    return git.tree_of(pull.head_sha)


def live_verdict(pull: PullRequest, *, related: Sequence[str] = SHOWN) -> Verdict | None:
    """The newest verdict on a pull request, stale or not. `related` is what is read with it."""
    rows = Verdict.objects.filter(pull_request=pull).select_related(*related)
    rows = rows.defer("statement__key__secret_key") if "statement__key" in related else rows
    return rows.order_by("-pk").first()


def live_approval(pull: PullRequest, *, related: Sequence[str] = ("lead", "justification")) -> Decision | None:
    """LEAD's newest decision, if it approves exactly what the pull request is now and has not expired."""
    decision = Decision.objects.filter(pull_request=pull).select_related(*related).order_by("-pk").first()
    if decision is None or decision.decision != "approve":
        return None
    is_same = (decision.head_sha, decision.merge_tree) == (pull.head_sha, pull.merge_tree)
    is_valid = decision.expires_at is None or decision.expires_at > timezone.now()
    return decision if is_same and is_valid else None


def released_judgement(pull: PullRequest) -> Judgement | None:
    """What was computed when the merge was released: at the newer of the live PASS and the live approval."""
    approval, verdict = live_approval(pull, related=("log_entry",)), live_verdict(pull, related=("policy",))
    is_passed = verdict is not None and verdict.binds(pull) and verdict.verdict == VerdictKind.PASS.value
    if approval is not None and not (is_passed and verdict and verdict.log_entry_id > approval.log_entry_id):
        try:
            return decide(inputs_from_json(approval.log_entry.open()["inputs"]))
        except (LeafError, KeyError):
            return None
    return decide(inputs_from_json(verdict.inputs)) if is_passed and verdict else None


def news_since(released: Judgement | None, now: Judgement) -> tuple[Reason, ...]:
    """The reasons of now that were not known when the merge was released. Who released it has not judged them."""
    if released is None:
        return now.reasons
    known = {(reason.code, reason.sentence) for reason in released.reasons}
    return tuple(
        reason
        for reason in now.reasons
        if (reason.code, reason.sentence) not in known
        and not (reason.code == "confidence.low" and released.confidence <= now.confidence)
    )


def gates_that_count(rows: Iterable[GateExecution], pull: PullRequest, policy: Policy) -> dict[str, GateExecution]:
    """Of each gate on this head since the workflows were triggered: the worst of what its reporters said last.

    A reporter replaces only what it said itself. PLAN's own gate has one voice: its newest row.
    `rows` in the order they came.
    """
    if pull.triggered_at is None:
        return {}
    newest: dict[tuple[str, int], GateExecution] = {}
    for row in rows:
        if row.head_sha == pull.head_sha and row.created_at >= pull.triggered_at:
            newest[row.gate, 0 if row.gate == policy.own_gate.key else row.reporter_id] = row
    found: dict[str, GateExecution] = {}
    for row in sorted(newest.values(), key=lambda row: (row.conclusion != GateOutcome.SUCCESS.value, row.pk)):
        found[row.gate] = row
    return found


def gate_executions(pull: PullRequest, policy: Policy) -> dict[str, GateExecution]:
    """The execution that counts for each gate, by gate name."""
    rows = GateExecution.objects.filter(pull_request=pull, head_sha=pull.head_sha).select_related("reporter")
    return gates_that_count(rows.order_by("pk"), pull, policy)


def reports_that_count(rows: Iterable[AgentReport], pull: PullRequest) -> list[AgentReport]:
    """Outside reports on this head whenever they came, the portal's own since the workflows were triggered."""
    since = pull.triggered_at
    if since is None:
        return []
    return [row for row in rows if row.head_sha == pull.head_sha and (not _is_own(row) or row.created_at >= since)]


def all_reports(pull: PullRequest) -> list[AgentReport]:
    """Every sub-agent's report that counts on this head, in the order they came."""
    rows = AgentReport.objects.filter(pull_request=pull, head_sha=pull.head_sha).select_related("reporter")
    return reports_that_count(rows.order_by("pk"), pull)


def _is_own(row: AgentReport) -> bool:
    return row.reporter.name == VERIFIER


def agent_reports(pull: PullRequest) -> list[AgentReport]:
    """The newest report of each sub-agent by each reporter."""
    return list({(row.agent, row.reporter_id): row for row in all_reports(pull)}.values())


@dataclass(frozen=True)
class Heard:
    """What sub-agents said of one head: the results that count, and findings that a reporter took back."""

    results: tuple[AgentResult, ...]
    withdrawn: tuple[Finding, ...]


def hear(reports: Sequence[AgentReport], head_sha: str) -> Heard:
    """Reports in the order they came, as `decide` hears them.

    Each kind needs the portal's own result: an outside reviewer's report stands beside it and can only lower it.
    What an outside reviewer said once stays, whatever the same reviewer says later on this head: a finding, the
    worst outcome, the lowest confidence. A stored row that cannot be read is an error of its sub-agent.
    """
    said: dict[tuple[str, int], list[AgentResult]] = {}
    for row in reports:
        said.setdefault((row.agent, row.reporter_id), []).append(_stored(row))
    ours = {(row.agent, row.reporter_id) for row in reports if _is_own(row)}
    results = [found[-1] if who in ours else _worst(found) for who, found in sorted(said.items())]
    own = {AgentKind(agent) for agent, _ in ours}
    results += [
        missing_result(kind, head_sha, "the portal's own sub-agent has not reported")
        for kind in AgentKind
        if kind not in own
    ]
    current = {finding for result in results for finding in result.findings}
    earlier = (result for who, found in said.items() if who not in ours for result in found)
    taken_back = {f: None for result in earlier for f in result.open_findings if f not in current}
    return Heard(tuple(results), tuple(taken_back))


def _stored(row: AgentReport) -> AgentResult:
    try:
        return from_json(row.result)
    except ResultError as error:
        lost = missing_result(AgentKind(row.agent), row.head_sha, f"report {row.pk} cannot be read: {error.code}")
        return replace(lost, outcome=AgentOutcome.ERROR)


def _worst(results: Sequence[AgentResult]) -> AgentResult:
    """A reviewer's newest result with the worst outcome and the lowest confidence it ever reported on this head.

    An error is no opinion: the reviewer that tries again replaces it.
    """
    opinions = [result for result in results[:-1] if result.outcome is not AgentOutcome.ERROR]
    worst = max((*opinions, results[-1]), key=lambda result: WORST_LAST.index(result.outcome))
    lowest = min(result.confidence for result in (*opinions, results[-1]))
    return replace(results[-1], outcome=worst.outcome, reason=worst.reason, confidence=lowest)


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
    executions = gate_executions(pull, policy)
    parts = tuple(Participation.objects.parts(handoff.chain))
    registry = Principal.objects.registry()
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
        builder_problems=builder_problems(handoff, policy, registry),
        is_bundle_signed=is_signed(handoff),
        results=heard.results,
        gates=_gates(executions, policy),
        rounds_used=pull.round,
        is_deadline_passed=pull.deadline_at is not None and pull.deadline_at <= timezone.now(),
        sod_violations=(*violations(parts, registry), *authors_in_another_duty(handoff, parts)),
        unknown_contributors=tuple(still_unknown(handoff.unknown_contributors)),
        other_findings=heard.withdrawn,
        raised=raised_of(handoff),
    )
    standing = protection_of(handoff.repository, policy)
    return Evidence(version, inputs, decide(inputs), executions, parts, registry, standing)


def builder_problems(handoff: Handoff, policy: Policy, registry: Registry) -> tuple[str, ...]:
    """Why the builder may not build now: its role was taken away, or the policy in force no longer names it."""
    builder = handoff.builder
    if builder is None:
        return ("nobody is registered as the builder",)
    if Part(builder.pk, Role.BUILDER) not in registry.held:
        return (f"{numbered(builder.pk)} no longer has the role BUILDER",)
    ids = builder.identities.filter(ends_at=None, kind=Identity.Kind.BUILDER_ID, value__in=policy.allowed_builders)
    return () if ids.exists() else (f"the policy no longer allows the builder, {numbered(builder.pk)}",)


def is_verified(handoff: Handoff) -> bool:
    """Whether the stored checks of a handoff exist and none failed."""
    outcomes = list(handoff.checks.values_list("outcome", flat=True))
    return bool(outcomes) and Outcome.FAILED.value not in outcomes and handoff.status == Status.TRIGGERED


def is_signed(handoff: Handoff) -> bool:
    """Whether a handoff has a signature over its verified digest that a revocation has not taken back."""
    if not hasattr(handoff, "signature"):
        return False
    return handoff.signature.digest == handoff.digest and handoff.signature.standing.is_trusted


def _gates(executions: Mapping[str, GateExecution], policy: Policy) -> tuple[GateInput, ...]:
    return tuple(
        GateInput(
            gate.key,
            GateOutcome(executions[gate.key].conclusion) if gate.key in executions else GateOutcome.MISSING,
        )
        for gate in policy.input_gates
    )


def violations(parts: Sequence[Part], registry: Registry) -> tuple[str, ...]:
    """People that appear on the chain in two duties. The database forbids it; the verdict looks again.

    Who is who may have become known since: two entries of the registry that turned out to be one person.
    """
    missing = () if any(part.duty is Role.BUILDER for part in parts) else (NO_BUILDER,)
    try:
        found = conflicts(parts, registry)
    except UnknownPrincipalError as error:
        return (*missing, str(error))
    return (
        *missing,
        *(
            f"{numbered(a.principal_id)} ({a.duty}) and {numbered(b.principal_id)} ({b.duty}) are one person"
            for a, b in found
        ),
    )
