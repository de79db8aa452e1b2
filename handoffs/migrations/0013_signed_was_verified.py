"""No path to SIGNED that skips VERIFIED, whoever writes the rows (ATT-05).

Checked when the transaction commits: the event of the verification, its digest, the checks and the signature have to
be there together. Both logs of the lane are append-only, so that what was verified cannot be made up afterwards.
"""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION leo_signed_was_verified() RETURNS trigger LANGUAGE plpgsql AS $$
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
HANDOFF = """
CREATE CONSTRAINT TRIGGER signed_was_verified AFTER INSERT OR UPDATE OF status, digest ON handoffs_handoff
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status IN ('signed', 'applied', 'opened', 'triggered'))
EXECUTE FUNCTION leo_signed_was_verified()
"""
SIGNATURE = """
CREATE CONSTRAINT TRIGGER signed_was_verified AFTER INSERT ON leo_signature
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leo_signed_was_verified()
"""


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0012_signing_attempt_logged")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION leo_signed_was_verified()"),
        migrations.RunSQL(
            [HANDOFF, "ALTER TABLE handoffs_handoff ENABLE ALWAYS TRIGGER signed_was_verified"],
            "DROP TRIGGER signed_was_verified ON handoffs_handoff",
        ),
        migrations.RunSQL(
            [SIGNATURE, "ALTER TABLE leo_signature ENABLE ALWAYS TRIGGER signed_was_verified"],
            "DROP TRIGGER signed_was_verified ON leo_signature",
        ),
    ]
