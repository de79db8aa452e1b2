from django.db import migrations

from audit.appendonly import append_only

# A leaf that does not hash to what is stored beside it would stop the sequencer for ever: it is not taken.
TRUE_HASH = """
CREATE FUNCTION leo_refuse_false_hash() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.leaf_hash IS DISTINCT FROM sha256('\\x00'::bytea || NEW.leaf) THEN
        RAISE EXCEPTION 'leaf_hash is not the RFC 9162 hash of leaf' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER true_hash BEFORE INSERT ON leo_log_entry FOR EACH ROW EXECUTE FUNCTION leo_refuse_false_hash();
ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER true_hash;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        append_only("audit_participation"),
        migrations.RunSQL(TRUE_HASH, "DROP TRIGGER true_hash ON leo_log_entry; DROP FUNCTION leo_refuse_false_hash()"),
    ]
