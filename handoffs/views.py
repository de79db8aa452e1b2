"""The handoffs' pages: every bundle, also those that were refused; one bundle with every check; its files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpResponse

from audit import events
from audit.accountability import Act
from handoffs.evidence import Outcome
from handoffs.lane import raised_of
from handoffs.models import ENDED, MAX_ATTEMPTS, WORKING, BundleCheck, Handoff, HandoffEvent, Signature, Status
from handoffs.store import BundleStore, StoreError
from leoportal.live import render_live
from leoportal.web import Request, page, render_page

PAGE_SIZE: Final = 50
STEPS: Final = (
    ("Receive", events.HANDOFF_RECEIVED, Status.RECEIVED),
    ("Verify contents", events.HANDOFF_VERIFIED, Status.RECEIVED),
    ("Sign", events.HANDOFF_SIGNED, Status.VERIFIED),
    ("Apply to the feature branch", events.HANDOFF_APPLIED, Status.SIGNED),
    ("Open the pull request", events.HANDOFF_OPENED, Status.APPLIED),
    ("Trigger the workflows, hand over to PLAN", events.HANDOFF_TRIGGERED, Status.OPENED),
)


@dataclass(frozen=True)
class Step:
    """One step of the enforcer lane and how it stands."""

    number: int
    name: str
    state: str
    actor: str
    role: str
    at: datetime | None
    marker: str


@page(Act.VIEW_HANDOFFS, "GET")
def list_handoffs(request: Request) -> HttpResponse:
    """Every handoff, newest first, by state; pages are addressed by the last row seen."""
    state, before = request.GET.get("state", ""), request.GET.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise BadRequest(f"before is {before[:40]!r}, expected a handoff's number.")
    rows = Handoff.objects.for_list()
    if state in Status.values:
        rows = rows.filter(status=state)
    found = list((rows.filter(pk__lt=int(before)) if before else rows)[: PAGE_SIZE + 1])
    context = {
        "handoffs": found[:PAGE_SIZE],
        "state": state if state in Status.values else "",
        "states": [status.value for status in Status],
        "older": found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None,
        "is_first": not before,
    }
    return render_page(request, "handoffs/list.html", context)


@page(Act.VIEW_HANDOFFS, "GET")
def show_handoff(request: Request, pk: int) -> HttpResponse:
    """One bundle: its steps, every check with what was found, and its files."""
    related = ("repository", "builder", "sponsor", "previous", "pull_request", "signature__key")
    handoff = Handoff.objects.select_related(*related).filter(pk=pk).first()
    if handoff is None:
        raise Http404("There is no such handoff.")
    happened = list(HandoffEvent.objects.filter(handoff=handoff).order_by("pk"))
    checks = list(BundleCheck.objects.filter(handoff=handoff))
    names = dict.fromkeys(check.group for check in checks)
    groups = [(name, [check for check in checks if check.group == name]) for name in names]
    counts = {outcome.value: sum(check.outcome == outcome.value for check in checks) for outcome in Outcome}
    context = {
        "handoff": handoff,
        "raised": raised_of(handoff),
        "events": happened,
        "steps": _steps(handoff, happened),
        "groups": groups,
        "failed": sorted(
            (check for check in checks if check.outcome == Outcome.FAILED.value), key=lambda check: check.is_unchecked
        ),
        "counts": counts,
        "is_working": handoff.status in WORKING or handoff.status == Status.OPENED,
        "is_stuck": handoff.status in WORKING and handoff.attempts >= MAX_ATTEMPTS,
        "attempts_left": max(0, MAX_ATTEMPTS - handoff.attempts),
        "signature": getattr(handoff, "signature", None),
        "pull": getattr(handoff, "pull_request", None),
    }
    if request.htmx and request.htmx.target == "handoff-checks":
        return render_page(request, "handoffs/handoff.html", context, part="handoff-checks")
    return render_live(request, "handoffs/handoff.html", context, part="handoff-live")


@page(Act.VIEW_HANDOFFS, "GET")
def download_artifact(_request: Request, pk: int) -> HttpResponse:
    """The bundle as it was read; its digest is computed again on the way out."""
    handoff = Handoff.objects.filter(pk=pk).exclude(digest="").first()
    if handoff is None:
        raise Http404("No bundle was read for this handoff.")
    if handoff.status == Status.QUARANTINED:
        raise Http404(
            f"{handoff} is quarantined: its bundle is given to nobody. Its page says why and what to do next."
        )
    try:
        raw = BundleStore(settings.BUNDLE_STORE).get(handoff.digest)
    except StoreError as error:
        raise Http404(f"The bundle cannot be given out: {error.detail}.") from None
    return _attachment(raw, f"{handoff}-artifact.tar.gz", "application/gzip")


@page(Act.VIEW_HANDOFFS, "GET")
def download_signature(_request: Request, pk: int) -> HttpResponse:
    """The enforcer's detached OpenPGP signature of the bundle."""
    return _attachment(_signature(pk).signature.encode(), f"H-{pk}-artifact.tar.gz.asc", "application/pgp-signature")


@page(Act.VIEW_HANDOFFS, "GET")
def download_key(_request: Request, pk: int) -> HttpResponse:
    """The certificate that the signature is checked with."""
    key = _signature(pk).key
    if key is None:
        raise Http404("This handoff is signed with Sigstore; its certificate is in the Sigstore bundle.")
    return _attachment(key.public_key.encode(), f"H-{pk}-public-key.asc", "application/pgp-keys")


@page(Act.VIEW_HANDOFFS, "GET")
def download_statement(_request: Request, pk: int) -> HttpResponse:
    """The enforcer's signed statement of what it verified, in its DSSE envelope."""
    raw = bytes(_signature(pk).envelope)
    return _attachment(raw, f"H-{pk}-statement.dsse.json", "application/vnd.dsse.envelope.v1+json")


def _steps(handoff: Handoff, happened: list[HandoffEvent]) -> list[Step]:
    done = {row.event: row for row in happened}
    is_stuck = handoff.status in WORKING and handoff.attempts >= MAX_ATTEMPTS
    has_ended = handoff.status in ENDED
    steps = []
    for number, (name, event, before) in enumerate(STEPS, start=1):
        row = done.get(event)
        if row is not None:
            state = "done"
        elif handoff.status == before:
            state = "stuck" if is_stuck else "running"
        else:
            state = "ended" if has_ended else "waits"
        steps.append(_step(number, name, state, row))
    refused = done.get(events.HANDOFF_REFUSED) or done.get(events.HANDOFF_QUARANTINED)
    if refused is not None:
        first = next((step.number for step in steps if step.state == "ended"), len(steps))
        steps[first - 1] = _step(first, steps[first - 1].name, handoff.status, refused)
    return steps


def _step(number: int, name: str, state: str, row: HandoffEvent | None) -> Step:
    if row is None:
        return Step(number, name, state, "", "", None, "")
    return Step(number, name, state, row.actor, row.role, row.created_at, row.marker)


def _signature(pk: int) -> Signature:
    signature = Signature.objects.select_related("key").filter(handoff_id=pk).first()
    if signature is None:
        raise Http404("This handoff is not signed.")
    return signature


def _attachment(raw: bytes, name: str, content_type: str) -> HttpResponse:
    response = HttpResponse(raw, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
