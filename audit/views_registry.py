"""The registry's page: who is who, in which role, under which names; and what administrators propose and approve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib import messages
from django.db.models import Prefetch
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from audit.accountability import Act, may
from audit.administration import approve_change, decline_change, propose_change, read_detail, read_reason
from audit.events import AuditError
from audit.forms_registry import ProposalForm
from audit.models import Identity, PersonLink, Principal, Proposal, ProposalKind, ProposalStatus, RoleGrant
from leoportal.web import Request, page, render_page

MOST: Final = 500
RECENT: Final = 20


@dataclass(frozen=True)
class Row:
    """One principal as the table shows it."""

    principal: Principal
    role: str
    names: tuple[Identity, ...]
    same_as: tuple[str, ...]


@dataclass(frozen=True)
class ProposalRow:
    """One proposal, readable."""

    proposal: Proposal
    detail: tuple[tuple[str, str], ...]
    reason: str
    is_own: bool


@page(Act.VIEW_REGISTRY, "GET")
def show_registry(request: Request) -> HttpResponse:
    """Everybody, what waits for a second administrator, and what can be proposed."""
    return _render(request)


@page(Act.CHANGE_REGISTRY, "POST")
def propose(request: Request) -> HttpResponse:
    """One administrator's half of a change."""
    kind = request.POST.get("change", "")
    if kind not in ProposalKind.values:
        raise Http404("There is no such change.")
    form = ProposalForm(request.POST, kind=ProposalKind(kind), people=_people())
    if not form.is_valid():
        return _render(request, form=form, status=422)
    try:
        propose_change(form.change(), by=request.actor)
    except AuditError as refusal:
        return _render(request, form=form, refusal=refusal, status=409)
    messages.success(request, "Proposed. It happens when another administrator approves it, within seven days.")
    return HttpResponseRedirect(reverse("audit:registry"))


@page(Act.CHANGE_REGISTRY, "POST")
def decide(request: Request, pk: int) -> HttpResponse:
    """The other half: approve, or decline; one's own is withdrawn."""
    is_approval = request.POST.get("step") == "approve"
    try:
        proposal = (approve_change if is_approval else decline_change)(pk, by=request.actor)
    except AuditError as refusal:
        return _render(request, refusal=refusal, status=409)
    messages.success(request, f"{ProposalKind(proposal.kind).label}: {proposal.status}.")
    return HttpResponseRedirect(reverse("audit:registry"))


def _people() -> list[str]:
    return list(Principal.objects.order_by("name").values_list("name", flat=True)[:MOST])


def _render(
    request: Request, *, form: ProposalForm | None = None, refusal: AuditError | None = None, status: int = 200
) -> HttpResponse:
    may_change = may(request.actor.role, Act.CHANGE_REGISTRY)
    people = _people() if may_change else []
    forms = [
        form if form is not None and form.proposes is kind else ProposalForm(kind=kind, people=people)
        for kind in ProposalKind
    ]
    related = Proposal.objects.select_related("principal", "proposed_by", "decided_by", "words")
    context = {
        "rows": _rows(),
        "waiting": [
            _proposal_row(proposal, request) for proposal in related.filter(status=ProposalStatus.OPEN).order_by("pk")
        ],
        "decided": [
            _proposal_row(proposal, request)
            for proposal in related.exclude(status=ProposalStatus.OPEN).order_by("-decided_at")[:RECENT]
        ],
        "forms": forms if may_change else [],
        "opened": form,
        "refusal": refusal,
        "may_change": may_change,
    }
    return render_page(request, "audit/registry.html", context, status=status)


def _rows() -> list[Row]:
    grants = Prefetch("grants", RoleGrant.objects.current(), to_attr="roles_now")
    names = Prefetch("identities", Identity.objects.current().order_by("kind", "value"), to_attr="names_now")
    found = list(Principal.objects.select_related("sponsor").prefetch_related(grants, names).order_by("name")[:MOST])
    same: dict[int, list[str]] = {}
    for link in PersonLink.objects.current().select_related("one", "other"):
        same.setdefault(link.one_id, []).append(link.other.name)
        same.setdefault(link.other_id, []).append(link.one.name)
    return [
        Row(
            principal,
            next((grant.role for grant in getattr(principal, "roles_now", ())), ""),
            tuple(getattr(principal, "names_now", ())),
            tuple(same.get(principal.pk, ())),
        )
        for principal in found
    ]


def _proposal_row(proposal: Proposal, request: Request) -> ProposalRow:
    try:
        detail = tuple((name, value) for name, value in read_detail(proposal).items() if value)
    except AuditError as error:
        detail = (("unreadable", error.detail),)
    reason = read_reason(proposal) if proposal.words.is_intact else str(proposal.words)
    return ProposalRow(proposal, detail, reason, proposal.proposed_by_id == request.actor.principal_id)
