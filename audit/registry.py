"""The registry's lock: who acts reads it as it stands, who changes it does so alone."""

from __future__ import annotations

from typing import Final

from django.db import connection

REGISTRY_LOCK: Final = 0x1E0_501


def hold_registry(*, is_change: bool = False) -> None:
    """Keep people, roles, names and links as they are until the transaction ends; a change waits for its readers."""
    kind = "" if is_change else "_shared"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock{kind}(%s)", [REGISTRY_LOCK])
