"""Make a database agree with the matrix, or say where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import psycopg

from leoportal.lanes.catalogue import Connection
from leoportal.lanes.differences import Difference, of_grants, of_guards, of_roles, of_rules
from leoportal.lanes.matrix import read_matrix

LOCK: Final = 0x1E0_1A4E  # one at a time in a database
ROUNDS: Final = 3


def find_differences(connection: Connection, *, others: frozenset[str] = frozenset()) -> Iterator[Difference]:
    """Everything that is not as the matrix says. `others` are further roles that the caller answers for."""
    matrix = read_matrix()
    yield from of_roles(connection, matrix, others=others)
    yield from of_grants(connection, matrix, others=others)
    yield from of_guards(connection, matrix)
    yield from of_rules(connection, matrix)


def make_roles(connection: Connection, *, others: frozenset[str] = frozenset()) -> list[str]:
    """Create and mend the roles; needs an administrator of the cluster. Returns what was different."""
    return _mend(connection, lambda: of_roles(connection, read_matrix(), others=others))


def make_grants(connection: Connection, *, others: frozenset[str] = frozenset()) -> list[str]:
    """Grants, row-level security and lane triggers, as the owner of the schema. Returns what was different."""

    def differences() -> Iterator[Difference]:
        yield from of_grants(connection, read_matrix(), others=others)
        yield from of_guards(connection, read_matrix())

    return _mend(connection, differences)


def is_administrator(connection: Connection) -> bool:
    """Whether this login may create roles."""
    row = connection.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = session_user").fetchone()
    return bool(row and row[0])


def connect(url: str) -> Connection:
    """Raises: psycopg.OperationalError."""
    return psycopg.connect(url, connect_timeout=10)


def _mend(connection: Connection, differences: Callable[[], Iterator[Difference]]) -> list[str]:
    """Mend until nothing is left to mend: a new function, for example, brings PUBLIC's right to execute it."""
    said: list[str] = []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        for _ in range(ROUNDS):
            found = [(difference.what, difference.mend) for difference in differences()]
            statements = [mend for _, mend in found if mend is not None]
            said += [what for what, mend in found if mend is not None]
            for statement in statements:
                connection.execute(statement)
            if not statements:
                break
    return said
