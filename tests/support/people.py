"""The cast without a repository: quick, for tests of the registry alone."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event, create_principal
from audit.events import Actor, Role
from audit.models import Kind, PersonLink, Principal
from leoportal import setup


def make_cast() -> None:
    """codex (ada answers), the enforcer (opal answers), plan, plan2, lead, auditor, stella; nobody administers yet."""
    setup.ensure_lanes("opal", "rhea")
    setup.ensure_builder("codex", sponsor="ada", builder_id="https://builder.invalid/codex/v1", email="codex@b.invalid")
    for name, role in (
        ("plan", Role.PLAN),
        ("plan2", Role.PLAN),
        ("lead", Role.LEAD),
        ("auditor", Role.AUDITOR),
        ("stella", Role.REPORTER),
    ):
        create_principal(name, kind=Kind.HUMAN, role=role, by=setup.OPERATOR)


def person(name: str) -> Principal:
    """Somebody of the cast."""
    return Principal.objects.select_related("sponsor").get(name=name)


@transaction.atomic
def one_person(one: Principal, other: Principal) -> PersonLink:
    """Two entries of the registry become one person, past the administrators."""
    first, second = sorted((one, other), key=lambda who: who.pk)
    said = append_event(events.PERSONS_LINKED, setup.OPERATOR, "", {"principals": [first.pk, second.pk]})
    return PersonLink.objects.create(one=first, other=second, starts_at=timezone.now(), log_entry=said)


def acting_as(name: str, role: Role) -> Actor:
    """Somebody, claiming a role that may not be theirs."""
    return Actor(person(name).pk, name, role)
