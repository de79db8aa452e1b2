"""What the lanes' triggers and row-level policies refuse, tried lane by lane."""

from __future__ import annotations

import contextlib
import itertools
import re
from hashlib import sha256

import psycopg
import pytest
from django.db import DatabaseError, ProgrammingError, connection, transaction

from audit.actions import append_event
from audit.events import Actor, Role
from audit.leaves import parse_leaf
from audit.models import LogAlarm, LogEntry
from handoffs.models import Handoff, PullRequest, PullStatus, Status
from leoportal.lanes.matrix import read_matrix
from leoportal.lanes.switching import acting_in
from tests.web.scene import Scene
from verdicts.models import GateExecution

MATRIX = read_matrix()
LANES = ("visitor", "enforcer", "verifier", "reporter", "plan", "lead", "auditor", "admin", "operator")
ENTRY = (
    "INSERT INTO leo_log_entry (kind, principal, role, subject, xid, body, salt, leaf, leaf_hash)"
    " VALUES (%s, 0, %s, '', 0, '{}', decode(repeat('00', 16), 'hex'), '', '')"
)
APPENDING = sorted(key for key, role in MATRIX.roles.items() if role.name in {name for name, _ in MATRIX.kinds})
HOSTILE = """
CREATE SCHEMA hostile;
GRANT USAGE ON SCHEMA hostile TO leo_plan;
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2001-01-01Z' $$;
CREATE FUNCTION hostile.txid_current() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
CREATE FUNCTION hostile.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'leo_lead' $$;
CREATE FUNCTION hostile.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1';
CREATE OPERATOR hostile.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = pg_catalog.byteacat);
"""


class UndoError(Exception):
    """Takes a try back."""


@pytest.mark.threat("DB-01")
@pytest.mark.threat("AUD-07")
@pytest.mark.parametrize("lane", LANES)
def test_a_lane_appends_its_own_kinds_of_entries_and_speaks_for_itself_only(as_role, lane: str):
    role, session, found = MATRIX.roles[lane], as_role(lane), set()
    kinds = {kind for _, kind in MATRIX.kinds} | {"verdict.invented"}
    own = min(role.says, default="PLAN")
    for kind in kinds:
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege), session.transaction(force_rollback=True):
            session.execute(ENTRY, [kind, own])
            found.add(kind)
    assert found == {kind for name, kind in MATRIX.kinds if name == role.name}
    for kind, said in itertools.product(
        sorted(found - {kind for _, kind in MATRIX.in_anothers_role})[:1], set(Role) - role.says
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"lane\.role"):
            session.execute(ENTRY, [kind, said.value])


@pytest.mark.threat("AUD-07")
@pytest.mark.parametrize("lane", APPENDING)
def test_no_lane_appends_while_an_alarm_stands(db, lane: str):
    name, says = MATRIX.roles[lane].name, MATRIX.roles[lane].says
    kind = min(kind for of, kind in MATRIX.kinds if of == name and kind != "epoch.opened")
    LogAlarm.objects.create(code="log.rollback", detail="the database was restored")
    with (
        pytest.raises(DatabaseError, match=r"log\.rollback"),
        transaction.atomic(),
        acting_in(lane),
        connection.cursor() as cursor,
    ):
        cursor.execute(ENTRY, [kind, min(says, default="PLAN")])


@pytest.mark.threat("AUD-07")
def test_no_search_path_says_what_the_triggers_of_the_log_mean(db):
    """They take none of their own, since every entry would pay for it: each name in them says its schema."""
    with connection.cursor() as cursor:
        cursor.execute(HOSTILE)
        with acting_in("plan"):
            cursor.execute("SET LOCAL search_path = hostile, pg_catalog, public")
            cursor.execute(ENTRY, ["verdict.recorded", "PLAN"])
            cursor.execute("RESET search_path")
        entry = LogEntry.objects.get()
        leaf = parse_leaf(bytes(entry.leaf))
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        assert (entry.xid,) == cursor.fetchone()
        assert (leaf.at, leaf.lane) == (entry.created_at, "leo_plan")
        assert entry.created_at.year > 2001
        assert leaf.body_sha256 == sha256(bytes(16) + b"{}").hexdigest()
        cursor.execute(
            "SELECT prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid"
            " WHERE tgrelid = 'leo_log_entry'::regclass AND NOT tgisinternal AND (tgtype & 4) > 0"
        )
        bodies = [body for (body,) in cursor.fetchall()]
    assert len(bodies) == 2
    for body in bodies:
        said = re.sub(r"'[^']*'|OPERATOR\(pg_catalog\.[^)]+\)|:=|(?:ERRCODE|HINT) =|extract\(", "", body)
        assert not re.findall(r"(?<![\w.])[a-z_0-9]+\(|::(?!pg_catalog\.)|[-+*/<>=~!@#%^&|?]", said)


@pytest.mark.threat("SOD-04")
def test_a_function_that_runs_as_its_owner_does_not_hide_the_lane(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION as_owner() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$"
            " INSERT INTO leo_log_entry (kind, principal, role, subject, xid, body, salt, leaf, leaf_hash)"
            " VALUES ('decision.recorded', 0, 'LEAD', '', 0, '{}', decode(repeat('00', 16), 'hex'), '', '') $$"
        )
        cursor.execute("GRANT EXECUTE ON FUNCTION as_owner() TO leo_plan, leo_lead")
    with acting_in("lead"), connection.cursor() as cursor:
        cursor.execute("SELECT as_owner()")
    with (
        pytest.raises(ProgrammingError, match=r"lane\.kind"),
        transaction.atomic(),
        acting_in("plan"),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT as_owner()")


@pytest.mark.threat("DB-01")
def test_an_act_of_another_lane_leaves_nothing(db):
    lead = Actor(1, "lena", Role.LEAD)
    with pytest.raises(ProgrammingError, match=r"lane\.kind"), transaction.atomic(), acting_in("plan"):
        append_event("decision.recorded", lead, "", {})
    with pytest.raises(ProgrammingError, match=r"lane\.role"), transaction.atomic(), acting_in("plan"):
        append_event("verdict.recorded", lead, "", {})


@pytest.mark.threat("DB-01")
@pytest.mark.parametrize(("model", "states"), [(Handoff, Status), (PullRequest, PullStatus)])
def test_a_lane_makes_its_own_moves_and_no_other(scene: Scene, model, states):
    row, table, found = model.objects.get(pk=_row(scene, model)), model._meta.db_table, set()
    for lane, old, new in itertools.product(LANES, states, states):
        with contextlib.suppress(ProgrammingError, UndoError), transaction.atomic():
            if model is PullRequest:
                model.objects.filter(pk=row.pk).update(merge_sha="a" * 40)
            model.objects.filter(pk=row.pk).update(status=old)
            with acting_in(lane):
                model.objects.filter(pk=row.pk).update(status=new)
            found.add((table, MATRIX.roles[lane].name, f"{old}>{new}"))
            raise UndoError
    columns = {
        grant.role for grant in MATRIX.tables[table].grants if (grant.privilege, grant.column) == ("UPDATE", "status")
    }
    stays = {(table, name, f"{state}>{state}") for name in columns for state in states}
    assert found == stays | {move for move in MATRIX.moves if move[0] == table}


def _row(scene: Scene, model) -> int:
    pull = scene.passing()
    return pull.pk if model is PullRequest else pull.handoff_id


@pytest.mark.threat("SOD-12")
def test_an_administrator_decides_only_as_the_second_who_breaks_the_glass(as_role):
    for second, reason in (("NULL", "break-glass"), ("1", "emergency")):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            as_role("admin").execute(
                "INSERT INTO pr_approval_audit (decision, is_override, reason_class, justification_id, reference, head_sha,"
                " merge_tree, round, run, lead_id, created_at, log_entry_id, pull_request_id, assurance, principals,"
                f" countersigned_by_id) VALUES ('approve', true, '{reason}', 1, '', '', '', 1, 1, 1, now(), 1, 1, '', '[]',"
                f" {second})"
            )


@pytest.mark.threat("DB-02")
def test_lead_sees_the_gates_of_what_plan_is_done_with(scene: Scene):
    watched, escalated = scene.passing(), scene.escalated()
    everything = set(GateExecution.objects.values_list("pull_request_id", flat=True))
    assert everything == {watched.pk, escalated.pk}
    with acting_in("lead"):
        assert set(GateExecution.objects.values_list("pull_request_id", flat=True)) == {escalated.pk}
    with acting_in("plan"):
        assert set(GateExecution.objects.values_list("pull_request_id", flat=True)) == everything


@pytest.mark.threat("DB-02")
def test_a_grant_by_accident_opens_no_row(scene: Scene):
    scene.passing()
    with connection.cursor() as cursor:
        cursor.execute("GRANT SELECT ON leo_gate_executions TO leo_enforcer")
    with acting_in("enforcer"):
        assert GateExecution.objects.count() == 0
