"""What administrators do, always two together: propose, approve, decline. The first ones are appointed at set-up.

Neither of the two may be the one it is about, or the same person as the other. A refused attempt is in the trail, too.
Source: NIST SP 800-53 AC-5; R6 of the design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, enter_principal
from audit.canonical import JsonValue, parse_json, write_json
from audit.changes import APPLIED, well_formed
from audit.events import Actor, AuditError, Role
from audit.models import (
    ErasableText,
    Kind,
    Principal,
    Proposal,
    ProposalKind,
    ProposalStatus,
    RoleGrant,
)
from audit.registry import hold_registry
from audit.separation import same
from audit.texts import store_text

LIFETIME: Final = timedelta(days=7)
MIN_REASON: Final = 10
MAX_REASON: Final = 500
FEWEST: Final = 2


@dataclass(frozen=True)
class Change:
    """What is proposed. `principal` None: somebody new. `detail` by kind: `audit.changes.FIELDS`."""

    kind: ProposalKind
    principal: Principal | None
    detail: Mapping[str, str]
    reason: str


@transaction.atomic(durable=True)
def appoint_administrators(names: Sequence[str], *, by: Actor) -> list[Principal]:
    """The bootstrapping act: the first administrators, two at least, appointed once by the operator at set-up.

    Raises: AuditError("administrators.too_few"), ("administrators.appointed"): from then on they appoint each other.
    """
    if by.role is not Role.OPERATOR:
        raise AuditError(
            "role.not_allowed", f"{by.name} is {by.role}; the first administrators are appointed at set-up"
        )
    if len(set(names)) < FEWEST:
        raise AuditError(
            "administrators.too_few", f"got {len(set(names))}, expected {FEWEST} different people at least"
        )
    hold_registry(is_change=True)
    if is_administered():
        raise AuditError("administrators.appointed", "there are administrators already; they appoint further ones")
    found = [enter_principal(name, kind=Kind.HUMAN, role=Role.ADMIN, by=by) for name in dict.fromkeys(names)]
    body: dict[str, JsonValue] = {"principals": [person.pk for person in found], "bootstrap": True}
    append_event(events.ADMINISTRATORS_APPOINTED, by, "", body)
    return found


def is_administered() -> bool:
    """Whether administrators were ever appointed: from then on nobody changes the registry alone."""
    return RoleGrant.objects.filter(role=Role.ADMIN.value).exists()


def propose_change(change: Change, *, by: Actor) -> Proposal:
    """One administrator's half. Raises: AuditError with a stable code; the attempt is in the trail."""
    try:
        return _propose(change, by)
    except AuditError as error:
        _log_refusal(by, error, change.kind)
        raise


@transaction.atomic(durable=True)
def _propose(change: Change, by: Actor) -> Proposal:
    require(by, Act.CHANGE_REGISTRY)
    hold_registry()
    reason = change.reason.strip()
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        raise AuditError("proposal.reason", f"got {len(reason)} characters, expected {MIN_REASON} to {MAX_REASON}")
    detail = well_formed(change.kind, change.principal, change.detail)
    _refuse_own_benefit(change.principal, detail, by)
    now = timezone.now()
    said = write_json({"detail": dict(detail), "reason": reason}).decode()
    words = store_text(ErasableText.Kind.PROPOSAL, said, author=by.principal_id, at=now)
    proposal = Proposal(
        kind=change.kind,
        principal=change.principal,
        words=words,
        proposed_by_id=by.principal_id,
        proposed_at=now,
        expires_at=now + LIFETIME,
    )
    proposal.log_entry = append_event(events.CHANGE_PROPOSED, by, change.kind.value, _body(proposal))
    proposal.save(force_insert=True)
    return proposal


def approve_change(proposal_id: int, *, by: Actor) -> Proposal:
    """The other administrator's half: the change happens in this transaction, or not at all.

    Raises: AuditError with a stable code; the attempt is in the trail.
    """
    try:
        return _approve(proposal_id, by)
    except AuditError as error:
        _log_refusal(by, error, f"approve {proposal_id}")
        raise


@transaction.atomic(durable=True)
def _approve(proposal_id: int, by: Actor) -> Proposal:
    require(by, Act.CHANGE_REGISTRY)
    hold_registry(is_change=True)
    proposal = _open_proposal(proposal_id)
    first = proposal.proposed_by
    if same(by.principal_id, first.pk, Principal.objects.registry()):
        raise AuditError("proposal.second_person", f"{first.name} proposed it; another person has to approve")
    if not RoleGrant.objects.current().filter(principal=first, role=Role.ADMIN.value).exists():
        raise AuditError("proposal.proposer_gone", f"{first.name} is no administrator any more; propose it again")
    if proposal.expires_at <= timezone.now():
        raise AuditError("proposal.expired", f"it lapsed {proposal.expires_at:%Y-%m-%d %H:%M} UTC; propose it again")
    detail = read_detail(proposal)
    _refuse_own_benefit(proposal.principal, detail, by)
    APPLIED[ProposalKind(proposal.kind)](proposal, detail, by)
    return _decide(proposal, ProposalStatus.APPROVED, events.CHANGE_APPROVED, by)


@transaction.atomic(durable=True)
def decline_change(proposal_id: int, *, by: Actor) -> Proposal:
    """Say no; whoever proposed it withdraws it."""
    require(by, Act.CHANGE_REGISTRY)
    proposal = _open_proposal(proposal_id)
    is_own = proposal.proposed_by_id == by.principal_id
    status = ProposalStatus.WITHDRAWN if is_own else ProposalStatus.DECLINED
    return _decide(proposal, status, events.CHANGE_WITHDRAWN if is_own else events.CHANGE_DECLINED, by)


def read_detail(proposal: Proposal) -> dict[str, str]:
    """What exactly was proposed. Raises: AuditError("proposal.words") when its words were erased or changed."""
    return _words(proposal)[0]


def read_reason(proposal: Proposal) -> str:
    """Why it was proposed; of erased words, that they were erased."""
    return _words(proposal)[1] if proposal.words.text is not None else str(proposal.words)


def _words(proposal: Proposal) -> tuple[dict[str, str], str]:
    words = proposal.words
    if not words.is_intact or words.text is None:
        raise AuditError("proposal.words", "what was proposed was erased, or is not what the trail committed to")
    match parse_json(words.text.encode()):
        case {"detail": dict(detail), "reason": str(reason)}:
            return {str(name): str(value) for name, value in detail.items()}, reason
        case _:
            raise AuditError("proposal.words", "what was proposed cannot be read")


def _open_proposal(proposal_id: int) -> Proposal:
    row = Proposal.objects.select_for_update(of=("self",)).select_related("principal", "proposed_by", "words")
    proposal = row.filter(pk=proposal_id).first()
    if proposal is None:
        raise AuditError("proposal.unknown", f"there is no proposal {proposal_id}")
    if proposal.status != ProposalStatus.OPEN:
        raise AuditError("proposal.decided", f"it is {proposal.status} already")
    return proposal


def _decide(proposal: Proposal, status: ProposalStatus, kind: str, by: Actor) -> Proposal:
    proposal.status, proposal.decided_at = status, timezone.now()
    proposal.decided_by = Principal.objects.get(pk=by.principal_id)
    proposal.end_entry = append_event(kind, by, str(proposal), _body(proposal))
    proposal.save(update_fields=["status", "decided_at", "decided_by", "end_entry"])
    return proposal


def _body(proposal: Proposal) -> dict[str, JsonValue]:
    """What the log says: who, whom, what kind, and the digest of the words. No name, no address."""
    return {
        **({"proposal": proposal.pk} if proposal.pk else {}),
        "change": str(proposal.kind),
        "principal": proposal.principal_id,
        "words": proposal.words.digest,
        "proposed_by": proposal.proposed_by_id,
        "status": str(proposal.status),
    }


@transaction.atomic(durable=True)
def _log_refusal(by: Actor, error: AuditError, wanted: str) -> None:
    append_event(events.CHANGE_REFUSED, by, "", {"code": error.code, "wanted": str(wanted)})


def _refuse_own_benefit(principal: Principal | None, detail: Mapping[str, str], by: Actor) -> None:
    """R6: whoever it is about, or answers for it, proposes and approves nothing of it."""
    about = [principal.pk] if principal else []
    named = Principal.objects.filter(name__in=[detail.get("other", ""), detail.get("sponsor", "")])
    about += named.values_list("pk", flat=True)
    registry = Principal.objects.registry()
    if any(same(by.principal_id, pk, registry) for pk in about):
        raise AuditError("proposal.own_benefit", f"it is about {by.name}; two other administrators have to do it")
