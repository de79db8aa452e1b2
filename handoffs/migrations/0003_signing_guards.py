"""Keys and signatures: no path to SIGNED that skips VERIFIED, no signature by a key that may not sign, no key anew."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import keeps_until_placed, names_entry, on_rows

# No path to SIGNED that skips VERIFIED, whoever writes the rows (ATT-05). Checked when the transaction commits: the event
# of the verification, its digest, the checks and the signature have to be there together. Both logs of the lane are
# append-only, so that what was verified cannot be made up afterwards. It reads what a lane that inserts may not.
SIGNED_WAS_VERIFIED = """
CREATE FUNCTION leo_signed_was_verified() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    handoff bigint;
    digest text;
BEGIN
    IF TG_TABLE_NAME = 'leo_signature' THEN
        handoff := NEW.handoff_id;
    ELSE
        handoff := NEW.id;
    END IF;
    SELECT h.digest INTO digest FROM handoffs_handoff h WHERE h.id = handoff;
    IF TG_TABLE_NAME = 'leo_signature' AND NEW.digest IS DISTINCT FROM digest THEN
        RAISE EXCEPTION 'signed-was-verified: the signature of handoff % covers another digest', handoff
            USING ERRCODE = 'check_violation';
    END IF;
    IF TG_TABLE_NAME = 'handoffs_handoff' AND NOT EXISTS (
        SELECT 1 FROM leo_signature s WHERE s.handoff_id = handoff AND s.digest = NEW.digest
    ) THEN
        RAISE EXCEPTION 'signed-was-verified: handoff % is % without a signature of its digest', handoff, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    IF NOT EXISTS (
        SELECT 1 FROM leo_handoff_tracking e
        WHERE e.handoff_id = handoff AND e.event = 'handoff.verified' AND e.detail->>'digest' = digest
    ) OR NOT EXISTS (
        SELECT 1 FROM leo_bundle_check c WHERE c.handoff_id = handoff
    ) OR EXISTS (
        SELECT 1 FROM leo_bundle_check c WHERE c.handoff_id = handoff AND c.outcome = 'FAILED'
    ) THEN
        RAISE EXCEPTION 'signed-was-verified: handoff % was not verified with this digest', handoff
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$
"""
ON_HANDOFF = """
CREATE CONSTRAINT TRIGGER signed_was_verified AFTER INSERT OR UPDATE OF status, digest ON handoffs_handoff
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status IN ('signed', 'applied', 'opened', 'triggered'))
EXECUTE FUNCTION leo_signed_was_verified()
"""
ON_SIGNATURE = """
CREATE CONSTRAINT TRIGGER signed_was_verified AFTER INSERT ON leo_signature
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leo_signed_was_verified()
"""
# A constraint sees one row as it is; these see what it was, and the key of a signature.
LIFE_CYCLE = """
CREATE FUNCTION leo_key_life_cycle() RETURNS trigger LANGUAGE plpgsql AS $$
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
# FOR SHARE waits for a switch or a revocation under way, and makes them wait for us; a lane that signs may not lock keys.
MAY_SIGN = """
CREATE FUNCTION leo_key_may_sign() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    key record;
BEGIN
    IF NEW.key_id IS NULL THEN RETURN NEW; END IF;
    SELECT lane, created_at, expires_at, retired_at, revoked_at INTO key
      FROM handoffs_signingkey WHERE id = NEW.key_id FOR SHARE;
    IF key.lane <> TG_ARGV[0] THEN
        RAISE EXCEPTION 'key.lane: a key of the % lane signs nothing of the % lane', key.lane, TG_ARGV[0]
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF key.retired_at IS NOT NULL OR key.revoked_at IS NOT NULL
       OR NEW.signed_at < key.created_at OR NEW.signed_at >= key.expires_at THEN
        RAISE EXCEPTION 'key.not_active: the key was not active when the signature was received'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
# A rotation ends once, by the entry that says so.
ROTATION_STAYS = """
CREATE FUNCTION leo_keep_rotation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.log_entry_id <> OLD.log_entry_id OR NEW.lane <> OLD.lane
        OR (OLD.end_entry_id IS NOT NULL AND NEW.end_entry_id IS DISTINCT FROM OLD.end_entry_id) THEN
        RAISE EXCEPTION 'history: rotation % only ends, and once', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
KEY, ROTATION = "handoffs_signingkey", "handoffs_keyrotation"
ENDS = ("key.rotated", "key.rotation_cancelled", "key.revoked", "key.created")


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0002_record_guards")]

    operations = [
        migrations.RunSQL(SIGNED_WAS_VERIFIED),
        migrations.RunSQL([ON_HANDOFF, "ALTER TABLE handoffs_handoff ENABLE ALWAYS TRIGGER signed_was_verified"]),
        migrations.RunSQL([ON_SIGNATURE, "ALTER TABLE leo_signature ENABLE ALWAYS TRIGGER signed_was_verified"]),
        migrations.RunSQL(LIFE_CYCLE),
        on_rows(KEY, "key_life_cycle", "BEFORE UPDATE OR DELETE", "leo_key_life_cycle()"),
        migrations.RunSQL(MAY_SIGN),
        on_rows("leo_signature", "key_may_sign", "BEFORE INSERT", "leo_key_may_sign('enforcer')"),
        on_rows("leo_signature_renewal", "key_may_sign", "BEFORE INSERT", "leo_key_may_sign('enforcer')"),
        migrations.RunSQL(ROTATION_STAYS),
        on_rows(ROTATION, "history_rows", "BEFORE UPDATE OR DELETE", "leo_keep_rotation()"),
        names_entry(KEY, "log_entry_id", "key.created"),
        names_entry(KEY, "retire_entry_id", "key.rotated", "key.expired", watched=("retired_at",)),
        names_entry(KEY, "revoke_entry_id", "key.revoked", watched=("revoked_at", "distrusted_since")),
        # What a revocation names stays named until it is in the tree.
        keeps_until_placed(KEY, "revoke_entry_id"),
        names_entry(ROTATION, "log_entry_id", "key.rotation_requested"),
        names_entry(ROTATION, "end_entry_id", *ENDS),
    ]
