"""The matrix of `matrix.toml` as values. Pure: no Django, no database."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

LETTERS: Final = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}
PER_COLUMN: Final = frozenset({"SELECT", "INSERT", "UPDATE"})
_RIGHTS: Final = re.compile(r"([SIUD])(?:\(([a-z0-9_ ]+)\))?(?: |$)")


class MatrixError(Exception):
    """The matrix does not say what it means."""


@dataclass(frozen=True)
class Role:
    """One PostgreSQL role. `acts_as` is what it is right after signing in; `says` are the roles it may log as."""

    key: str
    name: str
    what: str
    is_login: bool = True
    limit: int = -1
    member_of: tuple[str, ...] = ()
    acts_as: str = ""
    says: frozenset[str] = frozenset()

    @property
    def variable(self) -> str:
        """The environment variable with this login's address."""
        return f"DATABASE_{self.key.upper()}_URL"


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege of one role on one object; `column` is empty where it is the whole table."""

    role: str
    privilege: str
    target: str
    column: str = ""

    def __str__(self) -> str:
        on = f"{self.target}({self.column})" if self.column else self.target
        return f"{self.privilege} on {on} to {self.role}"


@dataclass(frozen=True)
class Table:
    """One table, with every privilege on it. What is append-only is governed, and nobody changes a row of it."""

    name: str
    is_governed: bool
    is_append_only: bool
    grants: frozenset[Grant]

    def roles_with(self, privilege: str) -> tuple[str, ...]:
        """Who holds a privilege on the table or on some of its columns."""
        return tuple(sorted({grant.role for grant in self.grants if grant.privilege == privilege}))


@dataclass(frozen=True)
class Matrix:
    """Everything `matrix.toml` says. Roles are found by their key in the file; all else names the role itself.

    Shape: rows and inserts are (table, role) to a condition; kinds are (role, kind); moves (table, role, "old>new").
    """

    roles: Mapping[str, Role]
    tables: Mapping[str, Table]
    functions: Mapping[str, frozenset[str]]
    rows: Mapping[tuple[str, str], str]
    inserts: Mapping[tuple[str, str], str]
    kinds: frozenset[tuple[str, str]]
    in_anothers_role: frozenset[tuple[str, str]]
    moves: frozenset[tuple[str, str, str]]

    @property
    def owner(self) -> str:
        """The role that owns the schema."""
        return self.roles["owner"].name

    @property
    def names(self) -> frozenset[str]:
        """Every role that is ours."""
        return frozenset(role.name for role in self.roles.values())

    @property
    def logins(self) -> tuple[Role, ...]:
        """Roles that sign in."""
        return tuple(role for role in self.roles.values() if role.is_login)


@cache
def read_matrix() -> Matrix:
    """The matrix of this release.

    Raises: MatrixError where a cell cannot be read, or names a role that is not there.
    """
    raw = tomllib.loads(Path(__file__).with_name("matrix.toml").read_text())
    roles = {key: _role(key, row) for key, row in raw["roles"].items()}
    names = {key: role.name for key, role in roles.items()}
    for role in roles.values():
        if unknown := {*role.member_of, *filter(None, [role.acts_as])} - set(names):
            raise MatrixError(f"roles.{role.key} names {', '.join(sorted(unknown))}, which is no role here")
    tables = {name: _table(name, dict(row), names) for name, row in raw["tables"].items()}
    functions = {
        signature: frozenset(names[key] for key in allowed) for signature, allowed in raw.get("functions", {}).items()
    }
    return Matrix(
        roles,
        tables,
        functions,
        rows=_conditions(raw["rows"], names),
        inserts=_conditions(raw["inserts"], names),
        kinds=_kinds(raw["kinds"], names),
        in_anothers_role=_kinds(raw["in_anothers_role"], names),
        moves=frozenset(
            (table, names[key], move)
            for table, row in raw["moves"].items()
            for key, moves in row.items()
            for move in moves
        ),
    )


def _conditions(raw: Mapping[str, Any], names: Mapping[str, str]) -> dict[tuple[str, str], str]:
    return {(table, names[key]): text for table, row in raw.items() for key, text in row.items()}


def _kinds(raw: Mapping[str, str], names: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (names[key], kind) for kinds, keys in raw.items() for kind in kinds.split() for key in keys.split()
    )


def _role(key: str, row: Mapping[str, Any]) -> Role:
    return Role(
        key=key,
        name=row["name"],
        what=row["what"],
        is_login=row.get("login", True),
        limit=row.get("limit", -1),
        member_of=tuple(row.get("member_of", ())),
        acts_as=row.get("acts_as", ""),
        says=frozenset(row.get("says", ())),
    )


def _table(name: str, row: dict[str, Any], names: Mapping[str, str]) -> Table:
    is_append_only = bool(row.pop("append_only", False))
    is_governed = bool(row.pop("governed", is_append_only))
    grants: set[Grant] = set()
    for keys, rights in row.items():
        for key in keys.split():
            if key not in names:
                raise MatrixError(f"tables.{name} names {key!r}, which is no role here")
            found = {Grant(names[key], letter, name, column) for letter, column in _rights(name, rights)}
            if any(grant.role == names[key] for grant in grants):
                raise MatrixError(f"tables.{name} says twice what {key} may")
            grants |= found
    if is_append_only and any(grant.privilege in {"UPDATE", "DELETE"} for grant in grants):
        raise MatrixError(f"tables.{name} is append-only; nobody updates or deletes there")
    return Table(name, is_governed, is_append_only, frozenset(grants))


def _rights(table: str, text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    end = 0
    for match in _RIGHTS.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        privilege, columns = LETTERS[match[1]], (match[2] or "").split()
        if (columns and privilege not in PER_COLUMN) or (not columns and privilege == "UPDATE"):
            raise MatrixError(f"tables.{table}: {match[0]!r} does not fit; UPDATE names columns, DELETE does not")
        found += [(privilege, column) for column in columns or [""]]
    if end != len(text) or not found:
        raise MatrixError(f"tables.{table}: {text!r} is not made of S, I, U(columns) and D")
    return found
