"""The one statement that appends to the log, prepared in each connection: planning it costs twice what it does.

Django's cursors send every statement with its values in it, to be planned anew. `prepare_threshold` in the settings is
for this one, which sends them apart.
"""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import connection
from django.db.backends.utils import CursorWrapper

from audit.models import LogEntry

COLUMNS: Final = ("id", "kind", "principal", "role", "subject", "created_at", "body", "salt")  # in the model's order
INSERT: Final = """
INSERT INTO leo_log_entry (kind, principal, role, subject, body, salt, xid, leaf, leaf_hash)
VALUES (%s, %s, %s, %s, %b, %b, 0, '', '') RETURNING id, created_at
"""


def insert(kind: str, principal: int, role: str, subject: str, body: bytes, salt: bytes) -> LogEntry:
    """Write an entry, and return it with its number and time; what else the database wrote is read when asked for.

    Raises: DatabaseError, as for any statement of Django's.
    """
    connection.ensure_connection()
    with CursorWrapper(psycopg.Cursor(connection.connection), connection) as cursor:
        cursor.execute(INSERT, (kind, principal, role, subject, body, salt))
        number, created_at = cursor.fetchone()
    row = (number, kind, principal, role, subject, created_at, body, salt)
    return LogEntry.from_db(connection.alias, COLUMNS, row)
