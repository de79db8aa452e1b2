"""Rows of governed acts name the entry they were written with: none is written without, and a lost one is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.administration import Change, approve_change, propose_change
from audit.erasure import apply_retention, hold_person
from audit.events import AuditError
from audit.models import ErasableText, Principal, ProposalKind
from audit.sequencing import find_lost, governed_columns
from audit.texts import store_text
from handoffs.bundles.store import BundleStore
from handoffs.expiring import expire_old_bundles
from handoffs.keys import Vault, create_signing_key
from handoffs.models import Handoff, KeyRotation, Lane, PullRequest, Repository, SigningKey
from handoffs.rotating import request_rotation
from handoffs.signatures.key_rules import Algorithm
from leoportal.lanes.matrix import read_matrix
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.support.log import settle_log
from tests.support.people import person
from tests.support.signing_keys import age, revoke, rotated
from tests.web.scene import Scene
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass, review_break_glass
from verdicts.break_glass_rows import BreakGlass
from verdicts.comparing import find_changed_rows

MATRIX = read_matrix()
ROWS: tuple[type[models.Model], ...] = (
    BreakGlass, SigningKey, KeyRotation, Repository, Principal, ErasableText, Handoff,
)  # fmt: skip
WHY = "Payments are down; this is the fix, and the gates' runner is down with them."
REFERENCES = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'f' AND confrelid = 'leo_log_entry'::regclass
"""


def columns(model: type[models.Model]) -> list[str]:
    return [f"{column}_id" for of, column in governed_columns() if of is model]


def lanes_with(table: str, privilege: str, column: str = "") -> list[str]:
    given = MATRIX.tables[table].grants
    names = {grant.role for grant in given if (grant.privilege, grant.column) == (privilege, column)}
    return [key for key, role in MATRIX.roles.items() if role.name in names]


@pytest.fixture
def acted(scene: Scene, settings) -> Scene:
    """Everything that these rows can go through, once."""
    settings.SIGNING_ALGORITHMS = dict.fromkeys(("enforcer", "gate"), Algorithm.ED25519)
    vault = Vault(settings.SIGNING_KEY_PASSWORD, dict.fromkeys(Lane, Algorithm.ED25519))
    create_signing_key(Lane.GATE, vault, by=OPERATOR)
    assert rotated(Lane.GATE).new_key is not None
    age(SigningKey.objects.get(lane=Lane.GATE, retired_at=None), 31)
    revoke(create_signing_key(Lane.GATE, vault, by=OPERATOR), timezone.now())
    pull, store = scene.pull(), BundleStore(settings.BUNDLE_STORE)
    glass = request_break_glass(pull.pk, BreakGlassRequest(WHY, "INC-7", pull.head_sha), by=scene.actor("lead"))
    open_break_glass(glass.pk, by=scene.actor("lead2"))
    review_break_glass(glass.pk, WHY, by=scene.actor("xena"))
    xena, yuri, nora = scene.actor("xena"), scene.actor("yuri"), Principal.objects.create(name="nora", kind="human")
    for kind in (ProposalKind.HOLD, ProposalKind.END_HOLD, ProposalKind.ERASE):
        approve_change(propose_change(Change(kind, nora, {}, "It has to be so."), by=xena).pk, by=yuri)
        settle_log()
    approve_change(propose_change(Change(ProposalKind.HOLD, person("plan"), {}, "It has to be."), by=xena).pk, by=yuri)
    store_text(ErasableText.Kind.DECISION, "Old.", author=0, at=timezone.now() - timedelta(days=9))
    assert apply_retention({"decision": 1}, now=timezone.now()) == 1
    old = scene.handoff(digest=store.put(b"bundle"))
    PullRequest.objects.filter(handoff=old).delete()
    Handoff.objects.filter(pk=old.pk).update(status="superseded", received_at=timezone.now() - timedelta(days=401))
    before = timezone.now() - timedelta(days=400)
    assert expire_old_bundles(store, before=before, by=scene.enforcer) == 1
    return scene


@pytest.mark.threat("AUD-04")
@pytest.mark.parametrize("login", ["sequencer", "verifier"])
def test_a_lost_entry_is_noticed_whichever_act_it_was_of(acted: Scene, login: str):
    """Taken away as the owner can, before it has a place; noticed by the login that looks, each second or each night."""
    assert find_lost() == []
    found = [(model, column) for model, column in governed_columns() if model in ROWS]
    assert {model for model, _ in found} == set(ROWS)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(REFERENCES)
        for table, constraint in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        cursor.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows")
        for model, column in found:
            row = model._default_manager.filter(**{f"{column}__isnull": False}).latest("pk")
            with transaction.atomic():
                cursor.execute("DELETE FROM leo_log_entry WHERE id = %s", [getattr(row, f"{column}_id")])
                with acting_in(login):
                    assert f"{model.__name__} {row.pk}" in find_lost(), (model, column)
                transaction.set_rollback(True)
        transaction.set_rollback(True)


@pytest.mark.threat("AUD-04")
@pytest.mark.parametrize("model", [*ROWS[:4], Handoff], ids=lambda model: model.__name__)
def test_no_lane_inserts_a_row_that_names_no_entry_of_its_transaction(
    as_role: Callable[[str], psycopg.Connection], model: type[models.Model]
):
    table = model._meta.db_table
    lanes = lanes_with(table, "INSERT")
    assert lanes
    for lane, column in itertools.product(lanes, columns(model)):
        with pytest.raises(psycopg.errors.RestrictViolation, match=rf"log\.other_entry: {column} of a row of {table}"):
            as_role(lane).execute(f"INSERT INTO {table} ({column}) VALUES (0)")


@pytest.fixture
def begun(scene: Scene, settings) -> Scene:
    """Everything that these rows can still go through."""
    vault = Vault(settings.SIGNING_KEY_PASSWORD, dict.fromkeys(Lane, Algorithm.ED25519))
    create_signing_key(Lane.GATE, vault, by=OPERATOR)
    request_rotation(Lane.GATE, by=OPERATOR, reason="a test")
    pull = scene.pull()
    glass = request_break_glass(pull.pk, BreakGlassRequest(WHY, "INC-7", pull.head_sha), by=scene.actor("lead"))
    open_break_glass(glass.pk, by=scene.actor("lead2"))
    values = {field.attname: getattr(glass, field.attname) for field in BreakGlass._meta.fields if field.name != "id"}
    BreakGlass.objects.create(**values)  # as it was when it was asked for
    hold_person(person("lead"), is_held=True, by=scene.actor("xena"))
    store_text(ErasableText.Kind.DECISION, "A reason.", author=0, at=timezone.now())
    return scene


NOW = timezone.now()
GLASS = {"opened_at": NOW, "closes_at": NOW + timedelta(minutes=1), "review_due_at": NOW + timedelta(hours=1)}
# The rows, what changes, and the column that has to name the entry.
CHANGES: dict[str, tuple[type[models.Model], dict[str, Any], dict[str, Any], str]] = {
    "a hold is set": (Principal, {"name": "plan"}, {"is_held": True}, "hold_entry_id"),
    "a hold is ended": (Principal, {"name": "lead"}, {"is_held": False}, "hold_entry_id"),
    "a person is erased": (Principal, {"name": "plan"}, {"salt": None}, "erase_entry_id"),
    "a text is erased": (
        ErasableText,
        {"author": None, "kind": "decision"},
        {"text": None, "salt": None, "erased_at": NOW},
        "erase_entry_id",
    ),
    "a key is retired": (SigningKey, {"lane": "gate"}, {"retired_at": NOW}, "retire_entry_id"),
    "a key is revoked": (SigningKey, {"lane": "gate"}, {"revoked_at": NOW, "distrusted_since": NOW}, "revoke_entry_id"),
    "a rotation ends": (KeyRotation, {"lane": "gate"}, {"step": "cancelled"}, "end_entry_id"),
    "a glass is opened": (BreakGlass, {"opened_at": None}, GLASS, "open_entry_id"),
    "a glass is reviewed": (BreakGlass, {"is_unreviewed": True}, {"reviewed_at": NOW}, "review_entry_id"),
}


@pytest.mark.threat("AUD-04")
@pytest.mark.parametrize("what", CHANGES)
def test_no_lane_changes_a_row_without_the_entry_that_says_so(begun: Scene, what: str):
    model, which, change, column = CHANGES[what]
    table = model._meta.db_table
    lanes = [
        lane for lane in MATRIX.roles if all(lane in lanes_with(table, "UPDATE", name) for name in (*change, column))
    ]
    assert lanes
    assert model._default_manager.filter(**which).count() == 1
    other = append_event("session.refused", OPERATOR, "", {}).pk
    for lane in lanes:
        with pytest.raises(IntegrityError, match=r"log\.no_entry|end_is_named"), transaction.atomic(), acting_in(lane):
            model._default_manager.filter(**which).update(**change)
        with pytest.raises(IntegrityError, match=r"log\.other_entry"), transaction.atomic(), acting_in(lane):
            model._default_manager.filter(**which).update(**change, **{column: other})


@pytest.mark.threat("AUD-04")
def test_an_entry_of_another_transaction_says_nothing(transactional_db):
    with transaction.atomic():
        early = append_event(events.REPOSITORY_GOVERNED, OPERATOR, "", {})
    with pytest.raises(IntegrityError, match=r"log\.other_entry: log_entry_id .* is [0-9]+, expected"):
        Repository.objects.create(full_name="acme/payments", path="/nowhere", log_entry=early)
    with transaction.atomic():
        entry = append_event(events.REPOSITORY_GOVERNED, OPERATOR, "", {})
        with transaction.atomic():
            Repository.objects.create(full_name="acme/payments", path="/nowhere", log_entry=entry)


def end_hold() -> None:
    hold_person(person("lead"), is_held=False, by=OPERATOR)


def end_hold_past_it() -> None:
    entry = append_event(events.HOLD_ENDED, OPERATOR, "", {})
    Principal.objects.filter(name="lead").update(is_held=False, hold_entry=entry)


def revoke_again() -> None:
    key = SigningKey.objects.get(lane=Lane.GATE)
    revoke(key, key.created_at)


def revoke_past_it() -> None:
    entry = append_event(events.KEY_REVOKED, OPERATOR, "", {})
    SigningKey.objects.filter(lane=Lane.GATE).update(revoke_entry=entry)


@pytest.mark.threat("AUD-04")
@pytest.mark.parametrize(
    ("act", "error"),
    [
        (end_hold, AuditError),
        (end_hold_past_it, IntegrityError),
        (revoke_again, AuditError),
        (revoke_past_it, IntegrityError),
    ],
)
def test_what_a_row_names_stays_named_until_it_is_in_the_tree(
    begun: Scene, act: Callable[[], None], error: type[Exception]
):
    """Or the first of two entries could be taken away in between, and nothing would name it."""
    if act in {revoke_again, revoke_past_it}:
        revoke(SigningKey.objects.get(lane=Lane.GATE), timezone.now())
    with pytest.raises(error, match=r"log\.not_placed"), transaction.atomic():
        act()
    settle_log()
    act()


def test_every_column_that_names_an_entry_is_looked_at(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'names\\_%' AND tgenabled = 'A'"
        )
        found = {(table, name.removeprefix("names_")) for table, name in cursor.fetchall()}
    named = {(model._meta.db_table, f"{column}_id") for model, column in governed_columns()}
    assert named - found == {("leo_ref_intent", "log_entry_id")}  # its act is a row of leo_handoff_tracking
    assert found <= named


@pytest.mark.parametrize(
    "change", [{"full_name": "acme/other"}, {"path": "/elsewhere"}, {"protected_branch": "trunk"}, {"next_number": 0}]
)
def test_a_repository_stays_what_was_enrolled(scene: Scene, change: dict[str, Any]):
    with pytest.raises(IntegrityError, match="history: repository acme/payments"), transaction.atomic():
        Repository.objects.update(**change)


def test_a_row_beside_its_entry_and_an_entry_without_its_row_are_found(begun: Scene):
    """As an owner could do it: the triggers off, a key renamed, an asked-for release deleted."""
    assert find_changed_rows() == []
    glass = BreakGlass.objects.get(opened_at=None)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("handoffs_repository", "leo_break_glass"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER history_rows")
        cursor.execute("UPDATE handoffs_repository SET protected_branch = 'trunk'")
        cursor.execute("DELETE FROM leo_break_glass WHERE log_entry_id = %s", [glass.log_entry_id])
    found = find_changed_rows()
    assert f"Repository {begun.repository.pk}: protected_branch are not what entry" in " ".join(found)
    assert f"entry {glass.log_entry_id} (break_glass.requested) has lost its row" in found
