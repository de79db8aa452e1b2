"""The people behind a bundle: builder, sponsor and authors, and what is refused when one of them is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from audit.actions import take_part
from audit.events import Actor, AuditError, Role, numbered
from audit.models import Identity, Principal
from handoffs.bundles.bundle import Manifest
from handoffs.checks.catalogue import KNOWN_PEOPLE, ONE_DUTY, SIGNED_BY_BUILDER, SPONSOR
from handoffs.checks.evidence import CheckResult, Outcome
from handoffs.contributors import behind
from handoffs.models import (
    Handoff,
)
from handoffs.rules import Staging
from handoffs.scope.secrets import redact
from handoffs.signatures.commit_signatures import signer_of
from handoffs.signatures.refusals import RefusedError


@dataclass(frozen=True)
class People:
    """The principals behind one bundle. `unknown` are the commit addresses nobody is registered for."""

    builder: Principal | None
    sponsor: Principal | None
    unknown: tuple[str, ...]
    others: tuple[Principal, ...] = ()


def find_people(manifest: Manifest, addresses: Sequence[str]) -> People:
    """Who stands behind a bundle: the builder by its id, its sponsor, and every e-mail address in the commits.

    An id of somebody who holds another role, or none any more, is no builder's.
    """
    owner = Identity.objects.current().filter(
        kind=Identity.Kind.BUILDER_ID,
        value=manifest.builder_id,
        principal__grants__role=Role.BUILDER.value,
        principal__grants__ends_at=None,
    )
    row = owner.select_related("principal", "principal__sponsor").first()
    found = behind(addresses)
    return People(
        builder=row.principal if row else None,
        sponsor=row.principal.sponsor if row else None,
        unknown=tuple(address for _, address in found.unknown),
        others=tuple(Principal.objects.filter(pk__in=found.principals).order_by("pk")),
    )


def people_checks(manifest: Manifest | None, people: People) -> tuple[CheckResult, ...]:
    """Unknown identity is refused, never exempt: the builder's sponsor must be the registered one."""
    claimed, registered = manifest.sponsor if manifest else "", people.sponsor
    return (
        SPONSOR.found(
            Outcome.PASSED if registered is not None and claimed == registered.name else Outcome.FAILED,
            got=_who(claimed),
            expected=numbered(registered.pk) if registered else "a registered builder with a sponsor",
        ),
    )


def _who(claimed: str) -> str:
    """Who a manifest says answers for the builder, by number: what is kept of a check holds no name."""
    if not claimed:
        return "no sponsor"
    number = Principal.objects.filter(name=claimed).values_list("pk", flat=True).first()
    return numbered(number) if number else "somebody who is not in the registry"


def signer_checks(manifest: Manifest | None, commit: bytes, staging: Staging) -> tuple[CheckResult, ...]:
    """Where the policy asks for signed commits: the one who signed is the one the manifest names, no other builder."""
    if staging.push != "signed":
        return ()
    claimed = manifest.builder_id if manifest else ""
    try:
        signer = signer_of(commit, staging.keys, timezone.now()).builder_id
    except RefusedError as error:
        return (SIGNED_BY_BUILDER.found(Outcome.FAILED, got=error.got, expected=error.expected),)
    outcome = Outcome.PASSED if claimed == signer else Outcome.FAILED
    return (SIGNED_BY_BUILDER.found(outcome, got=signer, expected=redact(claimed) or "a readable manifest"),)


def take_parts(handoff: Handoff, people: People, elsewhere: Sequence[Actor], by: Actor) -> CheckResult | None:
    """Builder, sponsor and authors take part as BUILDER, the enforcer as ENFORCER. Returns a conflict as a check."""
    parts = [*elsewhere] + [
        Actor(p.pk, p.name, Role.BUILDER) for p in (people.builder, *people.others) if p is not None
    ]
    refusals = {check.code: check for check in (ONE_DUTY, KNOWN_PEOPLE)}
    try:
        with transaction.atomic():
            for part in (*parts, by):
                take_part(handoff.chain, part)
    except AuditError as error:
        return refusals[error.code].found(Outcome.FAILED, got=error.detail, expected="one duty for each principal")
    return None
