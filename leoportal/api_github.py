"""What a GitHub Actions job sends: its evidence, under the identity token that GitHub gave that one run."""

from __future__ import annotations

import functools
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from ninja import Router, Schema, Status
from ninja.security import HttpBearer

from audit.actions import actor_of
from audit.events import Actor, Role
from audit.models import Principal
from handoffs.github.oidc import IssuerKeys, Run, fetch_keys, verify_token
from handoffs.models import HandoffError
from handoffs.run_evidence import receive_evidence
from leoportal.machines import enter_lane, signed_in
from verdicts.evidence import ACTIONS

REPORTER: Final = ACTIONS


class RunAuth(HttpBearer):
    """The run behind an identity token; a refusal says why, since whoever sends one is a job that somebody debugs."""

    def authenticate(self, request: HttpRequest, token: str) -> Run:
        """Raises: OidcError. From then on the reporters' lane acts."""
        run = verify_token(token, issuer_keys(settings.GITHUB_OIDC_ISSUER), audience=settings.PORTAL_URL)
        enter_lane(request, Role.REPORTER)
        return run


class Received(Schema):
    """Where the evidence landed: the row, its digest, and the id of its entry in the log."""

    id: int
    digest: str
    log_entry: int


router = Router(auth=RunAuth())


@functools.lru_cache(maxsize=4)
def issuer_keys(issuer: str) -> IssuerKeys:
    """The keys of the issuer, kept by this process."""
    return IssuerKeys(issuer, functools.partial(fetch_keys, seconds=settings.GITHUB_SECONDS))


@router.post("/evidence", response={201: Received})
def send_evidence(request: HttpRequest) -> Status[dict[str, Any]]:
    """Store what a gate's job found about the head it ran on: a JSON object with `head_sha`, at most 64 KiB."""
    row = receive_evidence(signed_in(request, Run), request.body, by=_reporter())
    return Status(201, {"id": row.pk, "digest": row.digest, "log_entry": row.log_entry_id})


def _reporter() -> Actor:
    """Who such evidence is recorded by.

    Raises: HandoffError("evidence.no_reporter").
    """
    found = Principal.objects.filter(name=REPORTER).first()
    actor = actor_of(found) if found else None
    if actor is None or actor.role is not Role.REPORTER:
        detail = f"there is no principal {REPORTER} in the role REPORTER. Next: `leo repo govern` makes it"
        raise HandoffError("evidence.no_reporter", detail)
    return actor
