"""The keys' pages: both lanes, their rotation and revocation; and the public document of all keys."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from audit.accountability import Act, may
from audit.events import AuditError
from audit.names import names_of
from handoffs.bundles.bundle import digest_of
from handoffs.models import HandoffError, Lane, SigningKey
from handoffs.published_keys import MAX_KEYS, published_keys
from handoffs.rotating import cancel_rotation, request_rotation, retry_rotation
from handoffs.tasks import nudge, trusted_root
from handoffs.trusted_roots import root_standing
from leoportal.live import render_live
from leoportal.web import Request, open_to_all, page, render_page
from verdicts.forms import RevocationForm
from verdicts.keyring import read_keyring
from verdicts.revoking import Revocation, affected_signatures, affected_statements, revoke_key

MAX_AGE_SECONDS: Final = 60


@page(Act.VIEW_KEYS, "GET")
def list_keys(request: Request) -> HttpResponse:
    """Both lanes: the key that signs, its life, its rotation; and every key before it."""
    return _render_keys(request)


@page(Act.ROTATE_KEY, "POST")
def rotate_key(request: Request) -> HttpResponse:
    """Ask for a lane's key to be replaced; the workers do the five steps."""
    lane = request.POST.get("lane", "")
    if lane not in Lane.values:
        raise Http404("There is no such lane.")
    try:
        rotation = request_rotation(Lane(lane), by=request.actor, reason="asked for on the keys page")
    except (HandoffError, AuditError) as refusal:
        return _render_keys(request, refusal=refusal)
    nudge("handoffs.tasks.rotate_key", rotation.pk)
    messages.success(request, f"The {lane} key is being replaced. This page follows the five steps.")
    return HttpResponseRedirect(f"{reverse('verdicts:keys')}#lane-{lane}")


@page(Act.ROTATE_KEY, "POST")
def cancel_key_rotation(request: Request, pk: int) -> HttpResponse:
    """Stop a rotation before its switch: the old key stays, the new one is destroyed."""
    try:
        cancel_rotation(pk, by=request.actor)
    except (HandoffError, AuditError) as refusal:
        return _render_keys(request, refusal=refusal)
    messages.success(request, "The rotation is cancelled. The old key goes on signing.")
    return HttpResponseRedirect(reverse("verdicts:keys"))


@page(Act.ROTATE_KEY, "POST")
def retry_key_rotation(request: Request, pk: int) -> HttpResponse:
    """Try the step again that failed too often."""
    retry_rotation(pk, by=request.actor)
    nudge("handoffs.tasks.rotate_key", pk)
    messages.success(request, "The step is tried again.")
    return HttpResponseRedirect(reverse("verdicts:keys"))


@page(Act.VIEW_KEYS, "GET")
def download_public_key(_request: Request, fingerprint: str) -> HttpResponse:
    """A key's certificate; of a revoked key, with its revocation in it."""
    key = _key(fingerprint)
    raw = (key.revoked_public_key or key.public_key).encode()
    response = HttpResponse(raw, content_type="application/pgp-keys")
    response.headers["Content-Disposition"] = f'attachment; filename="{key.fingerprint}.asc"'
    return response


@page(Act.VIEW_KEYS, "GET")
def ask_to_revoke(request: Request, fingerprint: str) -> HttpResponse:
    """What a revocation asks; of a revoked key, what is flagged."""
    key = _key(fingerprint)
    return _render_revocation(request, key, RevocationForm(), since=key.distrusted_since)


@page(Act.REVOKE_KEY, "POST")
def revoke(request: Request, fingerprint: str) -> HttpResponse:
    """First what the revocation concerns, then the revocation."""
    key, form = _key(fingerprint), RevocationForm(request.POST)
    if not form.is_valid():
        return _render_revocation(request, key, form, since=key.distrusted_since, status=422)
    since = form.cleaned_data["since"]
    if request.POST.get("step") != "revoke":
        return _render_revocation(request, key, form, since=since)
    revocation = Revocation(key.fingerprint, since, form.cleaned_data["reason"])
    try:
        _, pulls = revoke_key(revocation, password=settings.SIGNING_KEY_PASSWORD, by=request.actor)
    except (HandoffError, AuditError) as refusal:
        return _render_revocation(request, key, form, since=since, refusal=refusal, status=409)
    messages.success(request, f"{key.fingerprint[:12]} is revoked. Open pull requests judged again: {len(pulls)}.")
    return HttpResponseRedirect(reverse("verdicts:keys"))


def _render_revocation(
    request: Request,
    key: SigningKey,
    form: RevocationForm,
    *,
    since: datetime | None,
    refusal: HandoffError | AuditError | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "key": key,
        "form": form,
        "refusal": refusal,
        "since": since if form.is_bound and not form.errors else None,
        "is_shown": since is not None,
        "affected": affected_signatures(key, since) if since else [],
        "statements": affected_statements(key, since) if since else 0,
        "may_revoke": may(request.actor.role, Act.REVOKE_KEY),
    }
    return render_page(request, "verdicts/revoke_key.html", context, status=status)


@open_to_all
def well_known(request: HttpRequest) -> HttpResponse:
    """Every key's public half and state, for anybody who verifies. Bounded, cacheable, the same bytes each time."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    rows = SigningKey.objects.select_related("replaces").defer("replaces__secret_key").order_by("-created_at", "-pk")
    raw = published_keys(list(rows[: MAX_KEYS + 1]), now=timezone.now())
    tag = f'"{digest_of(raw)[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={MAX_AGE_SECONDS}", "X-Content-Type-Options": "nosniff"}
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers=headers)
    return HttpResponse(raw, content_type="application/json", headers=headers)


def _render_keys(request: Request, *, refusal: HandoffError | AuditError | None = None) -> HttpResponse:
    role, lanes = request.actor.role, read_keyring()
    context = {
        "lanes": lanes,
        "names": names_of(lane.rotation.rotation.requested_by for lane in lanes if lane.rotation),
        "standing": root_standing(trusted_root, is_online=bool(settings.SIGSTORE_TUF_MIRROR), now=timezone.now()),
        "may_rotate": may(role, Act.ROTATE_KEY),
        "may_revoke": may(role, Act.REVOKE_KEY),
        "refusal": refusal,
    }
    return render_live(request, "verdicts/keys.html", context, part="keys-live", status=409 if refusal else 200)


def _key(fingerprint: str) -> SigningKey:
    key = SigningKey.objects.filter(fingerprint=fingerprint.upper()).first()
    if key is None:
        raise Http404("There is no such key.")
    return key
