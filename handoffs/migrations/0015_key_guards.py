from django.db import migrations

# A constraint sees one row as it is; these see what it was, and the key of a signature.
LIFE_CYCLE = """
CREATE FUNCTION leo_key_life_cycle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'key.kept: signing key % is evidence and is never deleted', OLD.fingerprint
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.fingerprint, NEW.lane, NEW.public_key, NEW.revocation, NEW.algorithm, NEW.replaces_id, NEW.transition)
       IS DISTINCT FROM
       (OLD.fingerprint, OLD.lane, OLD.public_key, OLD.revocation, OLD.algorithm, OLD.replaces_id, OLD.transition)
       OR NEW.expires_at > OLD.expires_at
       OR (OLD.retired_at IS NOT NULL AND (NEW.retired_at IS NULL OR NEW.retired_at > OLD.retired_at))
       OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL)
       OR (OLD.distrusted_since IS NOT NULL AND NEW.distrusted_since > OLD.distrusted_since)
       OR (NEW.secret_key <> OLD.secret_key AND length(NEW.secret_key) > 0) THEN
        RAISE EXCEPTION 'key.life_cycle: signing key % changes neither what it is nor becomes valid again', OLD.fingerprint
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""

# FOR SHARE waits for a switch or a revocation under way, and makes them wait for us.
MAY_SIGN = """
CREATE FUNCTION leo_key_may_sign() RETURNS trigger LANGUAGE plpgsql AS $$
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


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0014_key_life_cycle")]

    operations = [
        migrations.RunSQL(LIFE_CYCLE, "DROP FUNCTION leo_key_life_cycle()"),
        migrations.RunSQL(
            [
                "CREATE TRIGGER key_life_cycle BEFORE UPDATE OR DELETE ON handoffs_signingkey "
                "FOR EACH ROW EXECUTE FUNCTION leo_key_life_cycle()",
                "ALTER TABLE handoffs_signingkey ENABLE ALWAYS TRIGGER key_life_cycle",
            ],
            "DROP TRIGGER key_life_cycle ON handoffs_signingkey",
        ),
        migrations.RunSQL(MAY_SIGN, "DROP FUNCTION leo_key_may_sign()"),
        migrations.RunSQL(
            [
                "CREATE TRIGGER key_may_sign BEFORE INSERT ON leo_signature "
                "FOR EACH ROW EXECUTE FUNCTION leo_key_may_sign('enforcer')",
                "ALTER TABLE leo_signature ENABLE ALWAYS TRIGGER key_may_sign",
            ],
            "DROP TRIGGER key_may_sign ON leo_signature",
        ),
    ]
