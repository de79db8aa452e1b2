"""The test database, emptied of what was written into it."""

from __future__ import annotations

from django.db import connection, transaction

# Rows that migrations made, and Django after them. Nothing is cascaded or checked: whatever was written goes.
KEPT = ("django_migrations", "django_content_type", "auth_permission")
WRITTEN = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> ALL (%s) AND pg_relation_size(oid) > 0
"""
GUARDED = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT tgrelid::regclass AS of, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'A' LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', one.of, one.tgname);
    END LOOP;
END $$
"""


def empty(*, is_tidied: bool) -> None:
    """Delete what was written. `is_tidied`: return the space, too, which nobody else does in a throw-away cluster."""
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")  # the tests' login may do what no role of the product may
        cursor.execute(WRITTEN, [list(KEPT)])
        tables = [table for (table,) in cursor.fetchall()]
        with transaction.atomic():
            cursor.execute("SET LOCAL session_replication_role = replica")  # no foreign key is checked
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER; DELETE FROM {table}")
            cursor.execute(GUARDED)
        if is_tidied and tables:
            cursor.execute(f"VACUUM {', '.join(tables)}")
        cursor.execute("RESET ROLE")
