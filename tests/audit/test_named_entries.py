"""Every act of the registry names its entry of the log: one that is taken away before it has a place is noticed."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, models, transaction

from audit.actions import issue_token
from audit.administration import Change, appoint_administrators, approve_change, propose_change
from audit.events import Role
from audit.models import ApiToken, Identity, LogEntry, PersonLink, Proposal, ProposalKind, RoleGrant
from audit.sequencing import find_lost, governed_columns
from leoportal import setup
from tests.support.people import acting_as, make_cast, person

REFERENCES = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'f' AND confrelid = 'leo_log_entry'::regclass
"""
REGISTRY = (RoleGrant, Identity, PersonLink, ApiToken, Proposal)


def together(what: ProposalKind, name: str, /, **detail: str) -> Proposal:
    asked = propose_change(Change(what, person(name), detail, "It has to be so."), by=acting_as("xena", Role.ADMIN))
    return approve_change(asked.pk, by=acting_as("yuri", Role.ADMIN))


@pytest.fixture
def acted(transactional_db) -> None:
    """Everything that the registry can do, once."""
    make_cast()
    appoint_administrators(["xena", "yuri"], by=setup.OPERATOR)
    issue_token(person("stella"), "laptop", days=9, by=setup.OPERATOR)
    together(ProposalKind.SAME, "plan", other="plan2")
    together(ProposalKind.NOT_SAME, "plan", other="plan2")
    together(ProposalKind.LINK, "stella", kind="email", value="stella@example.org")
    together(ProposalKind.END_ROLE, "stella")
    together(ProposalKind.ERASE, "stella")


@pytest.mark.threat("AUD-04")
def test_a_lost_entry_is_noticed_whichever_act_of_the_registry_it_was_of(acted):
    assert find_lost() == []
    columns = [(model, column) for model, column in governed_columns() if model in REGISTRY]
    assert {model for model, _ in columns} == set(REGISTRY)
    assert len(columns) == 2 * len(REGISTRY)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(REFERENCES)
        for table, constraint in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        cursor.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows")
        for model, column in columns:
            row = model._default_manager.filter(**{f"{column}__isnull": False}).latest("pk")
            with transaction.atomic():
                cursor.execute("DELETE FROM leo_log_entry WHERE id = %s", [getattr(row, f"{column}_id")])
                assert f"{model.__name__} {row.pk}" in find_lost(), (model, column)
                transaction.set_rollback(True)
        transaction.set_rollback(True)


@pytest.mark.parametrize("model", REGISTRY, ids=lambda model: model.__name__)
def test_nothing_of_the_registry_ends_without_an_entry_that_says_so(acted, model: type[models.Model]):
    ended = model._default_manager.filter(end_entry__isnull=False).latest("pk")
    values = {field.attname: getattr(ended, field.attname) for field in model._meta.concrete_fields}
    with pytest.raises(IntegrityError, match="end_is_named"), transaction.atomic():
        model._default_manager.create(**{**values, "id": None, "end_entry_id": None})


@pytest.mark.parametrize("model", REGISTRY, ids=lambda model: model.__name__)
def test_what_ended_never_names_another_entry_and_never_begins_again(acted, model: type[models.Model]):
    ended = model._default_manager.filter(end_entry__isnull=False).latest("pk")
    end = {"ApiToken": "revoked_at", "Proposal": "decided_at"}.get(model.__name__, "ends_at")
    for change in ({"end_entry_id": LogEntry.objects.latest("pk").pk}, {"end_entry_id": None, end: None}):
        with pytest.raises(IntegrityError, match="history"), transaction.atomic():
            model._default_manager.filter(pk=ended.pk).update(**change)
