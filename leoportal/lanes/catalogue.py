"""What a database really grants: its catalogue, read into the same values as the matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from leoportal.lanes.matrix import Grant

type Connection = psycopg.Connection[tuple[Any, ...]]

TABLES = """
SELECT relname, relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
"""
TABLE_GRANTS = """
SELECT coalesce(r.rolname, 'PUBLIC'), a.privilege_type, c.relname, '' FROM pg_class c
CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
UNION ALL
SELECT coalesce(r.rolname, 'PUBLIC'), a.privilege_type, c.relname, t.attname FROM pg_class c
JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped
CROSS JOIN aclexplode(t.attacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
"""
FUNCTION_GRANTS = """
SELECT coalesce(r.rolname, 'PUBLIC'), a.privilege_type, f.signature, '' FROM (
    SELECT proowner, coalesce(proacl, acldefault('f', proowner)) AS acl, format('%s(%s)', proname,
        (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n) FROM unnest(proargtypes) WITH ORDINALITY u(t, n))
    ) AS signature FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
) f CROSS JOIN aclexplode(f.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> f.proowner
"""
PLACE_GRANTS = """
SELECT coalesce(r.rolname, 'PUBLIC'), a.privilege_type, 'SCHEMA', '' FROM pg_namespace n
CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = 'public' AND a.grantee <> n.nspowner
UNION ALL
SELECT coalesce(r.rolname, 'PUBLIC'), a.privilege_type, 'DATABASE', '' FROM pg_database d
CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = current_database() AND a.grantee <> d.datdba
"""
POLICIES = """
SELECT c.relname, p.polname, p.polcmd::text,
       ARRAY(SELECT coalesce(rolname, 'PUBLIC') FROM unnest(p.polroles) o LEFT JOIN pg_roles r ON r.oid = o ORDER BY 1),
       regexp_replace(coalesce(pg_get_expr(p.polqual, p.polrelid), ''), '\\s+', ' ', 'g'),
       regexp_replace(coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''), '\\s+', ' ', 'g'), p.polpermissive
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'public'::regnamespace
"""
ROLES = """
SELECT rolname, rolcanlogin, rolconnlimit, rolsuper OR rolcreaterole, rolreplication OR rolbypassrls,
       rolinherit, rolcreatedb, coalesce((SELECT split_part(s, '=', 2) FROM pg_db_role_setting d, unnest(d.setconfig) s
                              WHERE d.setrole = pg_roles.oid AND d.setdatabase = 0 AND s LIKE 'role=%'), '')
FROM pg_roles
"""
MEMBERS = """
SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members
"""
TRIGGERS = """
SELECT c.relname, t.tgname, t.tgenabled::text, pg_get_triggerdef(t.oid) FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace
"""
RULES = (
    """
SELECT format('trigger %s %s', c.relname, t.tgname), format('%s %s', t.tgenabled, pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace
""",
    """
SELECT format('constraint %s %s', c.relname, o.conname),
       format('%s%s', pg_get_constraintdef(o.oid), CASE WHEN o.convalidated THEN '' ELSE ' NOT VALID' END)
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
WHERE c.relnamespace = 'public'::regnamespace AND o.contype IN ('c', 'f', 'p', 'u', 'x')
""",
    """
SELECT format('index %s', c.relname),
       format('%s%s', pg_get_indexdef(c.oid), CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = c.oid)
""",
    """
SELECT format('function %s(%s)', p.proname,
           (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n)
            FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n))),
       format('%s %s %s %s', l.lanname, CASE WHEN p.prosecdef THEN 'definer' ELSE 'invoker' END,
           coalesce(array_to_string(p.proconfig, ' '), '-'),
           encode(sha256(convert_to(p.prosrc || coalesce(pg_get_function_sqlbody(p.oid), ''), 'UTF8')), 'hex'))
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
""",
)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class FoundTable:
    """One table or view: whether its rows are guarded, for its owner too, and who owns it."""

    is_guarded: bool
    is_forced: bool
    owner: str


@dataclass(frozen=True)
class Policy:
    """One row-level policy. Shape: command is a, r, w, d or *; roles are sorted."""

    table: str
    name: str
    command: str
    roles: tuple[str, ...]
    using: str
    check: str
    is_permissive: bool = True


@dataclass(frozen=True)
class FoundRole:
    """One role as it is. `acts_as` is the role it takes on when it signs in."""

    is_login: bool
    limit: int
    is_administrator: bool
    has_more: bool
    does_inherit: bool
    may_create_databases: bool
    acts_as: str


def read_tables(connection: Connection) -> dict[str, FoundTable]:
    """Every table and view of the schema that belongs to no extension."""
    return {name: FoundTable(*rest) for name, *rest in connection.execute(TABLES)}


def read_grants(connection: Connection) -> set[Grant]:
    """Every privilege anybody but the owner holds: tables, columns, functions, the schema, the database."""
    found: set[Grant] = set()
    for query in (TABLE_GRANTS, FUNCTION_GRANTS, PLACE_GRANTS):
        found |= {Grant(*row) for row in connection.execute(query)}
    return found


def read_policies(connection: Connection) -> set[Policy]:
    """Every row-level policy of the schema."""
    return {
        Policy(table, name, command, tuple(roles), using, check, is_permissive=is_permissive)
        for table, name, command, roles, using, check, is_permissive in connection.execute(POLICIES)
    }


def read_roles(connection: Connection) -> dict[str, FoundRole]:
    """Every role of the cluster."""
    return {name: FoundRole(*rest) for name, *rest in connection.execute(ROLES)}


def read_members(connection: Connection) -> set[tuple[str, str]]:
    """Who is a member of what: (member, group)."""
    return {(member, group) for member, group in connection.execute(MEMBERS)}


def read_triggers(connection: Connection) -> Mapping[tuple[str, str], tuple[str, str]]:
    """Every trigger: (table, name) to (enabled, definition)."""
    return {(table, name): (enabled, text) for table, name, enabled, text in connection.execute(TRIGGERS)}


def read_function(connection: Connection, name: str) -> str:
    """The body of one function of the schema, empty if there is none."""
    row = connection.execute(
        "SELECT prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = %s", [name]
    ).fetchone()
    return str(row[0]) if row else ""


def read_rules(connection: Connection) -> dict[str, str]:
    """Every trigger, constraint, unique index and function of the schema by its name, with what it says.

    Shape: "trigger TABLE NAME", "constraint TABLE NAME", "index NAME", "function NAME(TYPES)". Of a function the
    SHA-256 of its body, with its language, its settings and whose rights it runs with.
    """
    return {name: _SPACES.sub(" ", text) for query in RULES for name, text in connection.execute(query)}
