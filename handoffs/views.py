"""The handoffs' pages: every bundle, also those that were refused; one bundle with every check; its files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from audit import events
from audit.accountability import Act, may
from audit.actions import find_conflict
from audit.events import Actor, AuditError
from audit.models import Participation, Principal
from audit.names import Names, names_of
from handoffs.bundles.store import BundleStore, StoreError
from handoffs.checks.evidence import Outcome
from handoffs.fallback import MIN_VISIBLE, acknowledge_downgrade, read_outage
from handoffs.forms import DowngradeForm
from handoffs.lane import raised_of, rules_in_force
from handoffs.models import (
    ENDED,
    MAX_ATTEMPTS,
    WORKING,
    BundleCheck,
    Handoff,
    HandoffError,
    HandoffEvent,
    Signature,
    Status,
)
from handoffs.tasks import nudge
from leoportal.live import render_live
from leoportal.web import Request, page, render_page
from leoportal.words import span_of

PAGE_SIZE: Final = 50
SIGSTORE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
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
    context = _context(_handoff(pk), request.actor)
    if request.htmx and request.htmx.target == "handoff-checks":
        return render_page(request, "handoffs/handoff.html", context, part="handoff-checks")
    return render_live(request, "handoffs/handoff.html", context, part="handoff-live")


@page(Act.ACKNOWLEDGE_DOWNGRADE, "POST")
def acknowledge(request: Request, pk: int) -> HttpResponse:
    """LEAD lets OpenPGP sign this handoff in place of Sigstore. What was typed survives every refusal."""
    handoff, form = _handoff(pk), DowngradeForm(request.POST)
    refusal: HandoffError | AuditError | None = None
    if form.is_valid():
        try:
            acknowledge_downgrade(pk, form.cleaned_data["justification"], by=request.actor)
        except (HandoffError, AuditError) as error:
            refusal = error
        else:
            nudge("handoffs.tasks.advance", pk)
            return HttpResponseRedirect(reverse("handoffs:handoff", args=[pk]))
    context = {**_context(handoff, request.actor), "form": form, "refusal": refusal}
    return render_live(request, "handoffs/handoff.html", context, part="handoff-live", status=409 if refusal else 422)


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
    signature = _signature(pk)
    if not signature.signature:  # Sigstore
        raise Http404("This handoff is signed with Sigstore; download the Sigstore bundle.")
    return _attachment(
        signature.standing.signature.encode(), f"H-{pk}-artifact.tar.gz.asc", "application/pgp-signature"
    )


@page(Act.VIEW_HANDOFFS, "GET")
def download_bundle(_request: Request, pk: int, what: str) -> HttpResponse:
    """The Sigstore bundle over the artifact (also of a signature that was logged afterwards), or with the statement."""
    signature = _signature(pk)
    later = signature.logged_later if hasattr(signature, "logged_later") else None
    artifact = signature.artifact_bundle or (later.artifact_bundle if later else "")
    bundle = artifact if what == "artifact" else signature.statement_bundle
    if not bundle:
        raise Http404("There is no such Sigstore bundle; the handoff is signed with OpenPGP.")
    name = "artifact.tar.gz" if what == "artifact" else "statement"
    return _attachment(bundle.encode(), f"H-{pk}-{name}.sigstore.json", SIGSTORE_TYPE)


@page(Act.VIEW_HANDOFFS, "GET")
def download_key(_request: Request, pk: int) -> HttpResponse:
    """The certificate that the signature is checked with."""
    key = _signature(pk).standing.key
    if key is None:
        raise Http404("This handoff is signed with Sigstore; its certificate is in the Sigstore bundle.")
    return _attachment(key.public_key.encode(), f"H-{pk}-public-key.asc", "application/pgp-keys")


@page(Act.VIEW_HANDOFFS, "GET")
def download_statement(_request: Request, pk: int) -> HttpResponse:
    """The enforcer's signed statement of what it verified, in its DSSE envelope."""
    raw = bytes(_signature(pk).standing.envelope)
    return _attachment(raw, f"H-{pk}-statement.dsse.json", "application/vnd.dsse.envelope.v1+json")


def _handoff(pk: int) -> Handoff:
    related = (
        "repository",
        "builder",
        "sponsor",
        "previous",
        "pull_request",
        "signature__key",
        "signature__logged_later",
    )
    rows = Handoff.objects.select_related(*related, "signing_downgrade__lead").defer("signature__key__secret_key")
    handoff = rows.filter(pk=pk).first()
    if handoff is None:
        raise Http404("There is no such handoff.")
    return handoff


def _context(handoff: Handoff, actor: Actor) -> dict[str, object]:
    """Everything the page of a handoff shows."""
    happened = list(HandoffEvent.objects.filter(handoff=handoff).order_by("pk"))
    checks = list(BundleCheck.objects.filter(handoff=handoff))
    groups = dict.fromkeys(check.group for check in checks)
    failed = [check for check in checks if check.outcome == Outcome.FAILED.value]
    said = [text for check in checks for text in (check.got, check.expected)]
    names = names_of((event.principal for event in happened), texts=said)
    return {
        "handoff": handoff,
        "raised": raised_of(handoff),
        "events": happened,
        "names": names,
        "steps": _steps(handoff, happened, names),
        "groups": [(name, [check for check in checks if check.group == name]) for name in groups],
        "refuted": [check for check in failed if not check.is_unchecked],
        "unchecked": [check for check in failed if check.is_unchecked],
        "counts": {outcome.value: sum(check.outcome == outcome.value for check in checks) for outcome in Outcome},
        "is_working": handoff.status in WORKING or handoff.status == Status.OPENED,
        "is_stuck": handoff.status in WORKING and handoff.attempts >= MAX_ATTEMPTS,
        "attempts_left": max(0, MAX_ATTEMPTS - handoff.attempts),
        "signature": getattr(handoff, "signature", None),
        "downgrade": getattr(handoff, "signing_downgrade", None),
        "pull": getattr(handoff, "pull_request", None),
        **(_waiting(handoff, actor) if handoff.status == Status.WAITING_SIGNER else {}),
    }


def _waiting(handoff: Handoff, actor: Actor) -> dict[str, object]:
    """While the signing service is down: the probes so far, what happens next, and whether LEAD may step in."""
    outage = read_outage(handoff, rules_in_force().signing)
    may_acknowledge = may(actor.role, Act.ACKNOWLEDGE_DOWNGRADE) and outage.may_fall_back
    return {
        "outage": outage,
        "span": span_of(outage.span),
        "needed": span_of(timedelta(seconds=outage.rules.probe_seconds)),
        "may_acknowledge": may_acknowledge,
        "conflict": _conflict(handoff, actor) if may_acknowledge else "",
        "form": DowngradeForm(),
        "least": MIN_VISIBLE,
    }


def _steps(handoff: Handoff, happened: list[HandoffEvent], names: Names) -> list[Step]:
    done = {row.event: row for row in happened}
    is_stuck = handoff.status in WORKING and handoff.attempts >= MAX_ATTEMPTS
    has_ended = handoff.status in ENDED
    steps = []
    for number, (name, event, before) in enumerate(STEPS, start=1):
        row = done.get(event)
        if row is not None:
            state = "done"
        elif handoff.status == Status.WAITING_SIGNER and event == events.HANDOFF_SIGNED and not is_stuck:
            state = "waiting-signer"
        elif handoff.status in (before, Status.WAITING_SIGNER if before == Status.VERIFIED else ""):
            state = "stuck" if is_stuck else "running"
        else:
            state = "ended" if has_ended else "waits"
        steps.append(_step(number, name, state, row, names))
    refused = done.get(events.HANDOFF_REFUSED) or done.get(events.HANDOFF_QUARANTINED)
    if refused is not None:
        first = next((step.number for step in steps if step.state == "ended"), len(steps))
        steps[first - 1] = _step(first, steps[first - 1].name, handoff.status, refused, names)
    return steps


def _step(number: int, name: str, state: str, row: HandoffEvent | None, names: Names) -> Step:
    if row is None:
        return Step(number, name, state, "", "", None, "")
    return Step(number, name, state, names.of(row.principal), row.role, row.created_at, row.marker)


def _signature(pk: int) -> Signature:
    signature = (
        Signature.objects.select_related("key", "logged_later").defer("key__secret_key").filter(handoff_id=pk).first()
    )
    if signature is None:
        raise Http404("This handoff is not signed.")
    return signature


def _attachment(raw: bytes, name: str, content_type: str) -> HttpResponse:
    response = HttpResponse(raw, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _conflict(handoff: Handoff, actor: Actor) -> str:
    return find_conflict(Participation.objects.parts(handoff.chain), actor, Principal.objects.registry())
