"""Break-glass pages: asking for it, opening it as the second person, reviewing it as the third; seen by everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from audit.accountability import Act, may
from audit.events import AuditError
from handoffs.tasks import nudge_publisher
from leoportal.web import Request, page, render_page
from verdicts.break_glass import BREAKABLE, open_break_glass, request_break_glass, review_break_glass
from verdicts.break_glass_rows import BreakGlass
from verdicts.forms import BreakGlassForm, BreakGlassReviewForm
from verdicts.models import VerdictError
from verdicts.reviewing import for_review

LIST_SIZE: Final = 50


@dataclass(frozen=True)
class Row:
    """One broken glass, or one that is asked for, as its page shows it."""

    glass: BreakGlass
    state: str
    is_own: bool


@page(Act.VIEW_BREAK_GLASS, "GET")
def list_break_glass(request: Request) -> HttpResponse:
    """What waits for a second person, what waits for its review, and what was."""
    return _render(request)


@page(Act.BREAK_GLASS, "GET", "POST")
def ask(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """LEAD asks to break the glass for one head of one pull request."""
    pull = for_review().filter(repository__full_name=f"{owner}/{repo}", number=number).first()
    if pull is None:
        raise Http404(f"There is no PR-{number} in {owner}/{repo}.")
    form = BreakGlassForm(request.POST or None, initial={"head_sha": pull.head_sha})
    refusal: VerdictError | AuditError | None = None
    if form.is_valid():
        try:
            request_break_glass(pull.pk, form.request(), by=request.actor)
        except (VerdictError, AuditError) as error:
            refusal = error
        else:
            messages.success(request, "Asked for. Another LEAD or an administrator opens it, within 60 minutes.")
            return HttpResponseRedirect(reverse("verdicts:break_glass"))
    context = {
        "pull": pull,
        "form": form,
        "refusal": refusal,
        "is_breakable": pull.status in BREAKABLE and pull.triggered_at is not None,
    }
    status = 409 if refusal else 422 if form.is_bound else 200
    return render_page(request, "verdicts/break_glass_form.html", context, status=status)


@page(Act.COUNTERSIGN_BREAK_GLASS, "POST")
def open_glass(request: Request, pk: int) -> HttpResponse:
    """The second person opens it."""
    _known(pk)
    try:
        decision = open_break_glass(pk, by=request.actor)
    except (VerdictError, AuditError) as refusal:
        return _render(request, refusal=refusal, status=409)
    nudge_publisher(decision.pull_request.repository)
    messages.success(request, f"Opened: {decision.pull_request} may merge until {decision.expires_at:%H:%M:%S} UTC.")
    return HttpResponseRedirect(reverse("verdicts:break_glass"))


@page(Act.REVIEW_BREAK_GLASS, "POST")
def review(request: Request, pk: int) -> HttpResponse:
    """A third person writes what they found."""
    _known(pk)
    form = BreakGlassReviewForm(request.POST)
    if not form.is_valid():
        return _render(request, form=form, status=422)
    try:
        review_break_glass(pk, form.cleaned_data["review"], by=request.actor)
    except (VerdictError, AuditError) as refusal:
        return _render(request, form=form, refusal=refusal, status=409)
    messages.success(request, "Reviewed. The glass can be broken again.")
    return HttpResponseRedirect(reverse("verdicts:break_glass"))


def _known(pk: int) -> None:
    if not BreakGlass.objects.filter(pk=pk).exists():
        raise Http404("There is no such request.")


def _render(
    request: Request,
    *,
    form: BreakGlassReviewForm | None = None,
    refusal: VerdictError | AuditError | None = None,
    status: int = 200,
) -> HttpResponse:
    rows = [_row(glass, request) for glass in _newest()]
    role = request.actor.role
    context = {
        "waiting": [row for row in rows if row.state == "waits-for-second"],
        "unreviewed": [row for row in rows if row.state in {"break-glass", "review-due"}],
        "past": [row for row in rows if row.state in {"reviewed", "lapsed"}],
        "form": form or BreakGlassReviewForm(),
        "refusal": refusal,
        "may_open": may(role, Act.COUNTERSIGN_BREAK_GLASS),
        "may_review": may(role, Act.REVIEW_BREAK_GLASS),
        "may_see_pulls": may(role, Act.VIEW_PULLS),
    }
    return render_page(request, "verdicts/break_glass.html", context, status=status)


def _newest() -> QuerySet[BreakGlass]:
    return BreakGlass.objects.with_names().order_by("-pk")[:LIST_SIZE]


def _row(glass: BreakGlass, request: Request) -> Row:
    now = timezone.now()
    if glass.opened_at is None:
        state = "waits-for-second" if glass.lapses_at > now else "lapsed"
    elif glass.reviewed_at is None:
        state = "break-glass" if glass.closes_at is not None and glass.closes_at > now else "review-due"
    else:
        state = "reviewed"
    return Row(glass, state, request.actor.principal_id in {glass.requested_by_id, glass.second_id})
