"""The repositories' pages: how each is protected and what is next; and making the two Apps of a GitHub.

The web process holds no key of an App: what GitHub gives back is a code, which an operator exchanges at the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.decorators.http import require_safe

from audit.accountability import Act, may
from audit.canonical import JsonValue, write_json
from handoffs.github.findings import Outcome
from handoffs.github.manifests import EVENTS, PERMISSIONS, SIDES, is_code, manifest
from handoffs.models import CanaryRun, GitHubRepository, ProtectionReading, PullRequest, RemotePull, Repository
from leoportal.web import Request, open_to_all, page, render_page
from verdicts.evidence import policy_in_force
from verdicts.hosted import Warned, home_of, lateness, silence
from verdicts.landing_rows import LandedClass, LandedCommit
from verdicts.policy import parse_policy
from verdicts.protection import Standing, protection_of, protections_of

MAX_REPOSITORIES: Final = 200
HISTORY: Final = 10
CODE_SECONDS: Final = 3600
SALT: Final = "repositories.apps"
_POLICY: Any = settings.SECURE_CSP
_TO_GITHUB: Final[dict[str, Any]] = {**_POLICY, "form-action": [CSP.SELF, settings.GITHUB_URL]}
_OWNER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})\Z")


@dataclass(frozen=True)
class Row:
    """One repository as a page shows it. `hosted` is None where the portal's own hooks protect it."""

    repository: Repository
    hosted: GitHubRepository | None
    standing: Standing

    @property
    def canary(self) -> str:
        """The last canary's outcome, as a word."""
        return f"canary-{self.standing.canary.outcome}" if self.standing.canary else ""

    @property
    def is_trial(self) -> bool:
        """Whether one token acts in place of both Apps: no rule is written or read, no canary flown."""
        return self.hosted is not None and not self.hosted.is_separated

    @property
    def url(self) -> str:
        """Its page at GitHub."""
        return home_of(self.hosted) if self.hosted else ""

    @property
    def lateness(self) -> list[Warned]:
        """Why what is shown of it may be old."""
        return list(lateness(self.hosted)) if self.hosted else []


@page(Act.VIEW_REPOSITORIES, "GET")
def list_repositories(request: Request) -> HttpResponse:
    """Every governed repository: enforced or not, why not, when it was last looked at, and what is next."""
    policy = parse_policy(policy_in_force().document.encode())
    found = list(Repository.objects.select_related("github").order_by("full_name")[:MAX_REPOSITORIES])
    standings = protections_of(found, policy)
    rows = [_row(repository, standings[repository.pk]) for repository in found]
    context = {"rows": rows, "may_set_up": may(request.actor.role, Act.SET_UP_APPS), "is_ready": _are_apps_known()}
    return render_page(request, "verdicts/repositories.html", context, part="repositories")


@page(Act.VIEW_REPOSITORIES, "GET")
def show_repository(request: Request, owner: str, repo: str) -> HttpResponse:
    """One repository: every finding of the last reading, the last canary, and how both changed."""
    repository = Repository.objects.select_related("github").filter(full_name=f"{owner}/{repo}").first()
    if repository is None:
        raise Http404("There is no such repository.")
    standing = protection_of(repository, parse_policy(policy_in_force().document.encode()))
    findings = sorted(standing.findings, key=lambda finding: list(_WORST_FIRST).index(finding.outcome))
    context = {
        "row": _row(repository, standing),
        "silence": list(silence()) if repository.forge == Repository.Forge.GITHUB else [],
        "findings": findings,
        "good": sum(finding.outcome is Outcome.OK for finding in findings),
        "readings": ProtectionReading.objects.filter(repository=repository).order_by("-pk")[:HISTORY],
        "canaries": CanaryRun.objects.filter(repository=repository).order_by("-pk")[:HISTORY],
        **_landed(repository),
    }
    return render_page(request, "verdicts/repository.html", context, part="protection")


def _landed(repository: Repository) -> dict[str, Any]:
    """What came to the protected branch, what came past the portal, and pull requests that no handoff is behind."""
    rows = LandedCommit.objects.filter(repository=repository, is_brought=False).order_by("-pk")
    ours = PullRequest.objects.filter(repository=repository).values("number")
    foreign = RemotePull.objects.filter(repository=repository, is_open=True).exclude(number__in=ours)
    return {
        "landed": rows[:HISTORY],
        "bypasses": rows.filter(kind=LandedClass.BYPASS)[:HISTORY],
        "foreign": foreign.order_by("-number")[:HISTORY],
    }


_WORST_FIRST: Final = (Outcome.BROKEN, Outcome.UNSEEN, Outcome.ACCEPTED, Outcome.OK)


# A form on this page goes to GitHub, so its address is added to where forms may go; nothing else of the policy changes.
@csp_override(_TO_GITHUB)
@page(Act.SET_UP_APPS, "GET")
def set_up_apps(request: Request) -> HttpResponse:
    """Both Apps as manifests, each with the button that sends it to GitHub."""
    owner = request.GET.get("owner", "")
    is_wrong = bool(owner) and not _OWNER.match(owner)
    known = {"enforcer": settings.GITHUB_ENFORCER_APP_ID, "gate": settings.GITHUB_GATE_APP_ID}
    apps = [] if is_wrong else [_app(side, owner, known[side]) for side in SIDES]
    context = {"apps": apps, "owner": owner, "is_wrong": is_wrong, "portal_url": settings.PORTAL_URL}
    return render_page(request, "verdicts/apps.html", context, status=422 if is_wrong else 200)


@open_to_all
@require_safe
def show_code(request: HttpRequest, side: str) -> HttpResponse:
    """Where GitHub sends the browser back with a code. Without a session: a strict cookie is not sent from there.

    The state was signed for whoever began; nothing is stored, and the code is shown for the operator to exchange.
    """
    code, state = request.GET.get("code", ""), request.GET.get("state", "")
    try:
        began = signing.TimestampSigner(salt=SALT).unsign(state, max_age=CODE_SECONDS)
    except signing.BadSignature:
        began = ""
    is_good = side in SIDES and began == side and is_code(code)
    response = render(request, "verdicts/app_code.html", {"side": side, "code": code, "is_good": is_good})
    response.status_code = 200 if is_good else 400
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _row(repository: Repository, standing: Standing) -> Row:
    return Row(repository, getattr(repository, "github", None), standing)


def _are_apps_known() -> bool:
    return bool(settings.GITHUB_ENFORCER_APP_ID and settings.GITHUB_GATE_APP_ID)


def _app(side: str, owner: str, number: int) -> dict[str, Any]:
    told: JsonValue = manifest(side, portal_url=settings.PORTAL_URL, owner=owner)
    place = f"organizations/{owner}/settings/apps/new" if owner else "settings/apps/new"
    state = signing.TimestampSigner(salt=SALT).sign(side)
    return {
        "side": side,
        "number": number,
        "address": f"{settings.GITHUB_URL}/{place}?state={state}",
        "manifest": write_json(told).decode(),
        "permissions": sorted(PERMISSIONS[side].items()),
        "events": EVENTS[side],
    }
