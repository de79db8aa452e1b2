"""The web's connection for webhooks: one for each thread, acting as `ingest` from its first statement to its last.

Nothing else uses it, so no role is switched and none can stay behind; a connection of the pool, borrowed and switched
for each webhook, took twice as long altogether (`make bench ARGS=webhooks`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import psycopg
from django.db import connection

from leoportal.lanes.matrix import read_matrix

LANE: Final = "ingest"
_DJANGOS: Final = ("pool", "cursor_factory", "context", "server_side_binding", "prepare_threshold", "isolation_level")
_local: Final = threading.local()


def ingest[T](work: Callable[[psycopg.Connection[Any]], T]) -> T:
    """Do something that is safe to do twice; a connection that was lost is made anew, once.

    Raises: psycopg.Error.
    """
    session: psycopg.Connection[Any] | None = getattr(_local, "session", None)
    if session is not None and not session.closed:
        try:
            return work(session)
        except psycopg.OperationalError:
            close()
    _local.session = _connect()
    return work(_local.session)


def close() -> None:
    """End this thread's connection."""
    session: psycopg.Connection[Any] | None = getattr(_local, "session", None)
    if session is not None:
        session.close()


def _connect() -> psycopg.Connection[Any]:
    """Signed in as Django does it. The role is part of it, so that there is no moment without."""
    given = {name: value for name, value in connection.get_connection_params().items() if name not in _DJANGOS}
    role = f"-c role={read_matrix().roles[LANE].name}"
    given["options"] = f"{given.get('options', '')} {role}".strip()
    return psycopg.connect(**given, autocommit=True)
