"""Which lane a thread's database connection acts in: SET ROLE for one request or task, and nothing longer.

The web's login may become each lane it serves, and is the visitor, who may almost nothing, whenever it is not told.
A worker signs in as its lane and never switches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import psycopg
from asgiref.local import Local
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg import sql

from audit.events import Role
from leoportal.lanes.matrix import read_matrix

VISITOR: Final = "visitor"
LANE_OF: Final[Mapping[Role, str]] = {
    Role.BUILDER: VISITOR,  # has no account here; whoever holds this role has no page
    Role.ENFORCER: "enforcer",
    Role.PLAN: "plan",
    Role.LEAD: "lead",
    Role.AUDITOR: "auditor",
    Role.REPORTER: "reporter",
    Role.ADMIN: "admin",
}
_acting: Final = Local()


@contextmanager
def acting_in(lane: str) -> Iterator[None]:
    """Everything inside goes to the database as the role of `lane` (a key of the matrix).

    Raises: django.db.ProgrammingError when this login may not become that role.
    """
    role, before = read_matrix().roles[lane].name, getattr(_acting, "role", "")
    if role == (before or _role_after_sign_in(connection.settings_dict["USER"])):
        yield
        return
    _acting.role = role
    try:
        _become(role)
        yield
    finally:
        _acting.role = before
        _become_again(before)


@cache
def _role_after_sign_in(login: str) -> str:
    roles = read_matrix().roles
    found = next((role for role in roles.values() if role.name == login), None)
    return roles[found.acts_as].name if found is not None and found.acts_as else login


def _become(role: str) -> None:
    """Of a connection that is not there yet, `_on_connect` takes care."""
    if connection.connection is not None:
        with connection.wrap_database_errors:
            connection.connection.execute(_statement(role))


def _become_again(role: str) -> None:
    """Back to what was before. A connection that cannot go back is closed: nobody may inherit its role."""
    if connection.connection is None:
        return
    try:
        connection.connection.execute(_statement(role))
    except psycopg.Error:
        if not connection.in_atomic_block:  # else its rollback undoes SET ROLE, too
            connection.connection.close()
            connection.close()


def _on_connect(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """A connection made while a lane acts, perhaps in place of one that was lost."""
    if role := getattr(_acting, "role", ""):
        connection.connection.execute(_statement(role))


def _statement(role: str) -> sql.Composable:
    return sql.SQL("SET ROLE {}").format(sql.Identifier(role)) if role else sql.SQL("RESET ROLE")


connection_created.connect(_on_connect, dispatch_uid="leoportal.lanes")
