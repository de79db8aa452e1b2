"""The pages that prove something: role separation of a pull request, and signed statements."""

from __future__ import annotations

from django.http import Http404, HttpResponse

from audit.accountability import Act, may
from leoportal.web import Request, page, render_page
from verdicts.duties import read_separation
from verdicts.models import DecisionStatement, VerdictStatement
from verdicts.reviewing import for_review


@page(Act.VIEW_TRAIL, "GET")
def show_separation(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """Who did what on one pull request, in which role, and whether the rules held."""
    pull = for_review().filter(repository__full_name=f"{owner}/{repo}", number=number).first()
    if pull is None:
        raise Http404(f"There is no PR-{number} in {owner}/{repo}.")
    may_export = may(request.actor.role, Act.EXPORT_TRAIL)
    context = {"pull": pull, "separation": read_separation(pull), "may_export": may_export}
    return render_page(request, "verdicts/separation.html", context)


@page(Act.VIEW_PULLS, "GET")
def download_verdict(_request: Request, owner: str, repo: str, number: int, pk: int) -> HttpResponse:
    """The gate lane's signed statement of a verdict: a SLSA VSA in its DSSE envelope."""
    rows = VerdictStatement.objects.filter(verdict__pull_request__repository__full_name=f"{owner}/{repo}")
    found = rows.filter(verdict__pull_request__number=number, verdict_id=pk).first()
    return _statement(found, f"PR-{number}-verdict-{pk}")


@page(Act.VIEW_PULLS, "GET")
def download_decision(_request: Request, owner: str, repo: str, number: int, pk: int) -> HttpResponse:
    """The gate lane's signed statement of LEAD's decision: a SLSA VSA in its DSSE envelope."""
    rows = DecisionStatement.objects.filter(decision__pull_request__repository__full_name=f"{owner}/{repo}")
    found = rows.filter(decision__pull_request__number=number, decision_id=pk).first()
    return _statement(found, f"PR-{number}-decision-{pk}")


def _statement(found: VerdictStatement | DecisionStatement | None, name: str) -> HttpResponse:
    if found is None:
        raise Http404("There is no such statement, or it is not signed yet.")
    response = HttpResponse(bytes(found.envelope), content_type="application/vnd.dsse.envelope.v1+json")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.dsse.json"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
