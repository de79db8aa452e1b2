"""People in the database: one role, one owner and one person at a time, whoever writes; and history that stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from audit import events
from audit.actions import actor_of, add_identity, append_event, create_principal, find_conflict, take_part
from audit.events import AuditError, Role
from audit.models import Identity, Kind, Participation, PersonLink, Principal, RoleGrant
from leoportal.setup import OPERATOR
from tests.support.people import acting_as, one_person, person

CHAIN = "acme/payments:x"


def end(rows) -> None:
    is_role = rows.model is RoleGrant
    kind = (
        events.ROLE_ENDED if is_role else events.PERSONS_UNLINKED if rows.model is PersonLink else "identity.unlinked"
    )
    rows.update(ends_at=timezone.now(), end_entry=append_event(kind, OPERATOR, "", {}))


def grant(principal: Principal, at: datetime) -> RoleGrant:
    entry = append_event(events.ROLE_GRANTED, OPERATOR, "", {})
    return RoleGrant.objects.create(principal=principal, role="LEAD", starts_at=at, log_entry=entry)


def link(one: Principal, other: Principal) -> PersonLink:
    return one_person(one, other)


@pytest.mark.threat("SOD-05")
def test_a_second_role_is_refused_by_the_database_and_a_later_one_is_history(cast):
    plan = person("plan")
    with pytest.raises(IntegrityError, match="rolegrant_one_at_a_time"), transaction.atomic():
        grant(plan, timezone.now())
    with pytest.raises(IntegrityError, match="rolegrant_one_at_a_time"), transaction.atomic():
        long_ago = timezone.now() - timedelta(days=400)
        grant(plan, long_ago)
    end(RoleGrant.objects.filter(principal=plan))
    grant(plan, timezone.now())
    assert [grant.role for grant in plan.grants.order_by("pk")] == ["PLAN", "LEAD"]
    assert actor_of(plan).role is Role.LEAD


def test_a_name_has_one_owner_at_a_time_and_its_past_stays(cast):
    add_identity(person("plan"), "github", "583231", by=OPERATOR)
    with pytest.raises(AuditError, match=r"identity\.taken"):
        add_identity(person("lead"), "github", "583231", by=OPERATOR)
    with pytest.raises(IntegrityError, match="identity_one_owner_at_a_time"), transaction.atomic():
        mine = Identity.objects.get(value="583231")
        twin = {"principal": person("lead"), "starts_at": timezone.now(), "log_entry": mine.log_entry}
        Identity.objects.create(kind="github", value="583231", **twin)
    end(Identity.objects.filter(value="583231"))
    add_identity(person("lead"), "github", "583231", by=OPERATOR)
    assert [name.principal.name for name in Identity.objects.filter(value="583231").order_by("pk")] == ["plan", "lead"]


REWRITES: dict[str, Callable[[], object]] = {
    "a grant is deleted": lambda: RoleGrant.objects.first().delete(),
    "a grant changes its role": lambda: RoleGrant.objects.filter(principal__name="plan").update(role="LEAD"),
    "a grant is dated back": lambda: RoleGrant.objects.update(starts_at=timezone.now() - timedelta(days=9)),
    "an ended grant is opened again": lambda: RoleGrant.objects.filter(principal__name="pat").update(ends_at=None),
    "a name changes its owner": lambda: Identity.objects.update(principal=person("lead")),
    "a name is deleted": lambda: Identity.objects.first().delete(),
    "a machine changes its sponsor": lambda: Principal.objects.filter(name="codex").update(sponsor=person("stella")),
    "a machine becomes a person": lambda: Principal.objects.filter(name="codex").update(kind="human", sponsor=None),
}


@pytest.mark.threat("SOD-13")
@pytest.mark.parametrize("how", REWRITES)
def test_history_is_not_rewritten(cast, how: str):
    create_principal("pat", kind=Kind.HUMAN, role=Role.LEAD, by=OPERATOR)
    end(RoleGrant.objects.filter(principal__name="pat"))
    with pytest.raises(DatabaseError, match="history:"), transaction.atomic():
        REWRITES[how]()


def test_the_guards_of_history_hold_in_replica_mode_too(cast):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgenabled FROM pg_trigger "
            "WHERE tgname IN ('history_rows', 'one_person_one_duty')"
        )
        found = dict(cursor.fetchall())
    assert set(found.values()) == {"A"}
    tables = {"audit_principal", "audit_identity", "audit_rolegrant", "audit_person_link", "audit_proposal"}
    tables.add("audit_text")
    tables |= {
        "audit_participation",
        "leo_break_glass",
        "handoffs_repository",
        "handoffs_keyrotation",
        "audit_apitoken",
        "leo_github_command",
    }
    assert set(found) == tables


@pytest.mark.threat("SOD-01")
@pytest.mark.parametrize(
    "relation", ["itself", "its sponsor", "a machine beside it", "the same person under two names"]
)
@pytest.mark.parametrize("is_orm_bypassed", [False, True], ids=["action", "sql"])
def test_one_person_has_one_duty_however_it_acts(cast, relation: str, is_orm_bypassed: bool):
    ada, codex = person("ada"), person("codex")
    beside = Principal.objects.create(name="codex-2", kind="machine", sponsor=ada)
    link(ada, person("plan2"))
    with transaction.atomic():
        take_part(CHAIN, actor_of(codex))
    second = {
        "itself": codex,
        "its sponsor": ada,
        "a machine beside it": beside,
        "the same person under two names": person("plan2"),
    }[relation]
    assert "took part in this handoff as BUILDER" in find_conflict(
        Participation.objects.parts(CHAIN), acting_as(second.name, Role.PLAN), Principal.objects.registry()
    )
    if is_orm_bypassed:
        with pytest.raises(IntegrityError, match=r"sod\.conflict|participation_one_duty"), transaction.atomic():
            Participation.objects.create(subject=CHAIN, principal=second, duty="PLAN")
    else:
        with pytest.raises(AuditError, match=r"sod\.conflict"), transaction.atomic():
            take_part(CHAIN, acting_as(second.name, Role.PLAN))


def test_a_link_that_ended_separates_from_then_on_and_opens_nothing_again(cast):
    found = link(person("ada"), person("plan2"))
    with transaction.atomic():
        take_part(CHAIN, actor_of(person("codex")))
    assert Participation.objects.filter(subject=CHAIN).count() == 2
    end(PersonLink.objects.filter(pk=found.pk))
    with transaction.atomic():
        take_part(CHAIN, actor_of(person("plan2")))
    with pytest.raises(AuditError, match=r"sod\.conflict"), transaction.atomic():
        take_part(CHAIN, acting_as("ada", Role.LEAD))
