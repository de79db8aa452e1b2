"""Migration operations that make a table append-only by trigger. The grants follow in `grant_runtime`.

The triggers are ENABLE ALWAYS, so that replica mode does not silence them. A table's owner can still disable
them: that is why the portal runs under another login, and why the log is hashed.
"""

from __future__ import annotations

from django.db import migrations

CREATE_FUNCTION = """
CREATE OR REPLACE FUNCTION leo_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""


def create_function() -> migrations.RunSQL:
    """The trigger function. Once, before the first `append_only`."""
    return migrations.RunSQL(CREATE_FUNCTION, "DROP FUNCTION IF EXISTS leo_refuse_change()")


def append_only(table: str) -> migrations.RunSQL:
    """Refuse UPDATE, DELETE and TRUNCATE on `table`, whoever asks."""
    return migrations.RunSQL(
        [
            f"CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION leo_refuse_change()",
            f"CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION leo_refuse_change()",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_table",
        ],
        [f"DROP TRIGGER append_only_rows ON {table}", f"DROP TRIGGER append_only_table ON {table}"],
    )
