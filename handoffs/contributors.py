"""Who stands behind a change: addresses that were unknown when it came, and authors of the same change elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.db import transaction
from django.db.models import Q

from audit import events
from audit.actions import take_part
from audit.events import Actor, AuditError, Role, numbered
from audit.identities import EMAIL
from audit.models import Identity, Participation, Principal
from audit.separation import Contributors, Part, contributors
from handoffs.models import Handoff, HandoffEvent, HandoffQuerySet


def behind(addresses: Sequence[str]) -> Contributors:
    """Who stands behind commit addresses, whoever answers for them included; and which belong to nobody now."""
    owned = Identity.objects.current().filter(kind=Identity.Kind.EMAIL, value__in=addresses)
    owners = {(EMAIL, value): owner for value, owner in owned.values_list("value", "principal_id")}
    registry = replace(Principal.objects.registry(), owners=owners)
    return contributors([(EMAIL, address) for address in addresses], registry)


def still_unknown(addresses: Sequence[str]) -> list[str]:
    """The addresses that belong to nobody yet. An operator may have linked some since the handoff came."""
    return [address for _, address in behind(addresses).unknown] if addresses else []


def authors_now(handoff: Handoff) -> list[Principal]:
    """Who wrote this change, as far as is known now: addresses linked meanwhile, and authors of the same elsewhere."""
    linked = behind(handoff.unknown_contributors).principals if handoff.unknown_contributors else frozenset()
    elsewhere, _ = authors_elsewhere(handoff)
    pks = {*linked, *(actor.principal_id for actor in elsewhere)}
    return list(Principal.objects.filter(pk__in=pks).order_by("pk"))


def authors_in_another_duty(handoff: Handoff, parts: Iterable[Part]) -> tuple[str, ...]:
    """Authors who take part in this handoff as something else than its builder. Read only."""
    duties = {part.principal_id: part.duty for part in parts}
    return tuple(
        f"{numbered(person.pk)} wrote this change and took part as {duties[person.pk]}"
        for person in authors_now(handoff)
        if duties.get(person.pk, Role.BUILDER) is not Role.BUILDER
    )


def settle_contributors(handoff: Handoff) -> tuple[list[str], list[str]]:
    """Let the authors known now take part as builders: whoever wrote the change cannot decide on it.

    In the caller's transaction, before a decider takes part. Returns who is unknown still, and which authors took
    part in another duty before they were known as authors: nobody may release such a change any more.
    """
    clashes = []
    for person in authors_now(handoff):
        try:
            with transaction.atomic():
                take_part(handoff.chain, Actor(person.pk, person.name, Role.BUILDER))
        except AuditError as error:
            clashes.append(error.detail)
    return still_unknown(handoff.unknown_contributors), clashes


def same_change(handoff: Handoff) -> HandoffQuerySet:
    """Other handoffs, of any repository, that passed verification with the same change or the same result.

    The change is compared by its added and removed lines, whatever their place: handing it over again on another
    branch, with other context or on a newer base does not make it somebody else's. A bundle that was refused proves
    nothing about anybody.
    """
    same = Q(change_digest=handoff.change_digest) & ~Q(change_digest="")
    same |= Q(result_tree=handoff.result_tree, repository=handoff.repository_id) & ~Q(result_tree="")
    verified = HandoffEvent.objects.filter(event=events.HANDOFF_VERIFIED).values("handoff_id")
    return Handoff.objects.filter(same, pk__in=verified).exclude(chain=handoff.chain)


def authors_elsewhere(handoff: Handoff) -> tuple[list[Actor], list[str]]:
    """Builders, and unknown addresses, of other handoffs of the same change."""
    others = list(same_change(handoff).values_list("chain", "unknown_contributors"))
    if not others:
        return [], []
    parts = Participation.objects.filter(subject__in={chain for chain, _ in others}, duty=Role.BUILDER.value)
    people = Principal.objects.filter(pk__in=parts.values("principal_id")).order_by("pk")
    unknown = {address for _, addresses in others for address in addresses}
    return [Actor(person.pk, person.name, Role.BUILDER) for person in people], sorted(unknown)
