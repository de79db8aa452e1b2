"""Break-glass: two people release one head past the gates, for 60 minutes, in the open, and a third one reviews it.

It lifts PLAN's verdict and the gates. It does not lift what makes a change attributable: the bundle is verified and
signed, everybody behind it is known, and neither of the two took part in it. There is no way past the log, the hook or
the statement: it publishes as what it is.
Source: R7 of the design; SOD-12 of the threat list.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, take_part
from audit.canonical import JsonValue
from audit.events import Actor, AuditError, Role, numbered
from audit.models import ErasableText, Principal
from audit.separation import same
from audit.texts import store_text
from handoffs.contributors import settle_contributors
from handoffs.models import Handoff, PullRequest, PullStatus
from verdicts import evidence
from verdicts.actions import store_own_gate
from verdicts.break_glass_rows import BreakGlass
from verdicts.deciding import refuse_moved, release, substance
from verdicts.evidence import Evidence
from verdicts.models import BREAK_GLASS, Decision, DecisionKind, VerdictError
from verdicts.policy import inputs_to_json
from verdicts.refusals import log_refusal
from verdicts.results import GateOutcome

OPEN_FOR: Final = timedelta(minutes=60)
REVIEW_WITHIN: Final = timedelta(hours=24)
MIN_TEXT: Final = 40
OPENED: Final = ("second", "decision", "is_unreviewed", "opened_at", "closes_at", "review_due_at", "open_entry")
REVIEWED: Final = ("reviewed_by", "reviewed_at", "is_unreviewed", "review", "review_entry")
BREAKABLE: Final = (PullStatus.GATES_PASSING, PullStatus.LEAD_REVIEW)


@dataclass(frozen=True)
class BreakGlassRequest:
    """Why, where it is written down, and the head that was looked at."""

    justification: str
    reference: str
    head_sha: str


def request_break_glass(pull_id: int, request: BreakGlassRequest, *, by: Actor) -> BreakGlass:
    """LEAD's half. Nothing is released yet. Raises: VerdictError or AuditError; the attempt is in the trail."""
    try:
        return _request(pull_id, request, by)
    except (VerdictError, AuditError) as error:
        log_refusal(events.BREAK_GLASS_REFUSED, pull_id, by, error, wanted="request")
        raise


@transaction.atomic(durable=True)
def _request(pull_id: int, request: BreakGlassRequest, by: Actor) -> BreakGlass:
    require(by, Act.BREAK_GLASS)
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    handoff = Handoff.objects.get(pk=pull.handoff_id)
    _refuse_unfit(pull, handoff, request.head_sha)
    take_part(handoff.chain, by)
    now = timezone.now()
    if BreakGlass.objects.filter(pull_request=pull, opened_at=None, lapses_at__gt=now, head_sha=pull.head_sha).exists():
        raise VerdictError("breakglass.waiting", f"PR-{pull.number} waits for a second person already")
    text = substance(request.justification, "breakglass.justification", at_least=MIN_TEXT)
    reference = request.reference.strip()[:200]
    if len(reference) < 3:
        raise VerdictError("breakglass.reference", "name the incident or ticket; the field is empty")
    glass = BreakGlass(
        pull_request=pull,
        head_sha=pull.head_sha,
        merge_tree=pull.merge_tree,
        reason=_keep(text, by, now),
        reference=reference,
        requested_by_id=by.principal_id,
        requested_at=now,
        lapses_at=now + OPEN_FOR,
    )
    glass.log_entry = append_event(events.BREAK_GLASS_REQUESTED, by, str(handoff), _body(glass, pull))
    glass.save(force_insert=True)
    return glass


def open_break_glass(glass_id: int, *, by: Actor) -> Decision:
    """The second person's half, LEAD or an administrator: the head is released until 60 minutes from now.

    Raises: VerdictError or AuditError; the attempt is in the trail.
    """
    pull_id = BreakGlass.objects.values_list("pull_request", flat=True).get(pk=glass_id)
    try:
        return _open(glass_id, by)
    except (VerdictError, AuditError) as error:
        log_refusal(events.BREAK_GLASS_REFUSED, pull_id, by, error, wanted="open")
        raise


@transaction.atomic(durable=True)
def _open(glass_id: int, by: Actor) -> Decision:
    require(by, Act.COUNTERSIGN_BREAK_GLASS)
    glass = BreakGlass.objects.select_for_update(of=("self",)).select_related("requested_by", "reason").get(pk=glass_id)
    pull = PullRequest.objects.select_for_update().get(pk=glass.pull_request_id)
    handoff = Handoff.objects.get(pk=pull.handoff_id)
    first = Actor(glass.requested_by_id, glass.requested_by.name, Role.LEAD)
    asked_by = numbered(first.principal_id)
    if same(by.principal_id, first.principal_id, Principal.objects.registry()):
        raise VerdictError("breakglass.second_person", f"{asked_by} asked for it; another person has to open it")
    now = timezone.now()
    if glass.opened_at is not None or glass.lapses_at <= now:
        said = "is opened already" if glass.opened_at else f"lapsed {glass.lapses_at:%Y-%m-%d %H:%M} UTC"
        raise VerdictError("breakglass.not_open", f"this request {said}; ask again")
    found = _refuse_unfit(pull, handoff, glass.head_sha)
    take_part(handoff.chain, by)
    decision = _decide(glass, pull, handoff, found, first=first, second=by, now=now)
    try:
        with transaction.atomic():
            glass.second_id, glass.decision, glass.is_unreviewed = by.principal_id, decision, True
            glass.opened_at, glass.closes_at, glass.review_due_at = now, now + OPEN_FOR, now + REVIEW_WITHIN
            body = {**_body(glass, pull), "decision": decision.pk}
            glass.open_entry = append_event(events.BREAK_GLASS_OPENED, by, str(handoff), body)
            glass.save(update_fields=OPENED)
    except IntegrityError:
        raise VerdictError(
            "breakglass.review_due", "another one was opened meanwhile and waits for its review"
        ) from None
    store_own_gate(pull, GateOutcome.SUCCESS, f"decision-{decision.pk}", first, {"title": "BREAK-GLASS"})
    release(pull)
    return decision


def _decide(  # noqa: PLR0913 - the two people, and what they decide on
    glass: BreakGlass,
    pull: PullRequest,
    handoff: Handoff,
    found: Evidence,
    *,
    first: Actor,
    second: Actor,
    now: datetime,
) -> Decision:
    """LEAD's row in pr_approval_audit, as any other release has one, and its leaf."""
    verdict = evidence.live_verdict(pull)
    bound = verdict if verdict is not None and verdict.binds(pull) else None
    closes_at = now + OPEN_FOR
    run = 1 + Decision.objects.filter(pull_request=pull, verdict=bound).count()
    body: dict[str, JsonValue] = {
        "decision": DecisionKind.APPROVE.value,
        "class": "OVERRIDE/BREAK-GLASS",
        "repository": pull.repository.full_name,
        "pr": pull.number,
        "override": True,
        "reason_class": BREAK_GLASS,
        "justification": glass.reason.digest,
        "reference": glass.reference,
        "expires_at": closes_at.isoformat(),
        "round": pull.round,
        "run": run,
        "verdict": bound.pk if bound else None,
        "head": pull.head_sha,
        "base": pull.base_sha,
        "merge_tree": pull.merge_tree,
        "policy": found.policy_version.digest,
        "computed_now": found.judgement.verdict.value if found.judgement.verdict else "",
        "inputs": inputs_to_json(found.inputs),
        "assurance": found.assurance.value,
        "protection": found.protection.value,
        "principals": found.principals,
        "countersigned_by": second.principal_id,
        "marker": f"LEAD-APPROVED: {glass.reason.digest}",
    }
    entry = append_event(events.DECISION_RECORDED, first, str(handoff), body)
    return Decision.objects.create(
        pull_request=pull,
        verdict=bound,
        decision=DecisionKind.APPROVE.value,
        is_override=True,
        reason_class=BREAK_GLASS,
        justification=glass.reason,
        reference=glass.reference,
        expires_at=closes_at,
        head_sha=pull.head_sha,
        merge_tree=pull.merge_tree,
        round=pull.round,
        run=run,
        lead_id=first.principal_id,
        countersigned_by_id=second.principal_id,
        assurance=found.assurance.value,
        protection=found.protection.value,
        principals=found.principals,
        created_at=entry.created_at,
        log_entry=entry,
    )


def review_break_glass(glass_id: int, text: str, *, by: Actor) -> BreakGlass:
    """A third person's review, due within 24 hours; until it is there, nobody breaks the glass again.

    Raises: VerdictError or AuditError; the attempt is in the trail.
    """
    pull_id = BreakGlass.objects.values_list("pull_request", flat=True).get(pk=glass_id)
    try:
        return _review(glass_id, text, by)
    except (VerdictError, AuditError) as error:
        log_refusal(events.BREAK_GLASS_REFUSED, pull_id, by, error, wanted="review")
        raise


@transaction.atomic(durable=True)
def _review(glass_id: int, text: str, by: Actor) -> BreakGlass:
    require(by, Act.REVIEW_BREAK_GLASS)
    glass = BreakGlass.objects.select_for_update().get(pk=glass_id)
    if not glass.is_unreviewed or glass.second_id is None:
        raise VerdictError("breakglass.nothing_to_review", "it was never opened, or is reviewed already")
    registry = Principal.objects.registry()
    if any(same(by.principal_id, one, registry) for one in (glass.requested_by_id, glass.second_id)):
        raise VerdictError(
            "breakglass.third_person", "whoever broke the glass does not review it; a third person has to"
        )
    said = substance(text, "breakglass.review", at_least=MIN_TEXT)
    pull = PullRequest.objects.select_related("handoff").get(pk=glass.pull_request_id)
    take_part(pull.handoff.chain, by)
    now = timezone.now()
    glass.reviewed_by_id, glass.reviewed_at, glass.is_unreviewed = by.principal_id, now, False
    glass.review = _keep(said, by, now)
    is_late = glass.review_due_at is not None and now > glass.review_due_at
    body: dict[str, JsonValue] = {**_body(glass, pull), "review": glass.review.digest, "late": is_late}
    glass.review_entry = append_event(events.BREAK_GLASS_REVIEWED, by, f"H-{pull.handoff_id}", body)
    glass.save(update_fields=REVIEWED)
    return glass


def _refuse_unfit(pull: PullRequest, handoff: Handoff, head_sha: str) -> Evidence:
    """What no emergency lifts: an open review, another head, an unverified or unsigned bundle, unknown people."""
    waiting = BreakGlass.objects.unreviewed().first()
    if waiting is not None:
        raise VerdictError(
            "breakglass.review_due", f"{waiting} of {waiting.pull_request} waits for its review; that comes first"
        )
    refuse_moved(pull, head_sha, "breakglass")
    if pull.status not in BREAKABLE or pull.triggered_at is None:
        raise VerdictError(
            "breakglass.not_now", f"PR-{pull.number} is {pull.label}; there is nothing to break the glass for"
        )
    unknown, clashes = settle_contributors(handoff)
    if unknown:
        raise VerdictError(
            "contributor.unknown", f"nobody knows who {', '.join(unknown[:3])} is; no emergency lifts that"
        )
    found = evidence.gather(pull, tree=handoff.result_tree)
    if clashes or found.inputs.sod_violations:
        raise AuditError("sod.conflict", f"{(*clashes, *found.inputs.sod_violations)[0]}; no emergency lifts that")
    if not found.inputs.is_bundle_verified or not found.inputs.is_bundle_signed:
        raise VerdictError("breakglass.bundle", "the bundle is not verified and signed; no emergency lifts that")
    return found


def _keep(text: str, by: Actor, at: datetime) -> ErasableText:
    return store_text(ErasableText.Kind.BREAK_GLASS, text, author=by.principal_id, at=at)


def _body(glass: BreakGlass, pull: PullRequest) -> dict[str, JsonValue]:
    return {
        "break_glass": glass.pk,
        "pr": pull.number,
        "head": glass.head_sha,
        "reason": glass.reason.digest,
        "reference": glass.reference,
        "requested_by": glass.requested_by_id,
        "second": glass.second_id,
        "closes_at": glass.closes_at.isoformat() if glass.closes_at else None,
    }
