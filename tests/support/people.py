"""The cast without a repository: quick, for tests of the registry alone."""

from __future__ import annotations

from audit.actions import create_principal
from audit.events import Actor, Role
from audit.models import Kind, Principal
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


def acting_as(name: str, role: Role) -> Actor:
    """Somebody, claiming a role that may not be theirs."""
    return Actor(person(name).pk, name, role)
