"""The rules of a verdict: each a named function that gives its reasons, in one tuple, strictest first.

All rules run. The verdict is the strictest that any reason calls for, which is the same as "first match wins" over
FAIL, ESCALATE, not ready, CONDITIONAL_PASS, PASS.
Source: product.md section 7; SOP sections 2.1 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from verdicts.decision import Clearer, Disagreement, GateInput, Inputs, Reason, Term, Verdict
from verdicts.findings import MINOR, SEVERE, AgentOutcome, AgentResult, Finding, GateOutcome, Severity
from verdicts.policy_document import Policy

MAX_LISTED: Final = 3
_NEEDS_LEAD: Final = {
    "control_plane": "it changes what steers the gates",
    "unreviewable": "it holds what nobody can review",
    "informational_gate": "it keeps a gate from failing",
}
UNUSABLE: Final = frozenset({AgentOutcome.ERROR, AgentOutcome.MISSING, AgentOutcome.STALE})


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules look at. `voices` are the results as they may be heard, one at least for each applicable kind."""

    inputs: Inputs
    voices: tuple[AgentResult, ...]
    findings: tuple[Finding, ...]
    gates: tuple[GateInput, ...]
    terms: tuple[Term, ...]
    is_below_threshold: bool
    confidence: Decimal


def disagreements(results: tuple[AgentResult, ...], policy: Policy) -> tuple[Disagreement, ...]:
    """Every pair of kinds of which one PASSED and one FAILED, both at the policy's confidence, on the same files.

    The files of a FAILED result are those of its open high and critical findings; a finding on the whole change
    makes it all files it examined. Any pair asks for a resolution round; after the last one it escalates.
    """
    sure = [
        result
        for result in results
        if has_possible_confidence(result) and result.confidence >= policy.disagreement_confidence
    ]
    found = []
    for failed in (result for result in sure if result.outcome is AgentOutcome.FAILED):
        files = {finding.file for finding in failed.open_findings if finding.severity in SEVERE}
        if "" in files or not files:
            files |= set(failed.subjects)
        for passed in (result for result in sure if result.outcome is AgentOutcome.PASSED):
            shared = tuple(sorted(files & set(passed.subjects)))
            if shared:
                found.append(Disagreement(passed.kind, failed.kind, shared))
    return tuple(found)


def has_possible_confidence(result: AgentResult) -> bool:
    """Whether the confidence is a number from 0 to 100."""
    return result.confidence.is_finite() and 0 <= result.confidence <= 100


def open_critical_finding(case: Case) -> Iterator[Reason]:
    """An open critical finding is a FAIL."""
    for finding in case.findings:
        if finding.severity is Severity.CRITICAL:
            yield Reason("finding.critical", _about(finding), Clearer.CODEX, Verdict.FAIL)


def gate_not_successful(case: Case) -> Iterator[Reason]:
    """A required gate that ended in anything but success is a FAIL."""
    for gate in case.gates:
        if gate.outcome not in {GateOutcome.SUCCESS, GateOutcome.MISSING}:
            sentence = f"gate {gate.key} ended in {gate.outcome}, expected success"
            yield Reason("gate.not_success", sentence, Clearer.EXEC, Verdict.FAIL)


def duties_not_separate(case: Case) -> Iterator[Reason]:
    """A violation of separation of duties is a FAIL."""
    for violation in case.inputs.sod_violations:
        yield Reason("sod.violation", violation, Clearer.LEAD, Verdict.FAIL)


def bundle_not_verified(case: Case) -> Iterator[Reason]:
    """An unverified or unsigned bundle is a FAIL."""
    if not case.inputs.is_bundle_verified:
        yield Reason("bundle.unverified", "the bundle is not verified", Clearer.CODEX, Verdict.FAIL)
    if not case.inputs.is_bundle_signed:
        yield Reason("bundle.unsigned", "the bundle is not signed by the enforcer", Clearer.EXEC, Verdict.FAIL)


def builder_not_allowed(case: Case) -> Iterator[Reason]:
    """A bundle of somebody who may not build now is a FAIL."""
    for problem in case.inputs.builder_problems:
        yield Reason("builder.not_allowed", problem, Clearer.OPERATOR, Verdict.FAIL)


def tree_differs(case: Case) -> Iterator[Reason]:
    """A head whose tree is not the one the bundle produces, or is unknown, is a FAIL."""
    expected, observed = case.inputs.expected_tree, case.inputs.observed_tree
    if not expected or expected != observed:
        sentence = f"the head holds tree {observed[:12] or 'unknown'}, the bundle makes {expected[:12] or 'unknown'}"
        yield Reason("tree.differs", sentence, Clearer.EXEC, Verdict.FAIL)


def all_agents_failed(case: Case) -> Iterator[Reason]:
    """Every sub-agent FAILED; one that cannot be heard does not speak against it."""
    outcomes = {voice.outcome for voice in case.voices}
    if AgentOutcome.FAILED in outcomes and outcomes <= UNUSABLE | {AgentOutcome.FAILED}:
        yield Reason("agents.all_failed", "no sub-agent found the change acceptable", Clearer.CODEX, Verdict.FAIL)


def confidence_too_low(case: Case) -> Iterator[Reason]:
    """A confidence below the threshold is a FAIL; nothing to weigh is a confidence of 0."""
    if case.is_below_threshold:
        sentence = f"confidence {case.confidence} is below {case.inputs.policy.threshold}"
        yield Reason("confidence.low", sentence, Clearer.CODEX, Verdict.FAIL)


def agent_not_heard(case: Case) -> Iterator[Reason]:
    """A sub-agent that is blocked, in error, missing or stale escalates."""
    for voice in case.voices:
        if voice.outcome is AgentOutcome.BLOCKED:
            sentence = f"{voice.kind} is BLOCKED: {voice.reason or 'no reason given'}"
            yield Reason("agent.blocked", sentence, Clearer.LEAD, Verdict.ESCALATE)
        elif voice.outcome in UNUSABLE:
            sentence = f"{voice.kind} is {voice.outcome}: {voice.reason or 'no reason given'}"
            yield Reason(f"agent.{voice.outcome.lower()}", sentence, Clearer.REVIEWER, Verdict.ESCALATE)


def contributor_unknown(case: Case) -> Iterator[Reason]:
    """A contributor nobody can name escalates."""
    for name in case.inputs.unknown_contributors:
        yield Reason("contributor.unknown", f"nobody knows who {name} is", Clearer.OPERATOR, Verdict.ESCALATE)


def open_high_finding(case: Case) -> Iterator[Reason]:
    """An open high finding escalates."""
    for finding in case.findings:
        if finding.severity is Severity.HIGH:
            yield Reason("finding.high", _about(finding), Clearer.LEAD, Verdict.ESCALATE)


def approvals_raised(case: Case) -> Iterator[Reason]:
    """What raises the approvals escalates, whatever the sub-agents say: PLAN alone does not release it."""
    for kind in dict.fromkeys(one.kind for one in case.inputs.raised):
        found = [one for one in case.inputs.raised if one.kind == kind]
        listed = "; ".join(f"{one.path or 'the change'} ({one.why[:200]})" for one in found[:MAX_LISTED])
        more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
        sentence = f"needs LEAD because {_NEEDS_LEAD.get(kind, f'of {kind}')}: {listed}{more}"
        yield Reason(f"approval.{kind}", sentence, Clearer.LEAD, Verdict.ESCALATE)


def agents_disagree(case: Case) -> Iterator[Reason]:
    """Sub-agents that disagree escalate, after the last round for good, before it unless PLAN resolves it."""
    used, most = case.inputs.rounds_used, case.inputs.policy.max_rounds
    for found in disagreements(case.voices, case.inputs.policy):
        about = f"{found.passed} PASSED and {found.failed} FAILED {found.subjects[0]}"
        if used >= most:
            yield Reason("agents.rounds_exhausted", f"{about} after {used} rounds", Clearer.LEAD, Verdict.ESCALATE)
        else:
            yield Reason("agents.disagree", f"{about}; round {used} of {most}", Clearer.PLAN, Verdict.ESCALATE)


def agent_failed(case: Case) -> Iterator[Reason]:
    """A FAILED sub-agent escalates, also when it shows no open finding: our stricter reading of the SOP."""
    for voice in case.voices:
        if voice.outcome is AgentOutcome.FAILED:
            sentence = f"{voice.kind} FAILED with confidence {voice.confidence}"
            yield Reason("agent.failed", sentence, Clearer.LEAD, Verdict.ESCALATE)


def gate_missing(case: Case) -> Iterator[Reason]:
    """A gate without a result: not ready before the deadline, an escalation after it."""
    for gate in case.gates:
        if gate.outcome is not GateOutcome.MISSING:
            continue
        if case.inputs.is_deadline_passed:
            sentence = f"gate {gate.key} has no result and the deadline has passed"
            yield Reason("deadline.passed", sentence, Clearer.LEAD, Verdict.ESCALATE)
        else:
            yield Reason("gate.missing", f"gate {gate.key} has no result yet", Clearer.TIME, None)


def open_minor_finding(case: Case) -> Iterator[Reason]:
    """An open low or medium finding makes the pass conditional: LEAD decides."""
    for finding in case.findings:
        if finding.severity in MINOR:
            yield Reason("finding.minor", _about(finding), Clearer.LEAD, Verdict.CONDITIONAL_PASS)


def agent_warned(case: Case) -> Iterator[Reason]:
    """A WARNED sub-agent makes the pass conditional, also when it shows no open finding."""
    for voice in case.voices:
        if voice.outcome is AgentOutcome.WARNED:
            yield Reason(
                "agent.warned",
                f"The sub-agent {voice.kind.capitalize()} warned.",
                Clearer.LEAD,
                Verdict.CONDITIONAL_PASS,
            )


RULES: Final[tuple[Callable[[Case], Iterator[Reason]], ...]] = (
    open_critical_finding,
    gate_not_successful,
    duties_not_separate,
    bundle_not_verified,
    builder_not_allowed,
    tree_differs,
    all_agents_failed,
    confidence_too_low,
    agent_not_heard,
    contributor_unknown,
    open_high_finding,
    approvals_raised,
    agents_disagree,
    agent_failed,
    gate_missing,
    open_minor_finding,
    agent_warned,
)


def _about(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file or "the whole change"
    return f"{finding.severity} {finding.rule} at {place}: {finding.message}"
