"""Rows of PLAN and LEAD: policies, gates, sub-agent results, verdicts, decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import F, Q

from audit.coded import CodedError
from audit.models import ErasableText, LogEntry, Principal
from audit.separation import Assurance
from handoffs.github.findings import Protection
from handoffs.models import HEX_COMMIT, Handoff, PullRequest, WorkQuerySet
from verdicts.break_glass_rows import BreakGlass
from verdicts.decision import Verdict as VerdictKind
from verdicts.export_rows import Export
from verdicts.landing_rows import LandedCommit
from verdicts.publication_rows import CheckPublication
from verdicts.results import AgentKind, GateOutcome
from verdicts.statement_rows import DecisionStatement, PolicyStatement, VerdictStatement


class VerdictError(CodedError):
    """A refusal by PLAN's or LEAD's rules. `code` is stable."""


PROTECTIONS = [(value.value, value.value) for value in Protection]
ASSURANCES = [(value.value, value.value.replace("_", " ")) for value in Assurance]
VERDICT_CHOICES = [(kind.value, kind.value.replace("_", " ").capitalize()) for kind in VerdictKind]
VERDICT_VALUES = [kind.value for kind in VerdictKind]


BREAK_GLASS = "break-glass"


class DecisionKind(models.TextChoices):
    """What LEAD can decide on an escalated pull request."""

    APPROVE = "approve", "Approve"
    SEND_BACK = "send_back", "Send back to the builder"
    RERUN = "rerun", "Force a re-run"


class PolicyVersion(models.Model):
    """A policy document in force from its creation until the next. Append-only."""

    number = models.PositiveIntegerField(unique=True)
    document = models.TextField(db_comment="YAML, exactly as enacted")
    digest = models.CharField(max_length=64, unique=True, db_comment="SHA-256 of document")
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_policy_version"

    def __str__(self) -> str:
        return f"policy v{self.number}"


class WorkStatus(models.TextChoices):
    """Of a piece of verification work."""

    WAITING = "waiting"
    DONE = "done"


class VerificationWorkQuerySet(WorkQuerySet["VerificationWork"]):
    """Reads of verification work."""

    def open(self) -> Self:
        """Work that nobody finished."""
        return self.filter(status=WorkStatus.WAITING)


class VerificationWork(models.Model):
    """A gate or sub-agent that the portal's own workers have to run on one head. Its row is the queue."""

    class Kind(models.TextChoices):
        GATE = "gate"
        AGENT = "agent"

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="work")
    head_sha = models.CharField(max_length=64)
    round = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=5, choices=Kind)
    name = models.CharField(max_length=120, db_comment="gate name, or sub-agent kind")
    run = models.PositiveSmallIntegerField(default=1, db_comment="grows when LEAD forces a re-run")
    status = models.CharField(max_length=7, choices=WorkStatus, default=WorkStatus.WAITING)
    created_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    objects = VerificationWorkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "head_sha", "round", "kind", "name", "run"], name="work_once_per_round"
            ),
            models.CheckConstraint(name="work_status_known", condition=Q(status__in=WorkStatus.values)),
        ]
        indexes = [models.Index(fields=["created_at"], name="work_open", condition=Q(status=WorkStatus.WAITING))]

    def __str__(self) -> str:
        return f"{self.name} round {self.round}"


class GateExecution(models.Model):
    """SOP 7.2: workflow results, as received. Append-only; the newest row of a gate on a head counts."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="gate_executions")
    gate = models.CharField(max_length=120)
    head_sha = models.CharField(max_length=64)
    conclusion = models.CharField(max_length=20)
    run_id = models.CharField(max_length=120, db_comment="the reporter's idempotency key")
    evidence = models.JSONField(default=dict)
    reporter = models.ForeignKey(Principal, models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_gate_executions"
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "gate", "reporter", "run_id"], name="gateexecution_run_once"
            ),
            models.CheckConstraint(
                name="gateexecution_conclusion_known",
                condition=Q(conclusion__in=[o.value for o in GateOutcome if o is not GateOutcome.MISSING]),
            ),
        ]
        indexes = [models.Index(fields=["pull_request", "head_sha", "gate", "-id"], name="gateexecution_newest")]

    def __str__(self) -> str:
        return f"{self.gate}: {self.conclusion}"


class AgentReport(models.Model):
    """A sub-agent's result on one head and round, as received. Append-only; the newest row counts."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="agent_reports")
    agent = models.CharField(max_length=12)
    head_sha = models.CharField(max_length=64)
    round = models.PositiveSmallIntegerField()
    result = models.JSONField(db_comment="verdicts.results.AgentResult as JSON")
    reporter = models.ForeignKey(Principal, models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_agent_report"
        constraints = [
            models.CheckConstraint(name="agentreport_agent_known", condition=Q(agent__in=[k.value for k in AgentKind]))
        ]
        indexes = [models.Index(fields=["pull_request", "head_sha", "agent", "-id"], name="agentreport_newest")]

    def __str__(self) -> str:
        return f"{self.agent} round {self.round}"


class Verdict(models.Model):
    """SOP 7.2: PLAN's verdicts. Append-only: a verdict is superseded by a later row, never changed."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="verdicts")
    verdict = models.CharField(max_length=16, choices=VERDICT_CHOICES)
    computed = models.CharField(
        max_length=16, choices=VERDICT_CHOICES, blank=True, db_comment="what decide() said; empty: not ready"
    )
    confidence = models.DecimalField(max_digits=5, decimal_places=2, db_comment="percent, rounded down")
    head_sha = models.CharField(max_length=64)
    base_sha = models.CharField(max_length=64)
    merge_tree = models.CharField(max_length=64)
    bundle_digest = models.CharField(max_length=64)
    policy = models.ForeignKey(PolicyVersion, models.PROTECT)
    inputs = models.JSONField(db_comment="everything decide() was given; replays exactly")
    reasons = models.JSONField()
    justification = models.ForeignKey(ErasableText, models.PROTECT, related_name="+")
    question = models.ForeignKey(
        ErasableText, models.PROTECT, null=True, related_name="+", db_comment="what LEAD should answer"
    )
    supervisor = models.ForeignKey(Principal, models.PROTECT)
    assurance = models.CharField(
        max_length=15, blank=True, choices=ASSURANCES, db_comment="empty: before it was computed"
    )
    protection = models.CharField(
        max_length=12, blank=True, choices=PROTECTIONS, db_comment="of the gate behind it; empty: before it was known"
    )
    principals = models.JSONField(default=list, db_comment="the set it was judged with: principal, duty, person")
    supersedes = models.ForeignKey("self", models.PROTECT, null=True, related_name="superseded_by")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_verification_results"
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "supersedes"], name="verdict_one_at_a_time", nulls_distinct=False
            ),
            models.CheckConstraint(name="verdict_known", condition=Q(verdict__in=VERDICT_VALUES)),
            models.CheckConstraint(name="verdict_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(
                name="verdict_pass_needs_85", condition=~Q(verdict=VerdictKind.PASS.value) | Q(confidence__gte=85)
            ),
            models.CheckConstraint(
                name="verdict_pass_only_if_computed",
                condition=~Q(verdict=VerdictKind.PASS.value) | Q(computed=VerdictKind.PASS.value),
            ),
            models.CheckConstraint(name="verdict_does_not_supersede_itself", condition=~Q(supersedes=F("id"))),
        ]
        indexes = [models.Index(fields=["pull_request", "-id"], name="verdict_newest")]

    def __str__(self) -> str:
        return f"{self.verdict} on {self.head_sha[:12]}"

    def binds(self, pull: PullRequest) -> bool:
        """Whether this verdict is about what the pull request is now; otherwise it is stale."""
        return (self.head_sha, self.base_sha, self.merge_tree) == (pull.head_sha, pull.base_sha, pull.merge_tree)


class MergeIntent(models.Model):
    """A merge the portal is about to push, or to ask GitHub for: then it has no commit yet.

    Append-only: if its commit is found on the branch, it happened.
    """

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="merge_intents")
    handoff = models.ForeignKey(Handoff, models.PROTECT, null=True, related_name="+", db_comment="whose head it merges")
    merge_sha = models.CharField(max_length=64, blank=True, db_comment="empty: GitHub makes it")
    head_sha = models.CharField(max_length=64)
    base_sha = models.CharField(max_length=64)
    trailers = models.TextField(blank=True, db_comment="for GitHub to write; people by their numbers")
    actor = models.ForeignKey(Principal, models.PROTECT)
    role = models.CharField(max_length=10)
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_merge_intent"
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "merge_sha", "head_sha", "base_sha"], name="mergeintent_once"
            )
        ]

    def __str__(self) -> str:
        return f"merge of {self.pull_request_id} as {self.merge_sha[:12]}"


class Decision(models.Model):
    """SOP 7.2: LEAD's decisions. Append-only; one for each escalating verdict, or for one timeout."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="decisions")
    verdict = models.ForeignKey(Verdict, models.PROTECT, null=True, related_name="decisions")
    decision = models.CharField(max_length=10, choices=DecisionKind)
    is_override = models.BooleanField(db_comment="approved although the verdict was not CONDITIONAL_PASS")
    reason_class = models.CharField(max_length=40, blank=True)
    justification = models.ForeignKey(ErasableText, models.PROTECT, related_name="+")
    reference = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField(null=True)
    head_sha = models.CharField(max_length=64)
    merge_tree = models.CharField(max_length=64)
    round = models.PositiveSmallIntegerField()
    run = models.PositiveSmallIntegerField(default=1)
    lead = models.ForeignKey(Principal, models.PROTECT)
    assurance = models.CharField(
        max_length=15, blank=True, choices=ASSURANCES, db_comment="empty: before it was computed"
    )
    protection = models.CharField(
        max_length=12, blank=True, choices=PROTECTIONS, db_comment="of the gate behind it; empty: before it was known"
    )
    principals = models.JSONField(default=list, db_comment="the set it was judged with: principal, duty, person")
    countersigned_by = models.ForeignKey(
        Principal, models.PROTECT, null=True, related_name="+", db_comment="the second person of a break-glass"
    )
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)
    break_glass: BreakGlass

    class Meta:
        db_table = "pr_approval_audit"
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "verdict", "run"], name="decision_one_each", nulls_distinct=False
            ),
            models.CheckConstraint(name="decision_known", condition=Q(decision__in=DecisionKind.values)),
            models.CheckConstraint(
                name="decision_break_glass_by_two",
                condition=(~Q(reason_class=BREAK_GLASS) & Q(countersigned_by=None))
                | (
                    Q(reason_class=BREAK_GLASS, decision=DecisionKind.APPROVE, is_override=True)
                    & Q(countersigned_by__isnull=False, expires_at__lte=F("created_at") + timedelta(minutes=60))
                    & ~Q(countersigned_by=F("lead"))
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.decision} on {self.head_sha[:12]}"

    @property
    def release_class(self) -> str:
        """How the merge that this releases counts."""
        if self.reason_class == BREAK_GLASS:
            return "OVERRIDE/BREAK-GLASS"
        return "OVERRIDE" if self.is_override else "APPROVED"


# Rows that have a module of their own.
ELSEWHERE = (
    BreakGlass,
    LandedCommit,
    CheckPublication,
    Export,
    DecisionStatement,
    PolicyStatement,
    VerdictStatement,
)

# Everything the gate lane signs.
STATEMENTS = (VerdictStatement, DecisionStatement, PolicyStatement)
