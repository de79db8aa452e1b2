"""Every write of the verification: policies, triggers, gate and sub-agent reports, deadlines.

Verdicts and decisions are in `verdicts.deciding`, merging is in `verdicts.merging`, rounds are in `verdicts.rounds`,
what takes a release back in `verdicts.reopening`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, take_part
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.actions import record_event
from handoffs.clocks import Clock, ClockSkewError, refuse_skew
from handoffs.github.workflow_names import WORKFLOWS
from handoffs.models import (
    EnforcerRules,
    GitHubRepository,
    Handoff,
    PullRequest,
    PullStatus,
    Repository,
    Status,
    WorkflowRun,
)
from handoffs.rules import rules_to_json
from verdicts import evidence
from verdicts.models import (
    AgentReport,
    GateExecution,
    PolicyVersion,
    VerdictError,
    VerificationWork,
    WorkStatus,
)
from verdicts.policy import parse_policy, policy_to_json
from verdicts.reopening import reopen_if_worse, subject_of
from verdicts.results import AgentKind, AgentResult, GateOutcome, from_json, to_json
from verdicts.rounds import BUILT_IN_GATES, start_round

MAX_RUN_ID = 120


@dataclass(frozen=True)
class GateReport:
    """What a gate's runner says. `run_id` is its idempotency key: the same run twice is one row."""

    gate: str
    conclusion: GateOutcome
    run_id: str
    head_sha: str
    evidence: dict[str, JsonValue]


@transaction.atomic
def enact_policy(document: bytes, *, by: Actor) -> PolicyVersion:
    """Put a policy in force. The same text as now in force changes nothing.

    Not checked: that a second person agreed (the policy page of a later release asks for it; here an operator runs it).
    """
    policy = parse_policy(document)
    digest = hashlib.sha256(document).hexdigest()
    newest = PolicyVersion.objects.order_by("-number").first()
    if newest is not None and newest.digest == digest:
        return newest
    if PolicyVersion.objects.filter(digest=digest).exists():
        raise VerdictError("policy.rollback", "this text was in force before; an old policy is not put back as it was")
    number = newest.number + 1 if newest else 1
    body: dict[str, JsonValue] = {"number": number, "digest": digest, "rules": policy_to_json(policy)}
    entry = append_event(events.POLICY_ENACTED, by, "", body)
    EnforcerRules.objects.create(policy_digest=digest, document=rules_to_json(policy.lane_rules))
    return PolicyVersion.objects.create(number=number, document=document.decode(), digest=digest, log_entry=entry)


@transaction.atomic(durable=True)
def trigger_gates(pull_id: int, *, by: Actor) -> bool:
    """Trigger the workflows on a pull request's head, set the deadline, and end the enforcer's duty.

    Returns False when they are triggered already: the row is locked, so that it happens once.
    """
    require(by, Act.TRIGGER_WORKFLOWS)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if pull.triggered_at is not None or pull.status != PullStatus.GATES_PASSING:
        return False
    handoff = Handoff.objects.select_related("repository").get(pk=pull.handoff_id)
    policy = parse_policy(evidence.policy_in_force().document.encode())
    now = timezone.now()
    run = 1 + (pull.work.aggregate(newest=Max("run"))["newest"] or 0)
    pull.triggered_at, pull.round = now, 1
    pull.deadline_at = now + timedelta(seconds=policy.gate_deadline_seconds)
    pull.timed_out_at = None
    pull.save(update_fields=["triggered_at", "deadline_at", "timed_out_at", "round"])
    pull.work.filter(status=WorkStatus.WAITING).update(
        status=WorkStatus.DONE, error="the workflows were triggered anew"
    )
    names = [(VerificationWork.Kind.GATE, gate.key) for gate in policy.input_gates if gate.key in BUILT_IN_GATES]
    names += [(VerificationWork.Kind.AGENT, kind.value) for kind in AgentKind]
    VerificationWork.objects.bulk_create(
        VerificationWork(pull_request=pull, head_sha=pull.head_sha, round=1, kind=kind, name=name, run=run)
        for kind, name in names
    )
    if handoff.status == Status.OPENED:
        Handoff.objects.move(handoff.pk, old=Status.OPENED, new=Status.TRIGGERED)
    detail: dict[str, JsonValue] = {
        "pull_request": pull.number,
        "head": pull.head_sha,
        "run": run,
        "workflows": [name for _, name in names],
        "deadline": pull.deadline_at.isoformat(),
    }
    if handoff.repository.forge == Repository.Forge.GITHUB:
        detail["runs"] = list(WORKFLOWS)
    entry = record_event(handoff, events.HANDOFF_TRIGGERED, by, detail).log_entry
    if handoff.repository.forge == Repository.Forge.GITHUB:
        # What is asked for is in the database before GitHub is asked: the enforcer's look at GitHub does that.
        WorkflowRun.objects.bulk_create(
            WorkflowRun(pull_request=pull, head_sha=pull.head_sha, run=run, workflow=path, log_entry=entry)
            for path in WORKFLOWS
        )
        GitHubRepository.objects.filter(repository=handoff.repository).update(enforcer_dirty_at=Now())
    return True


@transaction.atomic(durable=True)
def report_gate(pull_id: int, report: GateReport, *, by: Actor) -> GateExecution:
    """Store a workflow's result, as received. The same run again returns the row that is there.

    Raises: VerdictError("gate.unknown"), ("gate.own"), ("gate.built_in"), ("gate.head_moved"), ("gate.run_conflict"),
    ("gate.not_triggered"); AuditError when the reporter took part in the handoff in another duty.
    """
    require(by, Act.REPORT_RESULT)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    policy = parse_policy(evidence.policy_in_force().document.encode())
    gate = next((g for g in policy.gates if g.key == report.gate), None) or policy.gate_for(report.gate)
    if gate is None:
        known = ", ".join(g.key for g in policy.gates)
        raise VerdictError("gate.unknown", f"got {report.gate[:80]!r}, expected one of {known}, or its workflow's name")
    if gate.is_own:
        raise VerdictError("gate.own", f"{gate.key} is PLAN's verdict; it is recorded in the portal, never reported")
    if gate.key in BUILT_IN_GATES:
        raise VerdictError("gate.built_in", f"{gate.key} is run by the portal's own workers; nobody else reports it")
    own_runs = GateExecution.objects.filter(pull_request=pull, gate=gate.key, reporter=by.principal_id)
    same = own_runs.filter(run_id=report.run_id).first()
    if same is not None:
        if (same.conclusion, same.head_sha) != (report.conclusion.value, report.head_sha):
            raise VerdictError("gate.run_conflict", f"run {report.run_id!r} was reported as {same.conclusion} before")
        if pull.triggered_at is not None and same.created_at < pull.triggered_at:
            raise VerdictError("gate.run_old", f"run {report.run_id!r} ended before the workflows were triggered again")
        return same
    _refuse_other_head(pull, report.head_sha, "gate")
    if not 0 < len(report.run_id) <= MAX_RUN_ID or not report.run_id.isprintable():
        raise VerdictError(
            "gate.run_id", f"got {len(report.run_id)} characters, expected 1 to {MAX_RUN_ID} printable ones"
        )
    if report.conclusion is GateOutcome.MISSING:
        raise VerdictError("gate.conclusion", "missing is what the portal says of a gate that did not report")
    take_part_as_reporter(pull, by)
    execution = _store_gate(pull, gate.key, report, by)
    reopen_if_worse(pull, f"gate {gate.key} ended in {report.conclusion}", by)
    return execution


def refuse_wrong_clock(clock: Clock = timezone.now) -> None:
    """Nothing is published as a success, and nothing is merged, while a clock is wrong. ATT-13.

    Raises: VerdictError("clock.skew").
    """
    try:
        refuse_skew(clock)
    except ClockSkewError as error:
        raise VerdictError(error.code, error.detail) from None


def store_own_gate(
    pull: PullRequest, conclusion: GateOutcome, run_id: str, by: Actor, said: dict[str, JsonValue] | None = None
) -> GateExecution:
    """Gate 3's row: PLAN's verdict or LEAD's decision, in the caller's transaction."""
    policy = parse_policy(evidence.policy_in_force().document.encode())
    report = GateReport(policy.own_gate.key, conclusion, run_id, pull.head_sha, said or {})
    return _store_gate(pull, policy.own_gate.key, report, by)


def _store_gate(pull: PullRequest, gate: str, report: GateReport, by: Actor) -> GateExecution:
    if report.conclusion is GateOutcome.SUCCESS:
        refuse_wrong_clock()
    body: dict[str, JsonValue] = {
        "gate": gate,
        "repository": pull.repository.full_name,
        "pr": pull.number,
        "conclusion": report.conclusion.value,
        "run_id": report.run_id,
        "head": report.head_sha,
        "evidence": report.evidence,
    }
    entry = append_event(events.GATE_REPORTED, by, subject_of(pull), body)
    return GateExecution.objects.create(
        pull_request=pull,
        gate=gate,
        head_sha=report.head_sha,
        conclusion=report.conclusion.value,
        run_id=report.run_id,
        evidence=report.evidence,
        reporter_id=by.principal_id,
        created_at=entry.created_at,
        log_entry=entry,
    )


@transaction.atomic(durable=True)
def report_agent(pull_id: int, result: AgentResult, *, by: Actor, work: VerificationWork | None = None) -> AgentReport:
    """Store a sub-agent's result, as received. `work` is the portal's own piece of work that this completes.

    Raises: VerdictError("result.head_moved"), ("result.not_triggered"), ("result.built_in"); ResultError for what
    could not be read back; AuditError for a participant.
    """
    require(by, Act.REPORT_RESULT)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    if work is not None and not VerificationWork.objects.filter(pk=work.pk, status=WorkStatus.WAITING).update(
        status=WorkStatus.DONE
    ):
        return AgentReport.objects.filter(pull_request=pull, agent=result.kind.value).latest("pk")
    _refuse_other_head(pull, result.head_sha, "result")
    take_part_as_reporter(pull, by)
    if work is None and by.name == evidence.VERIFIER:
        raise VerdictError("result.built_in", f"{by.name} reports what the portal's own workers ran, nothing else")
    stored = to_json(result)
    from_json(stored)  # what cannot be read back is not stored
    body: dict[str, JsonValue] = {
        "agent": result.kind.value,
        "repository": pull.repository.full_name,
        "pr": pull.number,
        "round": pull.round,
        "result": stored,
    }
    entry = append_event(events.AGENT_REPORTED, by, subject_of(pull), body)
    report = AgentReport.objects.create(
        pull_request=pull,
        agent=result.kind.value,
        head_sha=result.head_sha,
        round=pull.round,
        result=stored,
        reporter_id=by.principal_id,
        created_at=entry.created_at,
        log_entry=entry,
    )
    reopen_if_worse(pull, f"sub-agent {result.kind} reported {result.outcome}", by)
    if work is not None:
        start_round(pull, by)
    return report


@transaction.atomic(durable=True)
def finish_gate_work(work: VerificationWork, report: GateReport, *, by: Actor) -> None:
    """Complete a built-in gate's work with its result; a second completion changes nothing."""
    pull = PullRequest.objects.select_for_update().get(pk=work.pull_request_id)
    if not VerificationWork.objects.filter(pk=work.pk, status=WorkStatus.WAITING).update(status=WorkStatus.DONE):
        return
    if pull.head_sha == work.head_sha and pull.triggered_at is not None:
        take_part_as_reporter(pull, by)
        _store_gate(pull, work.name, report, by)
        reopen_if_worse(pull, f"gate {work.name} ended in {report.conclusion}", by)
    start_round(pull, by)


def take_part_as_reporter(pull: PullRequest, by: Actor) -> None:
    """Outside reporters are principals like any other: who built or decides does not report."""
    handoff = Handoff.objects.get(pk=pull.handoff_id)
    take_part(handoff.chain, by)


@transaction.atomic(durable=True)
def time_out(pull_id: int, *, by: Actor) -> bool:
    """The deadline passed with a gate missing: LEAD owns the pull request now. Source: SOP 6.2."""
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    is_late = pull.deadline_at is not None and pull.deadline_at <= timezone.now()
    if pull.status != PullStatus.GATES_PASSING or not is_late or pull.timed_out_at is not None:
        return False
    policy = parse_policy(evidence.policy_in_force().document.encode())
    done = evidence.gate_executions(pull, policy)
    missing = [gate.key for gate in policy.input_gates if gate.key not in done]
    if not missing:
        return False
    PullRequest.objects.move(
        pull.pk, old=PullStatus.GATES_PASSING, new=PullStatus.LEAD_REVIEW, timed_out_at=timezone.now()
    )
    append_event(events.PULL_TIMED_OUT, by, subject_of(pull), {"missing": list(missing), "head": pull.head_sha})
    return True


def _refuse_other_head(pull: PullRequest, head_sha: str, what: str) -> None:
    if pull.triggered_at is None:
        raise VerdictError(f"{what}.not_triggered", f"PR-{pull.number} is not being verified now ({pull.label})")
    if head_sha != pull.head_sha:
        raise VerdictError(f"{what}.head_moved", f"got {head_sha[:80]}, expected the head {pull.head_sha}")
