"""The front door: where each role starts, and what machines ask about health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse

from audit.events import Role
from audit.rollback import log_trouble
from handoffs.clocks import ClockSkewError, current_skew
from handoffs.models import RECONCILE_LATE, GitHubRepository
from leoportal.web import Request, open_to_all, page, render_page

LATE: Final = "reconcile.late"
STARTS: Final[Mapping[Role, str]] = {
    Role.PLAN: "verdicts:turn",
    Role.LEAD: "verdicts:escalations",
    Role.AUDITOR: "audit:explorer",
    Role.ENFORCER: "handoffs:list",
    Role.ADMIN: "audit:registry",
}


@page(None, "GET")
def land(request: Request) -> HttpResponse:
    """Send each role to where its work is. Builders and reporters have no pages."""
    start = STARTS.get(request.actor.role)
    if start is None:
        return render_page(request, "no_pages.html", {"role": request.actor.role})
    return HttpResponseRedirect(reverse(start))


@open_to_all
def live(request: HttpRequest) -> HttpResponse:
    """The web process answers."""
    return _health(request, {}, status=200)


@open_to_all
def ready(request: HttpRequest) -> HttpResponse:
    """The web process reaches its database and the clocks agree. With a wrong clock nothing passes;
    when the log is not what it was nothing is done at all, and pages still say so. Where GitHub was not looked at for
    ten minutes, what is shown of it may be old.
    """
    try:
        skew, trouble = current_skew(), log_trouble()
        late = GitHubRepository.objects.late().count()
    except OperationalError:
        return _health(request, {"database": "unreachable"}, status=503)
    if trouble is not None:
        found = {"status": "read-only", "database": "ok", "log": trouble.code, "detail": trouble.detail}
        return _health(request, found, status=200)
    if skew:
        found = {"status": "degraded", "database": "ok", "clock": ClockSkewError.CODE, "detail": skew}
        return _health(request, found, status=200)
    if late:
        told = f"{late} repositories on GitHub were not looked at for {RECONCILE_LATE.seconds // 60} minutes"
        return _health(request, {"status": "degraded", "database": "ok", "github": LATE, "detail": told}, status=200)
    return _health(request, {"database": "ok", "clock": "ok", "log": "ok"}, status=200)


def _health(request: HttpRequest, found: dict[str, str], *, status: int) -> HttpResponse:
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    answer = {"status": "ok" if status == 200 else "failing", **found}
    return JsonResponse(answer, status=status, headers={"Cache-Control": "no-store"})
