"""The auditor's exports: asking for one, seeing how far it is, downloading its file, also in parts."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect

from audit.accountability import Act, may
from audit.export import FORMATS, tree_head
from audit.forms import ExportForm, PackForm
from handoffs.tasks import nudge
from leoportal.live import render_live
from leoportal.web import Request, page
from verdicts.downloads import part_of
from verdicts.export_rows import Export, ExportStatus
from verdicts.exporting import PACK, path_of, request_export
from verdicts.tables import TABLES

SHOWN: Final = 20


@page(Act.VIEW_TRAIL, "GET")
def list_exports(request: Request) -> HttpResponse:
    """Make an export, and see which were made by whom and how far they are."""
    known = {name: request.GET[name][:200] for name in ExportForm.base_fields if name in request.GET}
    return _render(request, ExportForm(initial=known, tables=list(TABLES)))


@page(Act.EXPORT_TRAIL, "POST")
def make_export(request: Request) -> HttpResponseBase:
    """Record that an export is made; a worker writes it."""
    form = ExportForm(request.POST, tables=list(TABLES))
    if not form.is_valid():
        return _render(request, form, status=422)
    values = form.cleaned_data
    export = request_export(values["table"], values["file_format"], form.filters, by=request.actor)
    nudge("verdicts.tasks.run_export", export.pk)
    return redirect("verdicts:exports")


@page(Act.EXPORT_TRAIL, "POST")
def make_pack(request: Request) -> HttpResponseBase:
    """Record that an evidence pack is made; a worker gathers it."""
    form = PackForm(request.POST, auto_id="id_pack_%s")
    if not form.is_valid():
        return _render(request, ExportForm(tables=list(TABLES)), pack=form, status=422)
    export = request_export("evidence-pack", PACK, form.filters, by=request.actor)
    nudge("verdicts.tasks.run_export", export.pk)
    return redirect("verdicts:exports")


@page(Act.EXPORT_TRAIL, "GET")
def download_export(request: Request, pk: int) -> HttpResponseBase:
    """A finished file, or the part of it that a broken download still needs."""
    export = Export.objects.filter(pk=pk, status=ExportStatus.DONE).first()
    path = path_of(export, settings.EXPORTS) if export else None
    if export is None or path is None or not path.exists():
        raise Http404("There is no such file: the export is not finished, or its file was deleted. Make it again.")
    part = part_of(path, request.headers.get("Range", ""), request.headers.get("If-Range", ""), f'"{export.sha256}"')
    response = FileResponse(
        part.file, status=part.status, content_type=FORMATS.get(export.file_format, "application/x-tar")
    )
    named = {"Content-Disposition": f'attachment; filename="{export.file_name}"', "X-Content-Type-Options": "nosniff"}
    for name, value in {**part.headers, **named}.items():
        response.headers[name] = value
    return response


def _render(request: Request, form: ExportForm, *, pack: PackForm | None = None, status: int = 200) -> HttpResponse:
    made = list(Export.objects.for_list()[:SHOWN])
    context: dict[str, Any] = {
        "form": form,
        "pack": pack or PackForm(initial={"pull": request.GET.get("pull", "")[:200]}, auto_id="id_pack_%s"),
        "made": made,
        "is_working": any(export.status == ExportStatus.WAITING for export in made),
        "head": tree_head(),
        "may_export": may(request.actor.role, Act.EXPORT_TRAIL),
    }
    return render_live(request, "verdicts/exports.html", context, part="exports-live", status=status)
