"""The log: the database writes each entry, nobody changes one, and nothing is appended while an alarm stands."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import append_only, create_function, names_entry, on_rows

# Before the first release the schema was written anew from its final state: what older migrations left is not taken over.
REFUSE_OLD = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM django_migrations WHERE app = 'audit' AND name = '0002_append_only') THEN
        RAISE EXCEPTION 'schema.older: this database was made by migrations that are gone; begin anew (make reset)';
    END IF;
END $$
"""
# The database writes the leaf: its number, time and login are not the application's to choose; and nothing is appended
# while an alarm stands. Every entry pays for this, so one function does both, with a look at the size of a table that is
# empty on a good day. STABLE, since it writes nothing: then no expression takes a snapshot of its own. It runs as the
# lane, without a search_path of its own, which costs as much as both hashes: so every name in it says its schema.
WRITE_ENTRY = r"""
CREATE FUNCTION leo_write_entry() RETURNS trigger LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_catalog.pg_relation_size('public.leo_log_alarm'::pg_catalog.regclass) OPERATOR(pg_catalog.>) 0 THEN
        PERFORM public.leo_refuse_in_alarm(NEW.kind);
    END IF;
    IF NEW.body IS NULL OR NEW.salt IS NULL OR pg_catalog.length(NEW.salt) OPERATOR(pg_catalog.<>) 16 THEN
        RAISE EXCEPTION 'an entry has a body and a salt of 16 bytes' USING ERRCODE = 'check_violation';
    END IF;
    NEW.created_at := pg_catalog.clock_timestamp();
    NEW.xid := pg_catalog.txid_current();
    NEW.leaf := pg_catalog.convert_to(pg_catalog.format(
        E'leo-audit/v1 %s %s %s\n{"bodySha256":"%s","kind":%s,"principal":%s,"role":%s,"subject":%s}',
        NEW.id, (extract(epoch FROM NEW.created_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,
        pg_catalog.concat_ws('/', session_user, CASE
            WHEN pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' THEN pg_catalog.current_setting('role')
        END),
        pg_catalog.encode(pg_catalog.sha256(NEW.salt OPERATOR(pg_catalog.||) NEW.body), 'hex'),
        pg_catalog.to_json(NEW.kind), NEW.principal, pg_catalog.to_json(NEW.role), pg_catalog.to_json(NEW.subject)
    ), 'UTF8');
    NEW.leaf_hash := pg_catalog.sha256('\x00'::pg_catalog.bytea OPERATOR(pg_catalog.||) NEW.leaf);
    RETURN NEW;
END $$
"""
# Only the alarms of this epoch stand. What ends them is let through.
REFUSE_IN_ALARM = """
CREATE FUNCTION leo_refuse_in_alarm(kind text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    alarm leo_log_alarm;
BEGIN
    IF kind <> 'epoch.opened' THEN
        SELECT a.* INTO alarm FROM leo_log_alarm a
         WHERE a.created_at > coalesce((SELECT created_at FROM leo_log_epoch ORDER BY number DESC LIMIT 1), '-infinity')
         ORDER BY a.id LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%', alarm.code USING ERRCODE = 'LG001', DETAIL = alarm.detail;
        END IF;
    END IF;
END $$;
REVOKE ALL ON FUNCTION leo_refuse_in_alarm(text) FROM PUBLIC
"""
# Whether an entry is below the newest checkpoint of this epoch that has its quorum of witnesses, and no alarm stands.
# From the newest backwards, and not the largest of all: that one read every checkpoint ever signed, for each entry.
COVERS = r"""
CREATE FUNCTION leo_log_covers(entry bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH epoch AS (SELECT origin, created_at FROM leo_log_epoch ORDER BY number DESC LIMIT 1),
         quorum AS (SELECT witnesses FROM leo_log_quorum ORDER BY id DESC LIMIT 1)
    SELECT coalesce((SELECT index FROM leo_log_leaf WHERE entry_id = entry) < (
               SELECT c.size FROM leo_log_checkpoint c
               WHERE c.origin = coalesce((SELECT origin FROM epoch), c.origin)
                 AND (SELECT count(*) FROM leo_log_cosignature s WHERE s.checkpoint_id = c.id)
                     >= coalesce((SELECT witnesses FROM quorum), 0)
               ORDER BY c.id DESC LIMIT 1), false)
       AND NOT EXISTS (SELECT FROM leo_log_alarm a
                       WHERE a.created_at > coalesce((SELECT created_at FROM epoch), '-infinity'))
$$;
REVOKE ALL ON FUNCTION leo_log_covers(bigint) FROM PUBLIC
"""
# Every lane may ask whether entries of these numbers are there, which leaves they are, and whether they have a place.
WRITTEN = """
CREATE FUNCTION leo_log_written(numbers bigint[]) RETURNS TABLE (entry bigint, is_placed boolean, leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT e.id, EXISTS (SELECT FROM leo_log_leaf l WHERE l.entry_id = e.id), e.leaf
    FROM leo_log_entry e WHERE e.id = ANY(numbers)
$$;
REVOKE ALL ON FUNCTION leo_log_written(bigint[]) FROM PUBLIC
"""
TABLES = (
    "leo_log_entry",
    "leo_log_leaf",
    "leo_log_head",
    "leo_log_tile",
    "leo_log_checkpoint",
    "leo_log_cosignature",
    "leo_log_quorum",
    "leo_log_epoch",
    "leo_log_alarm",
    "leo_log_anchor",
)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(REFUSE_OLD),
        create_function(),
        *(append_only(table) for table in TABLES),
        migrations.RunSQL(REFUSE_IN_ALARM),
        migrations.RunSQL(WRITE_ENTRY),
        on_rows("leo_log_entry", "write_entry", "BEFORE INSERT", "leo_write_entry()"),
        migrations.RunSQL(COVERS),
        migrations.RunSQL(WRITTEN),
        names_entry("leo_log_epoch", "log_entry_id", "epoch.opened", when="AFTER"),
        names_entry("leo_log_quorum", "log_entry_id", "quorum.set", when="AFTER"),
    ]
