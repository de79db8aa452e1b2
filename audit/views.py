"""The trail's explorer: entries by filter, newest first, and one entry with its leaf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

from django.core.exceptions import BadRequest
from django.http import Http404, HttpResponse
from django.urls import reverse

from audit.accountability import Act, may
from audit.canonical import JsonError, parse_json
from audit.covering import log_state
from audit.forms import TrailForm
from audit.keeping import log_vkeys
from audit.leaves import LeafError
from audit.merkle import leaf_hash
from audit.models import LogAnchor, LogEntry, LogUpkeep
from audit.names import names_of
from audit.sequencing import newest_head
from audit.texts import texts_of
from leoportal.web import Request, page, render_page
from leoportal.words import EVENTS

PAGE_SIZE: Final = 50
MAX_COUNTED: Final = 1000
MAX_SHOWN_BYTES: Final = 200_000


@dataclass(frozen=True)
class Row:
    """One entry in the list, as texts: filters and addresses in a template cost several times as much."""

    number: str
    address: str
    iso: str
    time: str
    actor: str
    role: str
    kind: str
    act: str
    subject: str
    subject_address: str
    leaf: str


@page(Act.VIEW_TRAIL, "GET")
def explore(request: Request) -> HttpResponse:
    """Entries that fit the filters; pages are addressed by the last entry seen, so they never shift."""
    form = TrailForm(request.GET)
    last_seen = _last_seen(request)
    rows = LogEntry.objects.newest_first()
    is_valid = form.is_valid()
    rows = form.matching(rows) if is_valid else rows.none()
    rows = (rows.older_than(last_seen) if last_seen else rows)[: PAGE_SIZE + 1]
    found = list(rows.values_list("pk", "created_at", "principal", "role", "kind", "subject", "tree_leaf__index"))
    shown = _rows(found[:PAGE_SIZE])
    head = newest_head()
    filters = {name: value for name, value in request.GET.items() if name in form.fields and value}
    context = {
        "form": form,
        "rows": shown,
        "older": urlencode({**filters, "before": shown[-1].number}) if len(found) > PAGE_SIZE else "",
        "is_first": last_seen is None,
        "newest": urlencode(filters),
        "is_filtered": bool(filters),
        "head": head,
        "log": log_state(),
        "vkeys": [key.vkey for key in log_vkeys()],
        "upkeep": LogUpkeep.objects.for_page(),
        "anchor": LogAnchor.objects.only("log_index").order_by("-pk").first(),
        "pending": len(LogEntry.objects.waiting(head)[: MAX_COUNTED + 1]),
        "max_counted": MAX_COUNTED,
        "may_export": may(request.actor.role, Act.EXPORT_TRAIL),
    }
    return render_page(request, "audit/explorer.html", context, status=200 if is_valid else 422)


def _rows(found: Sequence[tuple[int, datetime, int, str, str, str, int | None]]) -> list[Row]:
    explorer, entry = reverse("audit:explorer"), reverse("audit:entry", args=[0])
    names = names_of(principal for _, _, principal, *_ in found)
    return [
        Row(
            number=str(pk),
            address=entry.replace("/0/", f"/{pk}/"),
            iso=created_at.astimezone(UTC).isoformat(),
            time=created_at.astimezone(UTC).isoformat(" ", "seconds")[:19],
            actor=names.of(principal),
            role=role,
            kind=kind,
            act=EVENTS.get(kind, kind),
            subject=subject,
            subject_address=f"{explorer}?subject={quote(subject)}",
            leaf="pending" if leaf is None else str(leaf),
        )
        for pk, created_at, principal, role, kind, subject, leaf in found
    ]


def _last_seen(request: Request) -> LogEntry | None:
    """The entry after which this page begins, if it is not the first one."""
    before = request.GET.get("before", "")
    if not before:
        return None
    if not (before.isascii() and before.isdigit() and len(before) < 19):
        raise BadRequest(f"before is {before[:40]!r}, expected an entry's number.")
    found = LogEntry.objects.only("created_at").filter(pk=int(before)).first()
    if found is None:
        raise Http404(f"There is no entry {before}, so there is nothing before it. Start at the newest.")
    return found


@page(Act.VIEW_TRAIL, "GET")
def show_entry(request: Request, pk: int) -> HttpResponse:
    """One entry: its leaf as JSON, its hash computed again, its place in the tree."""
    entry = LogEntry.objects.select_related("tree_leaf").filter(pk=pk).first()
    if entry is None:
        raise Http404("There is no such entry in the trail.")
    leaf, text = bytes(entry.leaf), _readable(entry)
    context = {
        "entry": entry,
        "names": names_of([entry.principal]),
        "text": text,
        "is_cut": len(text) == MAX_SHOWN_BYTES,
        "is_intact": leaf_hash(leaf) == bytes(entry.leaf_hash),
        "place": getattr(entry, "tree_leaf", None),
    }
    return render_page(request, "audit/entry.html", context, part="entry")


def _readable(entry: LogEntry) -> str:
    """The leaf as it is hashed, and under it the body that its digest stands for."""
    header, _, content = bytes(entry.leaf).decode("utf-8", "replace").partition("\n")
    return "\n".join((header, _indented(content.encode()), "", _body(entry)))[:MAX_SHOWN_BYTES]


def _body(entry: LogEntry) -> str:
    """The body, and after it the texts that it holds the digests of."""
    try:
        body = entry.open()
    except LeafError as error:
        return f"{error.detail} ({error.code})"
    parts = [body, *([texts] if (texts := texts_of([body])) else [])]
    return "\n\n".join(json.dumps(part, indent=2, ensure_ascii=True) for part in parts)


def _indented(raw: bytes) -> str:
    try:
        value = parse_json(raw, max_bytes=16 << 20)
    except JsonError as error:
        return f"This is not readable JSON ({error.code}): {error.detail}"
    return json.dumps(value, indent=2, ensure_ascii=True)
