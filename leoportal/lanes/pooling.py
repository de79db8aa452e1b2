"""What a pool does with a connection that comes back."""

from __future__ import annotations

from typing import Any

import psycopg


def forget_role(connection: psycopg.Connection[Any]) -> None:
    """No request finds the role of another. The pool throws away a connection on which this fails."""
    connection.execute("RESET ROLE")
    if not connection.autocommit:
        connection.commit()
