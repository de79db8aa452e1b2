"""PLAN's verdicts and LEAD's decisions. Each is one transaction that binds to exactly what was looked at.

A refused attempt is recorded too: the refusal leaves the transaction as an error, and is logged in one of its own.
Source: SOP sections 2.1, 2.2, 4.2 and 6; product.md sections 7 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, take_part
from audit.canonical import JsonValue
from audit.events import Actor, AuditError, numbered
from audit.models import ErasableText
from audit.texts import store_text
from handoffs.contributors import settle_contributors
from handoffs.models import Handoff, PullRequest, PullStatus, StaleStatusError
from verdicts import evidence
from verdicts.actions import store_own_gate
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision, DecisionKind, Verdict, VerdictError
from verdicts.policy import Judgement, inputs_to_json, is_at_least_as_strict, judgement_to_json
from verdicts.refusals import log_refusal
from verdicts.results import GateOutcome

MIN_JUSTIFICATION = 40
MAX_TEXT = 10_000
MAX_OVERRIDE = timedelta(days=14)
REASON_CLASSES = ("false-positive", "risk-accepted", "emergency", "gate-outage", "other")

_OUTCOMES = {
    VerdictKind.PASS: (PullStatus.READY_TO_MERGE, GateOutcome.SUCCESS),
    VerdictKind.CONDITIONAL_PASS: (PullStatus.LEAD_REVIEW, GateOutcome.ACTION_REQUIRED),
    VerdictKind.ESCALATE: (PullStatus.LEAD_REVIEW, GateOutcome.ACTION_REQUIRED),
    VerdictKind.FAIL: (PullStatus.NEEDS_REVISION, GateOutcome.FAILURE),
}


@dataclass(frozen=True)
class VerdictRequest:
    """What PLAN wants recorded, and what PLAN was looking at when deciding."""

    verdict: VerdictKind
    justification: str
    head_sha: str
    tree: str
    question: str = ""


@dataclass(frozen=True)
class DecisionRequest:
    """What LEAD wants recorded. `reason_class`, `reference` and `expires_at` are needed for an override.

    `evidence_digest` is `Evidence.digest` of what LEAD was looking at: an approval binds to it.
    """

    decision: DecisionKind
    justification: str
    head_sha: str
    evidence_digest: str
    reason_class: str = ""
    reference: str = ""
    expires_at: datetime | None = None


def record_verdict(pull_id: int, request: VerdictRequest, *, by: Actor) -> Verdict:
    """Record the computed verdict, or a stricter one with a reason; never a laxer one.

    Raises: VerdictError or AuditError with a stable code; the attempt is in the trail.
    """
    try:
        return _record_verdict(pull_id, request, by)
    except (VerdictError, AuditError) as error:
        log_refusal(events.VERDICT_REFUSED, pull_id, by, error, wanted=request.verdict.value)
        raise


@transaction.atomic(durable=True)
def _record_verdict(pull_id: int, request: VerdictRequest, by: Actor) -> Verdict:
    require(by, Act.ISSUE_VERDICT)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    live = evidence.live_verdict(pull)
    refuse_moved(pull, request.head_sha, "verdict")
    if pull.triggered_at is None or pull.status not in {PullStatus.GATES_PASSING, PullStatus.READY_TO_MERGE}:
        if live is not None and live.binds(pull):
            when = f"{live.created_at:%Y-%m-%d %H:%M:%S} UTC"
            said = f"{numbered(live.supervisor_id)} recorded {live.verdict} on this head at {when}"
            raise VerdictError("verdict.already_recorded", f"{said}; PR-{pull.number} is {pull.label} now")
        raise VerdictError("verdict.not_now", f"PR-{pull.number} is {pull.label}; no verdict can be recorded on it now")
    handoff = Handoff.objects.get(pk=pull.handoff_id)
    settle_contributors(handoff)
    take_part(handoff.chain, by)
    said = substance(request.justification, "verdict.justification", at_least=1)
    found = evidence.gather(pull, tree=request.tree)
    _refuse_laxer(request.verdict, found)
    _refuse_unfinished(pull, request.verdict)
    if request.verdict is VerdictKind.ESCALATE:
        substance(request.question, "verdict.question", at_least=10)
    asked = request.question.strip()[:300]
    computed = found.judgement.verdict.value if found.judgement.verdict else ""
    status, outcome = _OUTCOMES[request.verdict]
    if request.verdict is VerdictKind.PASS and found.inputs.policy.lead_approval == "always":
        status, outcome = PullStatus.LEAD_REVIEW, GateOutcome.ACTION_REQUIRED
    if pull.status == status:
        raise VerdictError("verdict.already_recorded", f"PR-{pull.number} already has {live} and is {pull.label}")
    justification = keep_text(said, by)
    question = keep_text(asked, by) if asked else None
    body: dict[str, JsonValue] = {
        "marker": f"PLAN-SUPERVISOR: {request.verdict.value}",
        "repository": pull.repository.full_name,
        "pr": pull.number,
        "verdict": request.verdict.value,
        "computed": computed,
        "confidence": str(found.judgement.confidence),
        "head": pull.head_sha,
        "base": pull.base_sha,
        "merge_tree": pull.merge_tree,
        "bundle": handoff.digest,
        "policy": found.policy_version.digest,
        "inputs": inputs_to_json(found.inputs),
        "reasons": judgement_to_json(found.judgement),
        "justification": justification.digest,
        "question": question.digest if question else None,
        "supersedes": live.pk if live else None,
        "assurance": found.assurance.value,
        "protection": found.protection.value,
        "principals": found.principals,
    }
    entry = append_event(events.VERDICT_RECORDED, by, str(handoff), body)
    try:
        with transaction.atomic():
            verdict = Verdict.objects.create(
                pull_request=pull,
                verdict=request.verdict.value,
                computed=computed,
                confidence=found.judgement.confidence,
                head_sha=pull.head_sha,
                base_sha=pull.base_sha,
                merge_tree=pull.merge_tree,
                bundle_digest=handoff.digest,
                policy=found.policy_version,
                inputs=body["inputs"],
                reasons=body["reasons"],
                justification=justification,
                question=question,
                supervisor_id=by.principal_id,
                assurance=found.assurance.value,
                protection=found.protection.value,
                principals=found.principals,
                supersedes=live,
                created_at=entry.created_at,
                log_entry=entry,
            )
    except IntegrityError:
        raise VerdictError("verdict.already_recorded", "somebody recorded a verdict at the same time") from None
    store_own_gate(pull, outcome, f"verdict-{verdict.pk}", by)
    _move(pull, status)
    return verdict


def _refuse_unfinished(pull: PullRequest, wanted: VerdictKind) -> None:
    if wanted in {VerdictKind.PASS, VerdictKind.CONDITIONAL_PASS} and evidence.has_work_left(pull):
        raise VerdictError("verdict.still_running", "checks are running on this head; wait for them, they take seconds")


def _refuse_laxer(wanted: VerdictKind, found: evidence.Evidence) -> None:
    computed = found.judgement.verdict
    if is_at_least_as_strict(wanted, computed):
        return
    policy = found.inputs.policy
    if wanted is VerdictKind.PASS and found.judgement.confidence < policy.threshold:
        raise VerdictError(
            "verdict.confidence_too_low",
            f"PASS needs a confidence of {policy.threshold}, it is {found.judgement.confidence}; nothing was recorded",
        )
    why = "; ".join(reason.sentence for reason in found.judgement.reasons[:3])
    said = computed.value if computed else "not ready"
    raise VerdictError(
        "verdict.laxer_than_computed", f"{wanted.value} is laxer than the computed {said}: {why} Nothing was recorded"
    )


def record_decision(pull_id: int, request: DecisionRequest, *, by: Actor) -> Decision:
    """Record LEAD's decision on an escalated pull request.

    Raises: VerdictError or AuditError with a stable code; the attempt is in the trail.
    """
    try:
        return _record_decision(pull_id, request, by)
    except (VerdictError, AuditError) as error:
        log_refusal(events.DECISION_REFUSED, pull_id, by, error, wanted=request.decision.value)
        raise


@transaction.atomic(durable=True)
def _record_decision(pull_id: int, request: DecisionRequest, by: Actor) -> Decision:
    require(by, Act.REVIEW_ESCALATION)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    refuse_moved(pull, request.head_sha, "decision")
    if pull.status != PullStatus.LEAD_REVIEW:
        raise VerdictError(
            "decision.not_escalated", f"PR-{pull.number} is {pull.label}; LEAD decides on lead-review only"
        )
    handoff = Handoff.objects.get(pk=pull.handoff_id)
    unknown, clashes = settle_contributors(handoff)
    take_part(handoff.chain, by)
    if clashes and request.decision is DecisionKind.APPROVE:
        raise AuditError("sod.conflict", f"{clashes[0]}; nobody can approve this, send it back for another handoff")
    if unknown and request.decision is DecisionKind.APPROVE:
        raise VerdictError(
            "contributor.unknown",
            f"nobody knows who {', '.join(unknown[:3])} is, so nobody can say that you are not; "
            "an operator links the address (`manage.py operate identity`), or you send it back",
        )
    said = substance(request.justification, "decision.justification", at_least=MIN_JUSTIFICATION)
    verdict = evidence.live_verdict(pull)
    if verdict is not None and not verdict.binds(pull):
        verdict = None
    found = evidence.gather(pull, tree=handoff.result_tree)
    if request.decision is DecisionKind.APPROVE and request.evidence_digest != found.digest:
        raise VerdictError(
            "decision.evidence_changed",
            "the evidence is no longer what your page showed; look at what is new below and decide again",
        )
    is_override = request.decision is DecisionKind.APPROVE and is_an_override(verdict, found.judgement)
    if is_override:
        _refuse_bare_override(request)
    run = 1 + Decision.objects.filter(pull_request=pull, verdict=verdict).count()
    reason_class = request.reason_class if is_override else ""
    reference = request.reference.strip()[:200]
    justification = keep_text(said, by)
    expires_at = request.expires_at if request.decision is DecisionKind.APPROVE else None
    body: dict[str, JsonValue] = {
        "decision": request.decision.value,
        "repository": pull.repository.full_name,
        "pr": pull.number,
        "override": is_override,
        "reason_class": reason_class,
        "justification": justification.digest,
        "reference": reference,
        "expires_at": expires_at.isoformat() if expires_at else None,
        "round": pull.round,
        "run": run,
        "verdict": verdict.pk if verdict else None,
        "head": pull.head_sha,
        "base": pull.base_sha,
        "merge_tree": pull.merge_tree,
        "policy": found.policy_version.digest,
        "computed_now": found.judgement.verdict.value if found.judgement.verdict else "",
        "inputs": inputs_to_json(found.inputs),
        "assurance": found.assurance.value,
        "protection": found.protection.value,
        "principals": found.principals,
        "countersigned_by": None,
    }
    if request.decision is DecisionKind.APPROVE:
        body["marker"] = f"LEAD-APPROVED: {justification.digest}"
    entry = append_event(events.DECISION_RECORDED, by, str(handoff), body)
    decision = Decision.objects.create(
        pull_request=pull,
        verdict=verdict,
        decision=request.decision.value,
        is_override=is_override,
        reason_class=reason_class,
        justification=justification,
        reference=reference,
        expires_at=expires_at,
        head_sha=pull.head_sha,
        merge_tree=pull.merge_tree,
        round=pull.round,
        run=run,
        lead_id=by.principal_id,
        assurance=found.assurance.value,
        protection=found.protection.value,
        principals=found.principals,
        created_at=entry.created_at,
        log_entry=entry,
    )
    match request.decision:
        case DecisionKind.APPROVE:
            store_own_gate(pull, GateOutcome.SUCCESS, f"decision-{decision.pk}", by)
            _move(pull, PullStatus.READY_TO_MERGE)
        case DecisionKind.SEND_BACK:
            store_own_gate(pull, GateOutcome.FAILURE, f"decision-{decision.pk}", by)
            _move(pull, PullStatus.NEEDS_REVISION)
        case DecisionKind.RERUN:
            PullRequest.objects.filter(pk=pull.pk).update(triggered_at=None, deadline_at=None)
            _move(pull, PullStatus.GATES_PASSING)
    return decision


def is_an_override(verdict: Verdict | None, judgement: Judgement) -> bool:
    """Whether approving now overrides something: a timeout, or evidence that is worse than conditional.

    Both what was computed at the verdict and what is computed now count: news after the verdict is looked at.
    """
    mild = {VerdictKind.PASS.value, VerdictKind.CONDITIONAL_PASS.value}
    now = judgement.verdict.value if judgement.verdict else ""
    return verdict is None or not {verdict.computed, now} <= mild


def _refuse_bare_override(request: DecisionRequest) -> None:
    if request.reason_class not in REASON_CLASSES:
        raise VerdictError(
            "decision.reason_class", f"got {request.reason_class[:40]!r}, expected one of {', '.join(REASON_CLASSES)}"
        )
    if len(request.reference.strip()) < 3:
        raise VerdictError("decision.reference", "an override names a ticket or document; the field is empty")
    now = timezone.now()
    if request.expires_at is None or not now < request.expires_at <= now + MAX_OVERRIDE:
        raise VerdictError("decision.expiry", f"an override expires in the future, within {MAX_OVERRIDE.days} days")


def refuse_moved(pull: PullRequest, head_sha: str, what: str) -> None:
    """Raises: VerdictError("<what>.head_moved") when the head is no longer the one that was looked at."""
    if head_sha != pull.head_sha:
        raise VerdictError(
            f"{what}.head_moved", f"you decided on {head_sha[:12]}, the head is now {pull.head_sha[:12]}; look again"
        )


def substance(text: str, code: str, *, at_least: int) -> str:
    """Free text of substance: long enough, not one character repeated."""
    cleaned = text.strip()
    if len(cleaned) < at_least or len(cleaned) > MAX_TEXT:
        raise VerdictError(code, f"got {len(cleaned)} characters, expected {at_least} to {MAX_TEXT}")
    if at_least > 1 and len(set(cleaned.lower())) < 8:
        raise VerdictError(code, "got a text of a few repeated characters, expected a reason a reader can follow")
    return cleaned


def keep_text(text: str, by: Actor) -> ErasableText:
    """What was written for a verdict or a decision, where it can be erased; row and leaf have its digest."""
    return store_text(ErasableText.Kind.DECISION, text, author=by.principal_id, at=timezone.now())


def release(pull: PullRequest) -> None:
    """The pull request may merge, in the caller's transaction. Raises: VerdictError when somebody was faster."""
    _move(pull, PullStatus.READY_TO_MERGE)


def _move(pull: PullRequest, new: PullStatus) -> None:
    try:
        PullRequest.objects.move(pull.pk, old=PullStatus(pull.status), new=new, merge_sha="")
    except StaleStatusError as error:
        raise VerdictError("verdict.already_recorded", str(error)) from None
