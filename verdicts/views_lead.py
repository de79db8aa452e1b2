"""LEAD's pages: what PLAN escalated, oldest first, and the decision on one of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from audit.accountability import Act, may
from audit.events import AuditError
from audit.names import names_of
from handoffs.models import PullRequest, PullStatus
from handoffs.tasks import nudge_publisher
from leoportal.live import render_live
from leoportal.web import Request, page, render_page
from verdicts.deciding import MIN_JUSTIFICATION, is_an_override, record_decision
from verdicts.forms import LAST_EXPIRY_DAYS, DecisionForm
from verdicts.models import Decision, Verdict, VerdictError
from verdicts.queueing import for_glance, glance_at
from verdicts.reviewing import Review, for_review, read_review

LIST_SIZE: Final = 100


@page(Act.VIEW_TRAIL, "GET")
def list_escalations(request: Request) -> HttpResponse:
    """What waits for LEAD, oldest first, with why and for how long."""
    waiting = for_glance(PullRequest.objects.waiting_for_lead())
    rows = glance_at(list(waiting[:LIST_SIZE]))
    newest: dict[int, Verdict] = {}
    verdicts = Verdict.objects.filter(pull_request__in=[row.pull for row in rows]).defer("inputs").order_by("pk")
    for verdict in verdicts.select_related("justification", "question"):
        newest[verdict.pull_request_id] = verdict
    decided = Decision.objects.select_related("pull_request__repository", "lead", "justification").order_by("-pk")[:10]
    context = {
        "rows": [(row, _live(newest.get(row.pull.pk), row.pull)) for row in rows],
        "names": names_of(texts=[row.why_you for row in rows]),
        "decided": decided,
        "limit": LIST_SIZE,
        "may_decide": may(request.actor.role, Act.REVIEW_ESCALATION),
    }
    return render_live(request, "verdicts/escalations.html", context, part="queue-news")


@page(Act.VIEW_TRAIL, "GET")
def show_escalation(request: Request, pk: int) -> HttpResponse:
    """One escalation: what PLAN saw and asked, and the decision form or the receipt."""
    review = read_review(_pull(pk), request.actor)
    return _render(
        request, review, DecisionForm(initial={"head_sha": review.pull.head_sha, "evidence": review.found.digest})
    )


@page(Act.REVIEW_ESCALATION, "POST")
def decide_escalation(request: Request, pk: int) -> HttpResponse:
    """The review step of a decision, and its recording. What was typed survives every refusal."""
    pull = _pull(pk)
    review = read_review(pull, request.actor)
    form = DecisionForm(request.POST, is_override=is_an_override(_live(review.verdict, pull), review.found.judgement))
    step = request.POST.get("step", "review")
    if not form.is_valid() or step == "edit":
        return _render(request, review, form, status=200 if step == "edit" else 422)
    if step != "record":
        context = {"pull": pull, "form": form, "review": review, "is_override": form.is_override}
        return render_page(request, "verdicts/confirm_decision.html", context)
    try:
        record_decision(pull.pk, form.request(), by=request.actor)
    except (VerdictError, AuditError) as refusal:
        return _render(request, read_review(_pull(pk), request.actor), form, refusal=refusal)
    nudge_publisher(pull.repository)
    return HttpResponseRedirect(f"{reverse('verdicts:escalation', args=[pk])}#receipt")


def _render(
    request: Request,
    review: Review,
    form: DecisionForm,
    *,
    refusal: VerdictError | AuditError | None = None,
    status: int = 200,
) -> HttpResponse:
    live = _live(review.verdict, review.pull)
    today = timezone.now().date()
    context = {
        "review": review,
        "pull": review.pull,
        "handoff": review.pull.handoff,
        "live": live,
        "is_override": is_an_override(live, review.found.judgement),
        "is_open": review.pull.status == PullStatus.LEAD_REVIEW,
        "form": form,
        "refusal": refusal,
        "least": MIN_JUSTIFICATION,
        "first_day": today.isoformat(),
        "last_day": (today + timedelta(days=LAST_EXPIRY_DAYS)).isoformat(),
        "may_decide": may(request.actor.role, Act.REVIEW_ESCALATION),
        "may_merge": may(request.actor.role, Act.MERGE),
    }
    return render_page(request, "verdicts/escalation.html", context, status=409 if refusal else status)


def _live(verdict: Verdict | None, pull: PullRequest) -> Verdict | None:
    return verdict if verdict is not None and verdict.binds(pull) else None


def _pull(pk: int) -> PullRequest:
    pull = for_review().filter(pk=pk).first()
    if pull is None:
        raise Http404("There is no such escalation.")
    return pull
