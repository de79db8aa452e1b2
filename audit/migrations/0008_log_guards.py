from django.db import migrations

from audit.appendonly import append_only

# The database writes the leaf: its number, time and login are not the application's to choose.
WRITE_LEAF = r"""
CREATE FUNCTION leo_write_leaf() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    lane text := current_setting('role');
BEGIN
    IF NEW.body IS NULL OR length(NEW.salt) IS DISTINCT FROM 16 THEN
        RAISE EXCEPTION 'an entry has a body and a salt of 16 bytes' USING ERRCODE = 'check_violation';
    END IF;
    NEW.created_at := clock_timestamp();
    NEW.xid := pg_current_xact_id()::text::bigint;
    NEW.leaf := convert_to(format(
        E'leo-audit/v1 %s %s %s\n{"bodySha256":"%s","kind":%s,"principal":%s,"role":%s,"subject":%s}',
        NEW.id, (extract(epoch FROM NEW.created_at) * 1000000)::bigint,
        session_user || CASE lane WHEN 'none' THEN '' ELSE '/' || lane END,
        encode(sha256(NEW.salt || NEW.body), 'hex'), to_json(NEW.kind), NEW.principal,
        to_json(NEW.role), to_json(NEW.subject)), 'UTF8');
    NEW.leaf_hash := sha256('\x00'::bytea || NEW.leaf);
    RETURN NEW;
END $$;
CREATE TRIGGER write_leaf BEFORE INSERT ON leo_log_entry FOR EACH ROW EXECUTE FUNCTION leo_write_leaf();
ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER write_leaf;
DROP TRIGGER true_hash ON leo_log_entry;
DROP FUNCTION leo_refuse_false_hash();
"""
UNDO = """
DROP TRIGGER write_leaf ON leo_log_entry;
DROP FUNCTION leo_write_leaf();
CREATE FUNCTION leo_refuse_false_hash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER true_hash BEFORE INSERT ON leo_log_entry FOR EACH ROW EXECUTE FUNCTION leo_refuse_false_hash();
"""
COVERS = r"""
CREATE FUNCTION leo_log_covers(entry bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH epoch AS (SELECT origin, created_at FROM leo_log_epoch ORDER BY number DESC LIMIT 1),
         quorum AS (SELECT witnesses FROM leo_log_quorum ORDER BY id DESC LIMIT 1)
    SELECT coalesce((SELECT index FROM leo_log_leaf WHERE entry_id = entry) < (
               SELECT max(c.size) FROM leo_log_checkpoint c
               WHERE c.origin = coalesce((SELECT origin FROM epoch), c.origin)
                 AND (SELECT count(*) FROM leo_log_cosignature s WHERE s.checkpoint_id = c.id)
                     >= coalesce((SELECT witnesses FROM quorum), 0)), false)
       AND NOT EXISTS (SELECT FROM leo_log_alarm a
                       WHERE a.created_at > coalesce((SELECT created_at FROM epoch), '-infinity'))
$$;
REVOKE ALL ON FUNCTION leo_log_covers(bigint) FROM PUBLIC;
"""
TABLES = (
    "leo_log_quorum",
    "leo_log_tile",
    "leo_log_checkpoint",
    "leo_log_cosignature",
    "leo_log_alarm",
    "leo_log_epoch",
)


class Migration(migrations.Migration):
    dependencies = [("audit", "0007_log")]

    operations = [
        migrations.RunSQL(WRITE_LEAF, UNDO),
        *(append_only(table) for table in TABLES),
        migrations.RunSQL(COVERS, "DROP FUNCTION leo_log_covers(bigint)"),
    ]
