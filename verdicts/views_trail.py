"""The pages that prove something: role separation of a pull request, and signed statements."""

from __future__ import annotations

from typing import Final

from django.http import Http404, HttpResponse

from audit.accountability import Act, may
from audit.export import record_export, tree_head
from leoportal.web import Request, page, render_page
from verdicts.duties import read_separation
from verdicts.oscal import proof_oscal
from verdicts.reviewing import for_review
from verdicts.separation_proof import proof_json, proof_pdf
from verdicts.statement_rows import DecisionStatement, VerdictStatement

PROOFS: Final = {"json": (proof_json, "json"), "pdf": (proof_pdf, "pdf"), "oscal": (proof_oscal, "oscal.json")}


@page(Act.VIEW_TRAIL, "GET")
def show_separation(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """Who did what on one pull request, in which role, and whether the rules held."""
    pull = for_review().filter(repository__full_name=f"{owner}/{repo}", number=number).first()
    if pull is None:
        raise Http404(f"There is no PR-{number} in {owner}/{repo}.")
    may_export = may(request.actor.role, Act.EXPORT_TRAIL)
    context = {"pull": pull, "separation": read_separation(pull), "may_export": may_export}
    return render_page(request, "verdicts/separation.html", context)


@page(Act.EXPORT_TRAIL, "POST")
def make_proof(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """The role-separation proof as a file, JSON, PDF or OSCAL assessment results; that it was taken is an event."""
    pull = for_review().filter(repository__full_name=f"{owner}/{repo}", number=number).first()
    name = request.POST.get("file_format", "")
    if pull is None or name not in PROOFS:
        raise Http404(f"There is no such proof of PR-{number} in {owner}/{repo}.")
    head = tree_head()
    record_export("role-separation", name, {"pull": f"{owner}/{repo}#{number}"}, head, by=request.actor)
    make, ending = PROOFS[name]
    response = HttpResponse(make(pull, head), content_type=f"application/{ending.rpartition('.')[2]}")
    response.headers["Content-Disposition"] = f'attachment; filename="PR-{number}-role-separation.{ending}"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


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
