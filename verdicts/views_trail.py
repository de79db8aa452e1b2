"""The pages that prove something: role separation of a pull request, signed statements, and exports."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse

from audit import events
from audit.accountability import Act, may
from audit.actions import integrate_log
from audit.export import FORMATS, record_export, stream, tree_head
from audit.forms import ExportForm
from audit.models import LogEntry
from leoportal.web import Request, page, render_page
from verdicts.duties import read_separation
from verdicts.models import DecisionStatement, VerdictStatement
from verdicts.reviewing import for_review
from verdicts.tables import TABLES, sheet_for


@page(Act.VIEW_TRAIL, "GET")
def show_separation(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """Who did what on one pull request, in which role, and whether the rules held."""
    pull = for_review().filter(repository__full_name=f"{owner}/{repo}", number=number).first()
    if pull is None:
        raise Http404(f"There is no PR-{number} in {owner}/{repo}.")
    may_export = may(request.actor.role, Act.EXPORT_TRAIL)
    context = {"pull": pull, "separation": read_separation(pull), "may_export": may_export}
    return render_page(request, "verdicts/separation.html", context)


@page(Act.VIEW_HANDOFFS, "GET")
def download_verdict(_request: Request, owner: str, repo: str, number: int, pk: int) -> HttpResponse:
    """The gate lane's signed statement of a verdict: a SLSA VSA in its DSSE envelope."""
    rows = VerdictStatement.objects.filter(verdict__pull_request__repository__full_name=f"{owner}/{repo}")
    found = rows.filter(verdict__pull_request__number=number, verdict_id=pk).first()
    return _statement(found, f"PR-{number}-verdict-{pk}")


@page(Act.VIEW_HANDOFFS, "GET")
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


@page(Act.VIEW_TRAIL, "GET")
def list_exports(request: Request) -> HttpResponse:
    """Make an export, and see which were made by whom."""
    form = ExportForm(initial={"pull": request.GET.get("pull", "")[:100]}, tables=list(TABLES))
    return _render(request, form)


@page(Act.EXPORT_TRAIL, "POST")
def make_export(request: Request) -> HttpResponseBase:
    """Record that an export is made, then stream it."""
    form = ExportForm(request.POST, tables=list(TABLES))
    if not form.is_valid():
        return _render(request, form, status=422)
    integrate_log()
    values, sheet, head = form.cleaned_data, sheet_for(form), tree_head()
    filters = {name: str(values[name]) for name in ("pull", "first", "last") if values[name]}
    entry = record_export(sheet.name, values["file_format"], dict(filters), head, by=request.actor)
    response = StreamingHttpResponse(
        stream(sheet, values["file_format"], head), content_type=FORMATS[values["file_format"]]
    )
    day = datetime.now(UTC).strftime("%Y%m%d")
    name = f"{sheet.name}-{day}-export{entry.pk}.{values['file_format']}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _render(request: Request, form: ExportForm, *, status: int = 200) -> HttpResponse:
    made: QuerySet[LogEntry] = LogEntry.objects.filter(kind=events.EXPORT_MADE).defer("leaf").newest_first()
    may_export = may(request.actor.role, Act.EXPORT_TRAIL)
    context = {"form": form, "made": made[:20], "head": tree_head(), "may_export": may_export}
    return render_page(request, "verdicts/exports.html", context, status=status)
