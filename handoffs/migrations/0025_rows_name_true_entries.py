"""A repository, a key, its rotation and an erased bundle change only with an entry of the same transaction that says so."""

from django.db import migrations

from audit.appendonly import names_entry

REPOSITORY_STAYS = """
CREATE FUNCTION leo_keep_repository() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - 'next_number') IS DISTINCT FROM (to_jsonb(NEW) - 'next_number')
        OR NEW.next_number < OLD.next_number THEN
        RAISE EXCEPTION 'history: repository % stays what was enrolled, and no number is given twice', OLD.full_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON handoffs_repository
    FOR EACH ROW EXECUTE FUNCTION leo_keep_repository();
ALTER TABLE handoffs_repository ENABLE ALWAYS TRIGGER history_rows;
"""
LIFE_CYCLE = """
CREATE OR REPLACE FUNCTION leo_key_life_cycle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'key.kept: signing key % is evidence and is never deleted', OLD.fingerprint
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.fingerprint, NEW.lane, NEW.public_key, NEW.revocation, NEW.algorithm, NEW.replaces_id, NEW.transition,
        NEW.log_entry_id)
       IS DISTINCT FROM
       (OLD.fingerprint, OLD.lane, OLD.public_key, OLD.revocation, OLD.algorithm, OLD.replaces_id, OLD.transition,
        OLD.log_entry_id)
       OR NEW.expires_at > OLD.expires_at
       OR (OLD.retired_at IS NOT NULL
           AND (NEW.retired_at, NEW.retire_entry_id) IS DISTINCT FROM (OLD.retired_at, OLD.retire_entry_id))
       OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL)
       OR (OLD.distrusted_since IS NOT NULL AND NEW.distrusted_since > OLD.distrusted_since)
       OR (NEW.secret_key <> OLD.secret_key AND length(NEW.secret_key) > 0) THEN
        RAISE EXCEPTION 'key.life_cycle: signing key % changes neither what it is nor becomes valid again', OLD.fingerprint
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
ROTATION_STAYS = """
CREATE FUNCTION leo_keep_rotation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.log_entry_id <> OLD.log_entry_id OR NEW.lane <> OLD.lane
        OR (OLD.end_entry_id IS NOT NULL AND NEW.end_entry_id IS DISTINCT FROM OLD.end_entry_id) THEN
        RAISE EXCEPTION 'history: rotation % only ends, and once', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON handoffs_keyrotation
    FOR EACH ROW EXECUTE FUNCTION leo_keep_rotation();
ALTER TABLE handoffs_keyrotation ENABLE ALWAYS TRIGGER history_rows;
"""
KEY, ROTATION = "handoffs_signingkey", "handoffs_keyrotation"
ENDS = ("key.rotated", "key.rotation_cancelled", "key.revoked", "key.created")


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0024_rows_name_their_entries")]

    operations = [
        migrations.RunSQL(
            REPOSITORY_STAYS, "DROP TRIGGER history_rows ON handoffs_repository; DROP FUNCTION leo_keep_repository()"
        ),
        migrations.RunSQL(LIFE_CYCLE, migrations.RunSQL.noop),
        migrations.RunSQL(
            ROTATION_STAYS, "DROP TRIGGER history_rows ON handoffs_keyrotation; DROP FUNCTION leo_keep_rotation()"
        ),
        names_entry("handoffs_repository", "log_entry_id", "repository.governed"),
        names_entry(KEY, "log_entry_id", "key.created"),
        names_entry(KEY, "retire_entry_id", "key.rotated", "key.expired", watched=("retired_at",)),
        names_entry(KEY, "revoke_entry_id", "key.revoked", watched=("revoked_at", "distrusted_since")),
        names_entry(ROTATION, "log_entry_id", "key.rotation_requested"),
        names_entry(ROTATION, "end_entry_id", *ENDS),
        names_entry("handoffs_handoff", "erase_entry_id", "bundles.erased"),
    ]
