"""Row-level policies and lane triggers that follow from the matrix, as values and as statements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from audit.events import Role
from leoportal.lanes.catalogue import Policy
from leoportal.lanes.matrix import Matrix

COMMANDS: Final = {
    "SELECT": ("r", "true", ""),
    "INSERT": ("a", "", "true"),
    "UPDATE": ("w", "true", "true"),
    "DELETE": ("d", "true", ""),
}
_WORDS: Final = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
# Who acts: SET ROLE is seen through functions that run as their owner, too; only their own name hides it. Every name in
# the triggers says its schema, so that no search_path of a session says what it means.
_LANE: Final = (
    "CASE WHEN pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none' THEN session_user::pg_catalog.text "
    "ELSE pg_catalog.current_setting('role') END"
)


def policies(matrix: Matrix) -> Iterator[Policy]:
    """A row is there for who holds the privilege, and for the owner; some lanes see fewer rows."""
    for table in matrix.tables.values():
        if not table.is_governed:
            continue
        yield Policy(table.name, "owner", "*", (matrix.owner,), "true", "true")
        for privilege, (command, using, check) in COMMANDS.items():
            if roles := table.roles_with(privilege):
                yield Policy(table.name, f"may_{privilege.lower()}", command, roles, using, check)
    for (table_name, role), condition in matrix.rows.items():
        yield Policy(table_name, f"rows_of_{role}", "r", (role,), condition, "", is_permissive=False)
    for (table_name, role), condition in matrix.inserts.items():
        yield Policy(table_name, f"inserts_of_{role}", "a", (role,), "", condition, is_permissive=False)


def create_policy(policy: Policy) -> sql.Composed:
    """The statement that makes a policy; its conditions come from the matrix."""
    parts = [
        sql.SQL("CREATE POLICY {} ON {} AS {} FOR {} TO {}").format(
            sql.Identifier(policy.name),
            sql.Identifier(policy.table),
            sql.SQL("PERMISSIVE" if policy.is_permissive else "RESTRICTIVE"),
            sql.SQL(_WORDS[policy.command]),
            sql.SQL(", ").join(sql.Identifier(role) for role in policy.roles),
        )
    ]
    if policy.using:
        parts.append(sql.SQL("USING ({})").format(sql.SQL(policy.using)))
    if policy.check:
        parts.append(sql.SQL("WITH CHECK ({})").format(sql.SQL(policy.check)))
    return sql.SQL(" ").join(parts)


@dataclass(frozen=True)
class Guard:
    """A trigger that asks which lane acts."""

    table: str
    name: str
    when: str
    body: str

    @property
    def function(self) -> str:
        """The trigger's function: one for each trigger, its table in its name."""
        return f"leo_{self.name}_{self.table}"

    @property
    def rules(self) -> tuple[str, str]:
        """What `catalogue.read_rules` calls the trigger and its function."""
        return f"trigger {self.table} {self.name}", f"function {self.function}()"

    def definition(self) -> str:
        """The trigger as PostgreSQL prints it."""
        return (
            f"CREATE TRIGGER {self.name} BEFORE {self.when} ON public.{self.table} "
            f"FOR EACH ROW EXECUTE FUNCTION {self.function}()"
        )

    def create_function(self) -> sql.Composed:
        """The statement that makes or replaces the function. STABLE: it writes nothing, and needs no snapshots."""
        return sql.SQL("CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql STABLE AS {}").format(
            sql.Identifier(self.function), sql.Literal(self.body)
        )

    def create_trigger(self) -> sql.Composed:
        """The statements that make the trigger and keep replica mode from silencing it."""
        return sql.SQL(
            "DROP TRIGGER IF EXISTS {name} ON {table}; {create}; ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
        ).format(name=sql.Identifier(self.name), table=sql.Identifier(self.table), create=sql.SQL(self.definition()))


def triggers(matrix: Matrix) -> Iterator[Guard]:
    """Who may append what to the log, and who may move which row from one status to another."""
    pairs = sorted(f"{role} {kind}" for role, kind in matrix.kinds)
    yield Guard(
        "leo_log_entry",
        "lane_may_log",
        "INSERT",
        f"""
BEGIN
    IF NOT {_keys(_loggable(matrix))} OPERATOR(pg_catalog.?)
        pg_catalog.concat_ws(' ', {_LANE}, NEW.kind, NEW.role) THEN
        DECLARE
            lane pg_catalog.text := {_LANE};
        BEGIN
            IF lane OPERATOR(pg_catalog.=) {_quote(matrix.owner)} THEN
                RETURN NEW;
            END IF;
            IF NOT {_keys(pairs)} OPERATOR(pg_catalog.?) pg_catalog.concat_ws(' ', lane, NEW.kind) THEN
                RAISE EXCEPTION 'lane.kind: % appends no entry of kind %', lane, NEW.kind
                    USING ERRCODE = 'insufficient_privilege', HINT = 'Next: [kinds] in leoportal/lanes/matrix.toml';
            END IF;
            RAISE EXCEPTION 'lane.role: % does not act as %', lane, NEW.role
                USING ERRCODE = 'insufficient_privilege';
        END;
    END IF;
    RETURN NEW;
END
""",
    )
    for table in sorted({table for table, _, _ in matrix.moves}):
        allowed = sorted(f"{role} {move}" for of, role, move in matrix.moves if of == table)
        yield Guard(
            table,
            "lane_may_move",
            "UPDATE OF status",
            f"""
DECLARE
    lane pg_catalog.text := {_LANE};
BEGIN
    IF OLD.status OPERATOR(pg_catalog.<>) NEW.status AND lane OPERATOR(pg_catalog.<>) {_quote(matrix.owner)}
       AND NOT {_keys(allowed)} OPERATOR(pg_catalog.?)
       pg_catalog.concat_ws(' ', lane, pg_catalog.concat_ws('>', OLD.status, NEW.status)) THEN
        RAISE EXCEPTION 'lane.move: % moves no row of {table} from % to %', lane, OLD.status, NEW.status
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
""",
        )


def _loggable(matrix: Matrix) -> list[str]:
    """Each "lane kind role" that is let into the log."""
    says = {role.name: role.says for role in matrix.roles.values()}
    return sorted(
        f"{lane} {kind} {role}"
        for lane, kind in matrix.kinds
        for role in (Role if (lane, kind) in matrix.in_anothers_role else says[lane])
    )


def _keys(values: list[str]) -> str:
    """The values as keys of a JSON object, which PostgreSQL searches without preparing anything for a transaction."""
    return f"{_quote(json.dumps(dict.fromkeys(values, 0), indent=0))}::pg_catalog.jsonb"


def _quote(value: str) -> str:
    if not value.isascii() or "'" in value or "\\" in value:
        raise ValueError(f"{value!r} has no place in the matrix")
    return f"'{value}'"
