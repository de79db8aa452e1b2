"""Every role, every table, every column, every privilege: the matrix, the catalogue and real statements agree."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from audit.sequencing import governed_columns
from leoportal.lanes.matrix import Grant, Role, read_matrix

MATRIX = read_matrix()
ROLES = [role for key, role in MATRIX.roles.items() if key not in {"owner", "migrate"}]
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
type Cells = set[tuple[str, str, str]]


def columns() -> dict[str, list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, array_agg(attname::text ORDER BY attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped GROUP BY 1"
        )
        return dict(cursor.fetchall())


def expected(role: Role) -> Cells:
    """What the matrix gives, spelt out: (table, column, privilege), the whole table as all of its columns."""
    shape = columns()
    acting = MATRIX.roles[role.acts_as].name if role.acts_as else role.name
    cells: Cells = set()
    for table in MATRIX.tables.values():
        for grant in table.grants:
            if grant.role == acting:
                names = [grant.column] if grant.column else shape[table.name]
                cells |= {(table.name, name, grant.privilege) for name in names if grant.privilege != "DELETE"}
                cells |= {(table.name, "", "DELETE")} if grant.privilege == "DELETE" else set()
    return cells


def by_catalogue(role: Role) -> Cells:
    name = MATRIX.roles[role.acts_as].name if role.acts_as else role.name
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, attname::text, p FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid,"
            " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p WHERE relnamespace = 'public'::regnamespace"
            " AND relkind = 'r' AND attnum > 0 AND NOT attisdropped AND has_column_privilege(%s, c.oid, attnum, p)"
            " UNION ALL SELECT relname, '', p FROM pg_class c, unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) p"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege(%s, c.oid, p)",
            [name, name],
        )
        return set(cursor.fetchall())


def attempts(shape: dict[str, list[str]]) -> Iterator[tuple[tuple[str, str, str], sql.Composed]]:
    """One harmless statement for each cell; none reaches a row."""
    for table, names in shape.items():
        of = sql.Identifier(table)
        for name in names:
            column = sql.Identifier(name)
            yield (table, name, "SELECT"), sql.SQL("SELECT {} FROM {} LIMIT 0").format(column, of)
            yield (table, name, "INSERT"), sql.SQL("INSERT INTO {} ({}) SELECT NULL WHERE false").format(of, column)
            yield (table, name, "UPDATE"), sql.SQL("UPDATE {} SET {} = DEFAULT WHERE false").format(of, column)
        yield (table, "", "DELETE"), sql.SQL("DELETE FROM {} WHERE false").format(of)
        yield (table, "", "TRUNCATE"), sql.SQL("TRUNCATE {}").format(of)
        yield (table, "", "REFERENCES"), sql.SQL("CREATE TABLE public.mine (id bigint REFERENCES {})").format(of)
        yield (
            (table, "", "TRIGGER"),
            sql.SQL("CREATE TRIGGER mine BEFORE INSERT ON {} EXECUTE FUNCTION leo_refuse_change()").format(of),
        )


@pytest.mark.threat("DB-01")
@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.key)
def test_every_cell_is_as_the_matrix_says_by_catalogue_and_by_trying(as_role, role: Role):
    assert by_catalogue(role) == expected(role)
    shape, found = columns(), set()
    session = as_role(role.key)
    for cell, statement in attempts(shape):
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            session.execute(statement)
            found.add(cell)
    assert found == expected(role)


@pytest.mark.threat("DB-01")
def test_no_lane_deletes_or_truncates_anything_governed():
    guarded = {
        (grant.role, table.name)
        for table in MATRIX.tables.values()
        for grant in table.grants
        if table.is_governed and grant.privilege not in {"SELECT", "INSERT", "UPDATE"}
    }
    assert guarded == set()


@pytest.mark.threat("SOD-10")
@pytest.mark.parametrize(
    "table", ["leo_gate_executions", "leo_agent_report", "leo_verification_results", "pr_approval_audit"]
)
def test_the_enforcer_neither_sees_gates_nor_touches_verdicts(as_role, table: str):
    for statement in ("SELECT 1 FROM {}", "INSERT INTO {} DEFAULT VALUES", "UPDATE {} SET id = 1", "DELETE FROM {}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role("enforcer").execute(sql.SQL(statement).format(sql.Identifier(table)))


@pytest.mark.threat("GATE-02")
@pytest.mark.parametrize("table", ["leo_verdict_statement", "leo_decision_statement", "leo_policy_statement"])
def test_the_enforcer_signs_no_verdict(as_role, table: str):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_role("enforcer").execute(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(sql.Identifier(table)))


@pytest.mark.threat("DB-01")
def test_the_builder_only_reads():
    mine = {grant for table in MATRIX.tables.values() for grant in table.grants if grant.role == "leo_builder"}
    assert {grant.privilege for grant in mine} == {"SELECT"}
    assert {grant.target for grant in mine} == {
        "handoffs_handoff",
        "handoffs_repository",
        "leo_bundle_check",
        "leo_policy_version",
        *("leo_log_head", "leo_log_epoch", "leo_log_alarm"),
    }


def test_the_sequencer_sees_every_row_that_needs_an_entry(as_role):
    sequencer = as_role("sequencer")
    for model, column in governed_columns():
        names = sql.Identifier(f"{column}_id"), sql.Identifier(model._meta.db_table)
        sequencer.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(*names))


def test_no_lane_makes_anything_in_the_database(as_role):
    for role in ROLES:
        for statement in ("CREATE TABLE public.mine (id int)", "CREATE TEMP TABLE mine (id int)", "CREATE SCHEMA mine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                as_role(role.key).execute(statement)


def test_a_grant_says_what_it_is():
    assert str(Grant("leo_plan", "UPDATE", "x", "y")) == "UPDATE on x(y) to leo_plan"


def test_the_hook_calls_one_function_and_reports_one_refusal(as_role, address: Callable[[str], str]):
    assert as_role("hook").execute("SELECT code FROM leo_may_update_ref('', '', '', '')").fetchone() == (
        "repository.unknown",
    )
    for role in ROLES:
        if role.key != "hook":
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                as_role(role.key).execute("SELECT leo_may_update_ref('', '', '', '')")
