"""Who stands behind a change: addresses that were unknown when it came, and authors of the same change elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q

from audit.actions import take_part
from audit.events import Actor, Role
from audit.models import Identity, Participation, Principal
from handoffs.models import Handoff


def still_unknown(addresses: Sequence[str]) -> list[str]:
    """The addresses that belong to nobody yet. An operator may have linked some since the handoff came."""
    if not addresses:
        return []
    rows = Identity.objects.filter(kind=Identity.Kind.EMAIL, value__in=addresses)
    known = set(rows.values_list("value", flat=True))
    return [address for address in addresses if address not in known]


def settle_contributors(handoff: Handoff) -> list[str]:
    """Let people whose address was linked meanwhile take part as builders; returns who is unknown still.

    In the caller's transaction, before a decider takes part: whoever wrote the change cannot decide on it.
    Raises: AuditError("sod.conflict").
    """
    rows = Identity.objects.filter(kind=Identity.Kind.EMAIL, value__in=handoff.unknown_contributors)
    for principal in Principal.objects.filter(pk__in=rows.values("principal_id")).order_by("pk"):
        take_part(handoff.chain, Actor(principal.pk, principal.name, Role.BUILDER))
    return still_unknown(handoff.unknown_contributors)


def authors_elsewhere(handoff: Handoff, *, patch_digest: str, result_tree: str) -> tuple[list[Actor], list[str]]:
    """Builders, and unknown addresses, of other handoffs of the same patch or the same result.

    Handing a change over again on another branch does not make it somebody else's.
    """
    same = Q(patch_digest=patch_digest) & ~Q(patch_digest="") | Q(result_tree=result_tree) & ~Q(result_tree="")
    others = Handoff.objects.filter(same, repository=handoff.repository).exclude(chain=handoff.chain)
    parts = Participation.objects.filter(subject__in=others.values("chain"), duty=Role.BUILDER.value)
    people = Principal.objects.filter(pk__in=parts.values("principal_id")).order_by("pk")
    unknown = {address for handed in others for address in handed.unknown_contributors}
    return [Actor(person.pk, person.name, Role.BUILDER) for person in people], sorted(unknown)
