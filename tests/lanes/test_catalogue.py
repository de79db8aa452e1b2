"""The database's catalogue holds what the matrix says and nothing beside it; each tampering is found and mended."""

from __future__ import annotations

import os
from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, connection
from django.db.migrations import RunSQL
from django.db.migrations.loader import MigrationLoader
from typer.testing import CliRunner

from audit import events
from audit.sequencing import governed_columns
from handoffs.models import PULL_TRANSITIONS, TRANSITIONS
from leoportal.cli_db import OTHERS as OTHERS_NAMED
from leoportal.cli_db import OWNER, db_app
from leoportal.lanes.agreeing import find_differences, make_grants
from leoportal.lanes.differences import RULES, found_rules, read_rules
from leoportal.lanes.matrix import read_matrix
from leoportal.stack.postgres import TESTER

OTHERS = frozenset({TESTER})


def differences():
    connection.ensure_connection()
    return [difference.what for difference in find_differences(connection.connection, others=OTHERS)]


def rows(query: str):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.mark.threat("DB-02")
def test_the_database_is_as_the_matrix_says(db):
    assert differences() == []


@pytest.mark.threat("DB-02")
@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("GRANT UPDATE ON leo_verification_results TO leo_plan", "too much: UPDATE on leo_verification_results"),
        ("GRANT SELECT (leaf) ON leo_log_entry TO leo_enforcer", "too much: SELECT on leo_log_entry(leaf)"),
        ("GRANT SELECT ON auth_user TO PUBLIC", "too much: SELECT on auth_user to PUBLIC"),
        ("GRANT CREATE ON SCHEMA public TO leo_plan", "too much: CREATE on SCHEMA"),
        ("GRANT EXECUTE ON FUNCTION leo_may_update_ref(text, text, text, text) TO PUBLIC", "too much: EXECUTE"),
        ("REVOKE SELECT ON leo_bundle_check FROM leo_auditor", "missing: SELECT on leo_bundle_check to leo_auditor"),
        ("ALTER TABLE leo_verification_results NO FORCE ROW LEVEL SECURITY", "leo_verification_results: rows are"),
        ("ALTER TABLE pr_approval_audit DISABLE ROW LEVEL SECURITY", "pr_approval_audit: rows are"),
        ("DROP POLICY rows_of_leo_lead ON leo_gate_executions", "leo_gate_executions: no policy rows_of_leo_lead"),
        ("CREATE POLICY more ON leo_log_entry FOR DELETE TO PUBLIC USING (true)", "leo_log_entry: another policy more"),
        ("ALTER TABLE leo_log_entry DISABLE TRIGGER lane_may_log", "leo_log_entry: no trigger lane_may_log"),
        ("ALTER TABLE leo_log_entry ENABLE TRIGGER lane_may_log", "leo_log_entry: no trigger lane_may_log"),
        ("DROP TRIGGER lane_may_move ON handoffs_pullrequest", "handoffs_pullrequest: no trigger lane_may_move"),
        (
            "CREATE OR REPLACE FUNCTION leo_lane_may_log_leo_log_entry() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RETURN NEW; END $$",
            "leo_lane_may_log_leo_log_entry() is not as expected",
        ),
    ],
)
def test_each_tampering_is_found_and_mended(db, tampering: str, said: str):
    with connection.cursor() as cursor:
        cursor.execute(tampering)
    assert [what for what in differences() if what.startswith(said)]
    make_grants(connection.connection, others=OTHERS)
    assert differences() == []


@pytest.mark.threat("AUD-06")
@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("CREATE TABLE forgotten (id int)", "forgotten is in the database and not in the matrix"),
        ("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows", "trigger leo_log_entry append_only_rows is not"),
        (
            "ALTER TABLE leo_log_entry ENABLE TRIGGER append_only_table",
            "trigger leo_log_entry append_only_table is not",
        ),
        ("DROP TRIGGER write_entry ON leo_log_entry", "trigger leo_log_entry write_entry is missing"),
        (
            "CREATE OR REPLACE FUNCTION leo_refuse_change() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RETURN NEW; END $$",
            "function leo_refuse_change() is not as expected",
        ),
        ("ALTER FUNCTION leo_log_covers(bigint) RESET search_path", "function leo_log_covers(bigint) is not"),
        (
            "ALTER TABLE audit_rolegrant DROP CONSTRAINT rolegrant_one_at_a_time",
            "constraint audit_rolegrant rolegrant_one_at_a_time is missing",
        ),
        ("DROP INDEX signingkey_one_active", "index signingkey_one_active is missing"),
        (
            "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            "CREATE TRIGGER quiet BEFORE INSERT ON leo_log_entry FOR EACH ROW EXECUTE FUNCTION drop_row()",
            "trigger leo_log_entry quiet is not expected",
        ),
    ],
)
def test_what_a_person_has_to_decide_is_said(db, tampering: str, said: str):
    with connection.cursor() as cursor:
        cursor.execute(tampering)
    assert [what for what in differences() if what.startswith(said)]


@pytest.mark.threat("AUD-06")
def test_the_rules_of_the_database_are_those_that_were_reviewed(db):
    """`make rules` writes the file after a migration; what it changes there is for the review."""
    connection.ensure_connection()
    found = found_rules(connection.connection, read_matrix())
    if os.environ.get("LEO_WRITE_RULES"):
        RULES.write_text("".join(f"{name} = {text}\n" for name, text in sorted(found.items())), "utf-8")
        read_rules.cache_clear()
    assert found == read_rules()


def test_a_database_of_migrations_that_are_gone_is_refused(db):
    refuse = MigrationLoader(None).get_migration("audit", "0002_log_guards").operations[0]
    assert isinstance(refuse, RunSQL)
    with connection.cursor() as cursor:
        cursor.execute(str(refuse.sql))
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('audit', '0002_append_only', now())")
        with pytest.raises(DatabaseError, match=r"^schema\.older: .*begin anew \(make reset\)"):
            cursor.execute(str(refuse.sql))


def test_a_server_that_may_lose_what_it_acknowledged_is_told(db, address: Callable[[str], str]):
    """The tests' own may; `make demo`'s may not (tests/leoportal/test_stack.py)."""
    with psycopg.connect(address("migrate"), autocommit=True) as owner:
        owner.execute("ALTER ROLE leoportal_owner SET synchronous_commit = off")
        try:
            given = {OWNER: address("migrate"), OTHERS_NAMED: TESTER}
            done = CliRunner().invoke(db_app, ["lanes", "--check"], env=given)
        finally:
            owner.execute("ALTER ROLE leoportal_owner RESET synchronous_commit")
    why = "expected on: a crash could take back what was acknowledged. Next:"
    server = "set it to on in the server's command line, reload, and run this again"
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        f"differs: database.not_durable: got fsync = off, {why} {server}",
        f"differs: database.not_durable: got full_page_writes = off, {why} {server}",
        f"differs: database.not_durable: got synchronous_commit = off, {why} "
        "ALTER ROLE leoportal_owner RESET synchronous_commit, reload, and run this again",
        f"differs: database.not_durable: got synchronous_commit = off, {why} {server}",
        "4 differences are left",
    ]


def test_making_the_grants_again_changes_nothing(db):
    connection.ensure_connection()
    assert make_grants(connection.connection, others=OTHERS) == []


@pytest.mark.threat("DB-02")
@pytest.mark.threat("AUD-09")
def test_nothing_in_the_catalogue_goes_round_the_lanes(db):
    ours = tuple(read_matrix().names)
    assert rows("SELECT rolname FROM pg_roles WHERE (rolsuper OR rolbypassrls) AND rolname <> 'postgres'") == []
    assert rows(f"SELECT rolname FROM pg_roles WHERE rolname IN {ours} AND rolcreaterole") == []
    assert rows(f"SELECT rolname FROM pg_roles WHERE rolname IN {ours} AND rolinherit") == [("leoportal_owner",)]
    assert rows("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = 'leoportal_owner'") == []
    definers = rows(
        "SELECT proname, proconfig::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    assert definers
    assert [name for name, config in definers if "search_path=pg_catalog, public, pg_temp" not in (config or "")] == []
    assert rows("SELECT conname FROM pg_constraint WHERE contype = 'f' AND confdeltype NOT IN ('a', 'r')") == []
    views = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')"
    assert rows(f"{views} AND NOT coalesce(reloptions::text LIKE '%security_invoker=true%', false)") == []
    members = rows("SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members")
    lanes = {"leo_builder", "leo_enforcer", "leo_verifier", "leo_reporter", "leo_plan", "leo_lead", "leo_auditor"}
    assert [pair for pair in members if pair[0] in lanes] == []


def test_every_kind_of_entry_belongs_to_a_lane():
    kinds = {
        value for name, value in vars(events).items() if name.isupper() and isinstance(value, str) and "." in value
    }
    assert len(kinds) > 40
    assert {kind for _, kind in read_matrix().kinds} == kinds


@pytest.mark.parametrize(
    ("table", "transitions"), [("handoffs_handoff", TRANSITIONS), ("handoffs_pullrequest", PULL_TRANSITIONS)]
)
def test_every_move_of_the_code_belongs_to_a_lane_and_no_other_exists(table: str, transitions):
    moves = {f"{old}>{new}" for old, news in transitions.items() for new in news}
    assert {move for of, _, move in read_matrix().moves if of == table} == moves


@pytest.mark.parametrize("lane", ["sequencer", "verifier"])
def test_whoever_looks_for_lost_entries_may_read_every_column_that_names_one(lane: str):
    """The sequencer each second, the verifier's worker each night; one column it may not read would end either."""
    matrix = read_matrix()
    name = matrix.roles[lane].name
    seen = {
        table: {grant.column for grant in row.grants if (grant.role, grant.privilege) == (name, "SELECT")}
        for table, row in matrix.tables.items()
    }
    for model, column in governed_columns():
        assert "" in seen[model._meta.db_table] or {"id", f"{column}_id"} <= seen[model._meta.db_table]
