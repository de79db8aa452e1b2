"""Every lane may ask whether entries of these numbers are there, which leaves they are, and whether they have a place."""

from __future__ import annotations

from django.db import migrations

WRITTEN = """
CREATE FUNCTION leo_log_written(numbers bigint[]) RETURNS TABLE (entry bigint, is_placed boolean, leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT e.id, EXISTS (SELECT FROM leo_log_leaf l WHERE l.entry_id = e.id), e.leaf
    FROM leo_log_entry e WHERE e.id = ANY(numbers)
$$;
REVOKE ALL ON FUNCTION leo_log_written(bigint[]) FROM PUBLIC
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0018_named_until_placed")]

    operations = [migrations.RunSQL(WRITTEN, "DROP FUNCTION leo_log_written(bigint[])")]
