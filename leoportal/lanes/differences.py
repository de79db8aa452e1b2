"""What a database does not do as the matrix says, each with the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from psycopg import sql

from leoportal.lanes import catalogue, guards
from leoportal.lanes.catalogue import Connection
from leoportal.lanes.matrix import Grant, Matrix, Role

RULES: Final = Path(__file__).with_name("rules.txt")
MORE: Final = "; a migration of this release makes it, or made it otherwise"


@dataclass(frozen=True)
class Difference:
    """One difference. `mend` is empty where a person has to decide."""

    what: str
    mend: sql.Composed | None


def of_roles(connection: Connection, matrix: Matrix, *, others: frozenset[str] = frozenset()) -> Iterator[Difference]:
    """Roles, their powers and memberships. `others` are roles that may be members besides the matrix's own."""
    found = catalogue.read_roles(connection)
    for role in matrix.roles.values():
        yield from _of_role(role, found.get(role.name), matrix)
    members = catalogue.read_members(connection)
    wanted = {(role.name, matrix.roles[key].name) for role in matrix.roles.values() for key in role.member_of}
    for member, group in sorted(wanted - members):
        yield Difference(f"{member} is no member of {group}", _to("GRANT {} TO {}", group, member))
    for role in matrix.roles.values():
        acts_as = matrix.roles[role.acts_as].name if role.acts_as else ""
        now = found[role.name].acts_as if role.name in found else ""
        if now != acts_as:
            mend = (
                _to("ALTER ROLE {} SET role = {}", role.name, acts_as)
                if acts_as
                else _to("ALTER ROLE {} RESET role", role.name)
            )
            yield Difference(f"{role.name} acts as {now or 'itself'}, expected {acts_as or 'itself'}", mend)
    for member, group in sorted(members - wanted):
        if {member, group} & matrix.names and member not in others and not _is_admin(member, found):
            yield Difference(f"{member} is a member of {group}", _to("REVOKE {} FROM {}", group, member))


def _is_admin(name: str, found: dict[str, catalogue.FoundRole]) -> bool:
    """PostgreSQL 16 makes whoever creates a role its administrator; that one could do it anyway."""
    return name in found and found[name].is_administrator


def _of_role(role: Role, found: catalogue.FoundRole | None, matrix: Matrix) -> Iterator[Difference]:
    # Until PostgreSQL 15 the owner of a database may create in its schema only if it inherits from pg_database_owner.
    inherits = role.name == matrix.owner
    attributes = sql.SQL(
        "{} {} NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS NOCREATEDB CONNECTION LIMIT {}"
    ).format(
        sql.SQL("LOGIN" if role.is_login else "NOLOGIN"),
        sql.SQL("INHERIT" if inherits else "NOINHERIT"),
        sql.Literal(role.limit),
    )
    if found is None:
        yield Difference(f"{role.name} is missing ({role.what})", _to("CREATE ROLE {} ", role.name) + attributes)
        return
    wrong = [
        *(["it signs in" if found.is_login else "it cannot sign in"] if found.is_login != role.is_login else []),
        *([f"its connection limit is {found.limit}"] if found.limit != role.limit else []),
        *(["it is an administrator"] if found.is_administrator else []),
        *(["it replicates or passes row security by"] if found.has_more else []),
        *(["it inherits" if found.does_inherit else "it does not inherit"] if found.does_inherit != inherits else []),
        # The owner of a development cluster makes the tests' databases.
        *(["it may create databases"] if found.may_create_databases and role.name != matrix.owner else []),
    ]
    if wrong:
        yield Difference(f"{role.name}: {', '.join(wrong)}", _to("ALTER ROLE {} ", role.name) + attributes)


def of_grants(connection: Connection, matrix: Matrix, *, others: frozenset[str] = frozenset()) -> Iterator[Difference]:
    """Privileges on tables, columns, functions, the schema and the database; and tables nobody decided on."""
    tables = catalogue.read_tables(connection)
    for name in sorted(set(tables) - set(matrix.tables)):
        yield Difference(f"{name} is in the database and not in the matrix; give it a line in matrix.toml", None)
    for name in sorted(set(matrix.tables) - set(tables)):
        yield Difference(f"{name} is in the matrix and not in the database; migrate first", None)
    for name, table in sorted(tables.items()):
        if table.owner != matrix.owner:
            yield Difference(f"{name} belongs to {table.owner}, expected {matrix.owner}", None)
    found, wanted = catalogue.read_grants(connection), expected_grants(matrix)
    for grant in sorted(found - wanted):
        if grant.role not in others:
            yield Difference(f"too much: {grant}", _grant("REVOKE", grant, connection.info.dbname))
    for grant in sorted(wanted - found):
        if grant.target in tables or grant.target not in matrix.tables:
            yield Difference(f"missing: {grant}", _grant("GRANT", grant, connection.info.dbname))


def expected_grants(matrix: Matrix) -> set[Grant]:
    """Every privilege the matrix gives, the schema's and the database's included."""
    found = {grant for table in matrix.tables.values() for grant in table.grants}
    found |= {Grant(role, "EXECUTE", name) for name, roles in matrix.functions.items() for role in roles}
    found |= {Grant(role.name, "CONNECT", "DATABASE") for role in matrix.logins}
    return found | {Grant(role.name, "USAGE", "SCHEMA") for role in matrix.roles.values() if role.name != matrix.owner}


def of_guards(connection: Connection, matrix: Matrix) -> Iterator[Difference]:
    """Row-level security and its policies, and the triggers that know the lanes."""
    tables = catalogue.read_tables(connection)
    for name, table in sorted(matrix.tables.items()):
        if name not in tables or (tables[name].is_guarded, tables[name].is_forced) == (table.is_governed,) * 2:
            continue
        words = ("ENABLE", "FORCE") if table.is_governed else ("DISABLE", "NO FORCE")
        mend = [_to(f"ALTER TABLE {{}} {word} ROW LEVEL SECURITY", name) for word in words]
        yield Difference(f"{name}: rows are {'not ' * table.is_governed}guarded", sql.SQL(";").join(mend))
    found = {policy for policy in catalogue.read_policies(connection) if policy.table in matrix.tables}
    wanted = {policy for policy in guards.policies(matrix) if policy.table in tables}
    for policy in sorted(found - wanted, key=repr):
        yield Difference(
            f"{policy.table}: another policy {policy.name}", _to("DROP POLICY {} ON {}", policy.name, policy.table)
        )
    for policy in sorted(wanted - found, key=repr):
        yield Difference(f"{policy.table}: no policy {policy.name} as expected", guards.create_policy(policy))
    triggers = catalogue.read_triggers(connection)
    for guard in (guard for guard in guards.triggers(matrix) if guard.table in tables):
        if catalogue.read_function(connection, guard.function) != guard.body:
            yield Difference(f"{guard.function}() is not as expected", guard.create_function())
        if triggers.get((guard.table, guard.name)) != ("A", guard.definition()):
            yield Difference(f"{guard.table}: no trigger {guard.name} as expected", guard.create_trigger())


def of_rules(connection: Connection, matrix: Matrix) -> Iterator[Difference]:
    """Triggers, constraints, unique indexes and functions beside those that were reviewed with this release.

    What the matrix makes is looked at by `of_guards`. Not checked: columns and indexes that guard nothing.
    """
    found, wanted = found_rules(connection, matrix), read_rules()
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            is_there = "missing" if name not in found else "not expected" if name not in wanted else "not as expected"
            yield Difference(f"{name} is {is_there}{MORE}", None)


def found_rules(connection: Connection, matrix: Matrix) -> dict[str, str]:
    """The rules of the database that its migrations made."""
    made = {name for guard in guards.triggers(matrix) for name in guard.rules}
    return {name: text for name, text in catalogue.read_rules(connection).items() if name not in made}


@cache
def read_rules() -> dict[str, str]:
    """The reviewed rules: one in each line of `rules.txt`, a name, ` = `, and what it says."""
    return dict(line.split(" = ", 1) for line in RULES.read_text("utf-8").splitlines())


def _grant(verb: str, grant: Grant, database: str) -> sql.Composed:
    who = sql.SQL("PUBLIC") if grant.role == "PUBLIC" else sql.Identifier(grant.role)
    column = sql.SQL(" ({})").format(sql.Identifier(grant.column)) if grant.column else sql.SQL("")
    if grant.privilege == "EXECUTE":
        name, _, arguments = grant.target.partition("(")
        on: sql.Composable = sql.SQL("FUNCTION {}({}").format(sql.Identifier(name), sql.SQL(arguments))
    elif grant.target == "SCHEMA":
        on = sql.SQL("SCHEMA public")
    elif grant.target == "DATABASE":
        on = sql.SQL("DATABASE {}").format(sql.Identifier(database))
    else:
        on = sql.SQL("TABLE {}").format(sql.Identifier(grant.target))
    return sql.SQL("{} {}{} ON {} {} {}").format(
        sql.SQL(verb), sql.SQL(grant.privilege), column, on, sql.SQL("TO" if verb == "GRANT" else "FROM"), who
    )


def _to(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*(sql.Identifier(name) for name in names))
