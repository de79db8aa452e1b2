"""Reads: what the page of one pull request shows. An open one is judged as it stands; an ended one as it was.

Nothing is written, and looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from audit.accountability import Act, may
from audit.actions import find_conflict
from audit.events import Actor
from audit.names import Names, names_of
from audit.separation import Assurance
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import PullRequest, PullStatus
from verdicts import evidence
from verdicts.decision import Verdict as VerdictKind
from verdicts.evidence import Evidence
from verdicts.hosted import ENDED, Hosted, read_hosted
from verdicts.models import Decision, GateExecution, Verdict, VerificationWork, WorkStatus
from verdicts.policy import Clearer, Gate, Reason, Term, decide, inputs_from_json, is_at_least_as_strict
from verdicts.results import AgentKind, AgentOutcome, AgentResult, Finding, GateOutcome, Severity

MAX_FINDINGS_SHOWN: Final = 200
OPEN_TO_VERDICTS: Final = (PullStatus.GATES_PASSING, PullStatus.READY_TO_MERGE)
_SEVERITIES: Final = tuple(Severity)


@dataclass(frozen=True)
class AgentRow:
    """One sub-agent as the table shows it."""

    term: Term
    results: tuple[AgentResult, ...]

    @property
    def seconds(self) -> str:
        """How long its tools ran; empty when nothing ran."""
        total = sum(tool.duration_ms for result in self.results for tool in result.tools)
        return f"{total / 1000:.1f} s" if total else ""

    @property
    def main_reason(self) -> str:
        """The one sentence that explains the outcome best."""
        counts = [
            f"{number} {severity.lower()}"
            for severity in _SEVERITIES
            if (number := sum(f.severity is severity for r in self.results for f in r.findings if f.is_open))
        ]
        reasons = [result.reason for result in self.results if result.reason]
        if reasons and self.term.outcome is AgentOutcome.NOT_APPLICABLE:
            return f"{'; '.join(reasons)}; its weight is left out"
        return self.term.note or "; ".join(reasons) or ", ".join(counts) or "no findings"


@dataclass(frozen=True)
class GateRow:
    """One required gate as the table shows it. `execution` is None while nothing was reported on this head."""

    gate: Gate
    outcome: GateOutcome
    execution: GateExecution | None

    @property
    def checks(self) -> list[dict[str, object]]:
        """What the gate says it looked at, as far as its evidence has the portal's own form."""
        found = self.execution.evidence.get("checks") if self.execution else None
        return [check for check in found if isinstance(check, dict)] if isinstance(found, list) else []


@dataclass(frozen=True)
class FindingRow:
    """One finding and the sub-agent that made it."""

    kind: AgentKind
    finding: Finding


@dataclass(frozen=True)
class Option:
    """One verdict that PLAN could record. `why_not` is empty when it is possible."""

    kind: VerdictKind
    means: str
    why_not: str


@dataclass(frozen=True)
class Block:
    """One thing between this pull request and its merge, and who clears it how."""

    sentence: str
    code: str
    who: str
    how: str


@dataclass(frozen=True)
class Review:
    """One pull request, ready to be shown. `cannot_read` says why the repository could not be asked."""

    pull: PullRequest
    found: Evidence
    verdict: Verdict | None
    decision: Decision | None
    blocks: tuple[Block, ...]
    agents: tuple[AgentRow, ...]
    gates: tuple[GateRow, ...]
    findings: tuple[FindingRow, ...]
    options: tuple[Option, ...]
    is_frozen: bool
    has_work_left: bool
    conflict: str
    cannot_read: str
    names: Names
    hosted: Hosted | None

    @property
    def gates_passed(self) -> int:
        """How many required gates succeeded on this head."""
        return sum(row.outcome is GateOutcome.SUCCESS for row in self.gates)

    @property
    def is_verdict_live(self) -> bool:
        """Whether the newest verdict is about what the pull request is now."""
        return self.verdict is not None and self.verdict.binds(self.pull)

    @property
    def why_no_verdict(self) -> str:
        """Why the person may not record a verdict now; empty when the form is open."""
        if self.conflict:
            return f"You cannot judge this handoff: {self.conflict}. Somebody else has to."
        if self.pull.triggered_at is None:
            return "The workflows on this head have not been triggered yet."
        if self.pull.status not in OPEN_TO_VERDICTS:
            return f"PR-{self.pull.number} is {self.pull.label}; no verdict is due on it now."
        return ""

    @property
    def why_no_merge(self) -> str:
        """Why the person may not merge now; empty when the button is live."""
        if self.pull.status != PullStatus.READY_TO_MERGE:
            return "Merging needs a PASS on this head, or LEAD's approval of what PLAN escalated."
        return f"You cannot merge this handoff: {self.conflict}." if self.conflict else ""

    @property
    def new_findings(self) -> int:
        """How many findings count."""
        return sum(row.finding.is_open for row in self.findings)

    @property
    def is_single_operator(self) -> bool:
        """Whether one person answers for makers and deciders: at the verdict if it has ended, else now."""
        said = self.verdict.assurance if self.is_frozen and self.verdict else self.found.assurance.value
        return said == Assurance.SINGLE_OPERATOR.value

    @property
    def weighted_sum(self) -> str:
        """The sum of the products, before it is divided by the weights that were used."""
        return f"{sum(row.term.product for row in self.agents):.2f}"


def for_review() -> QuerySet[PullRequest]:
    """Pull requests with everything their page names; one row is one query."""
    work = VerificationWork.objects.filter(
        pull_request=OuterRef("pk"), head_sha=OuterRef("head_sha"), status=WorkStatus.WAITING
    )
    of_handoff = ("builder", "sponsor", "repository", "signature__key", "signature__logged_later")
    related = ("repository__github", *(f"handoff__{name}" for name in (*of_handoff, "signing_downgrade__lead")))
    rows = PullRequest.objects.select_related(*related).defer("handoff__signature__key__secret_key")
    return rows.annotate(work_left=Exists(work))


def observe(pull: PullRequest) -> tuple[str, str]:
    """The tree the head really holds, and why it could not be read: one of the two is empty."""
    try:
        return evidence.observed_tree(pull, Git(Path(pull.repository.path))), ""
    except GitError as error:
        return "", f"{error.code}: {error.detail}"


def read_review(pull: PullRequest, actor: Actor) -> Review:
    """Judge `pull`, loaded with `for_review`, and gather what its page shows to `actor`.

    Raises: VerdictError("policy.none").
    """
    verdict = evidence.live_verdict(pull)
    decision = (
        Decision.objects.filter(pull_request=pull)
        .select_related("lead", "countersigned_by", "statement", "justification")
        .order_by("-pk")
        .first()
    )
    is_frozen = pull.status in ENDED and verdict is not None
    if is_frozen and verdict is not None:
        tree, cannot_read = "", ""
        inputs = inputs_from_json(verdict.inputs)
        found = Evidence(verdict.policy, inputs, decide(inputs), evidence.gate_executions(pull, inputs.policy))
    else:
        tree, cannot_read = observe(pull)
        found = evidence.gather(pull, tree=tree)
    decides = may(actor.role, Act.ISSUE_VERDICT) or may(actor.role, Act.MERGE) or may(actor.role, Act.REVIEW_ESCALATION)
    return Review(
        pull=pull,
        found=found,
        verdict=verdict,
        decision=decision,
        blocks=find_blocks(pull, found, str(verdict.question or "") if verdict and verdict.binds(pull) else ""),
        agents=tuple(
            AgentRow(term, tuple(r for r in found.inputs.results if r.kind is term.kind))
            for term in found.judgement.terms
        ),
        gates=_gates(found),
        findings=_findings(found),
        options=tuple(_option(kind, pull, found) for kind in VerdictKind),
        is_frozen=is_frozen,
        has_work_left=bool(getattr(pull, "work_left", False)),
        conflict=find_conflict(found.parts, actor, found.registry) if decides and pull.status not in ENDED else "",
        cannot_read=cannot_read,
        names=names_of(texts=[reason.sentence for reason in found.judgement.reasons]),
        hosted=read_hosted(pull, found.inputs.policy, found.standing),
    )


def _gates(found: Evidence) -> tuple[GateRow, ...]:
    given = {gate.key: gate.outcome for gate in found.inputs.gates}
    said = {key: GateOutcome(execution.conclusion) for key, execution in found.executions.items()} | given
    return tuple(
        GateRow(gate, said.get(gate.key, GateOutcome.MISSING), found.executions.get(gate.key))
        for gate in found.inputs.policy.gates
    )


def _findings(found: Evidence) -> tuple[FindingRow, ...]:
    rows = [FindingRow(result.kind, finding) for result in found.inputs.results for finding in result.findings]
    rows.sort(key=lambda row: (not row.finding.is_open, _SEVERITIES.index(row.finding.severity), row.finding.file))
    return tuple(rows)


_MEANS: Final = {
    VerdictKind.PASS: "releases the pull request for merging",
    VerdictKind.CONDITIONAL_PASS: "goes to LEAD, who decides on the minor issues",
    VerdictKind.ESCALATE: "goes to LEAD with your question",
    VerdictKind.FAIL: "goes back to the builder",
}


def _option(kind: VerdictKind, pull: PullRequest, found: Evidence) -> Option:
    judgement, threshold = found.judgement, found.inputs.policy.threshold
    if kind is VerdictKind.PASS and pull.status == PullStatus.READY_TO_MERGE:
        return Option(kind, _MEANS[kind], "It is recorded already.")
    if is_at_least_as_strict(kind, judgement.verdict):
        return Option(kind, _MEANS[kind], "")
    if kind is VerdictKind.PASS and judgement.confidence < threshold:
        return Option(kind, _MEANS[kind], f"It needs a confidence of {threshold}; it is {judgement.confidence}.")
    said = judgement.verdict.value.replace("_", " ") if judgement.verdict else "not ready"
    why = judgement.reasons[0].sentence if judgement.reasons else ""
    return Option(kind, _MEANS[kind], f"It is laxer than the computed {said}: {why.rstrip('.')}.")


_HOW: Final = {
    Clearer.PLAN: "PLAN lets the sub-agents resolve it, or escalates",
    Clearer.LEAD: "LEAD decides once PLAN escalates",
    Clearer.OPERATOR: "an operator links the address: manage.py operate identity NAME --email ADDRESS",
    Clearer.EXEC: "the enforcer (EXEC) runs the step or gate again",
    Clearer.CODEX: "the builder (Codex) hands over a corrected bundle",
    Clearer.REVIEWER: "the reviewer reports, or PLAN verifies again",
    Clearer.TIME: "time clears it: the workflow reports, at the latest LEAD takes over at the deadline",
}


def find_blocks(pull: PullRequest, found: Evidence, asked: str) -> tuple[Block, ...]:
    """What stands between a pull request and its merge, and who clears it. `asked` is PLAN's question to LEAD."""
    if pull.status in (*ENDED, PullStatus.READY_TO_MERGE):
        return ()
    if pull.status == PullStatus.LEAD_REVIEW:
        why = asked or ("The gates did not finish in time." if pull.timed_out_at else "PLAN asks LEAD to decide.")
        return (Block(why, "lead.review", Clearer.LEAD.value, "LEAD approves, sends back or forces a re-run"),)
    if pull.status == PullStatus.NEEDS_REVISION:
        text, how = "This head was sent back; it needs a new bundle.", _HOW[Clearer.CODEX]
        return (Block(text, "pull.needs_revision", Clearer.CODEX.value, how), *_of(found.judgement.reasons))
    if pull.triggered_at is None:
        text = "The workflows on this head are not triggered yet."
        how = "the enforcer (EXEC) triggers them within seconds"
        return (Block(text, "pull.not_triggered", Clearer.EXEC.value, how),)
    text = f"No verdict is recorded for {pull.head_sha[:12]}."
    missing = Block(text, "verdict.missing", Clearer.PLAN.value, "PLAN records the verdict")
    return (*_of(found.judgement.reasons), missing)


def _of(reasons: Sequence[Reason]) -> tuple[Block, ...]:
    return tuple(Block(reason.sentence, reason.code, reason.who.value, _HOW[reason.who]) for reason in reasons)
