"""A revoked token stays revoked, by the entry that says so; no token is deleted or given to somebody else."""

from django.db import migrations

from audit.appendonly import refuse_truncate

KEEP = """
CREATE FUNCTION leo_keep_token() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['revoked_at', 'end_entry_id', 'expires_at', 'name'];
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free)
        OR (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.end_entry_id, NEW.expires_at)
            IS DISTINCT FROM (OLD.revoked_at, OLD.end_entry_id, OLD.expires_at)) THEN
        RAISE EXCEPTION 'history: a token is only revoked, and once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.name <> OLD.name AND NEW.name <> 'erased-' || NEW.principal_id THEN
        RAISE EXCEPTION 'history: the name of a token is only erased' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON audit_apitoken
FOR EACH ROW EXECUTE FUNCTION leo_keep_token();
ALTER TABLE audit_apitoken ENABLE ALWAYS TRIGGER history_rows
"""
FREE = "DROP TRIGGER history_rows ON audit_apitoken; DROP FUNCTION leo_keep_token()"


class Migration(migrations.Migration):
    dependencies = [("audit", "0015_log_without_names")]

    operations = [migrations.RunSQL(KEEP, FREE), refuse_truncate("audit_apitoken")]
