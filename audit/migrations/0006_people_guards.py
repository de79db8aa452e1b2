from django.db import migrations

from audit.appendonly import create_history_function, keep_history, refuse_truncate

# Until now everybody was given the same salt, by the default of the new column.
OWN_SALTS = "UPDATE audit_principal SET salt = sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea)"

# A principal keeps its number, kind and sponsor. Its name changes only into nothing, when its salt is destroyed.
PRINCIPAL_STAYS = """
CREATE FUNCTION leo_keep_principal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['name', 'salt', 'user_id', 'is_held'];
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free) THEN
        RAISE EXCEPTION 'history: a principal stays what it is' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.salt IS DISTINCT FROM OLD.salt AND (NEW.salt IS NOT NULL OR OLD.is_held) THEN
        RAISE EXCEPTION 'history: a salt is only destroyed, and not under a legal hold' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.name <> OLD.name AND (NEW.salt IS NOT NULL OR NEW.name <> 'erased-' || NEW.id) THEN
        RAISE EXCEPTION 'history: a name is only erased' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON audit_principal
    FOR EACH ROW EXECUTE FUNCTION leo_keep_principal();
ALTER TABLE audit_principal ENABLE ALWAYS TRIGGER history_rows;
"""

# A name ends once. Its spelling is erased with the salt of its owner, never rewritten.
IDENTITY_STAYS = """
CREATE FUNCTION leo_keep_identity() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['ends_at', 'value'];
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free)
        OR (OLD.ends_at IS NOT NULL AND NEW.ends_at IS DISTINCT FROM OLD.ends_at) THEN
        RAISE EXCEPTION 'history: a name only ends, and once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.value <> OLD.value AND (NEW.value <> 'erased-' || NEW.id OR NEW.ends_at IS NULL OR EXISTS (
        SELECT FROM audit_principal p WHERE p.id = NEW.principal_id AND p.salt IS NOT NULL
    )) THEN
        RAISE EXCEPTION 'history: a name is only erased, with its owner' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON audit_identity
    FOR EACH ROW EXECUTE FUNCTION leo_keep_identity();
ALTER TABLE audit_identity ENABLE ALWAYS TRIGGER history_rows;
"""

# A text is erased or stays: no other word takes its place.
TEXT_STAYS = """
CREATE FUNCTION leo_keep_text() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['text', 'salt', 'erased_at'];
BEGIN
    IF TG_OP = 'DELETE' OR OLD.erased_at IS NOT NULL OR NEW.erased_at IS NULL
        OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free) THEN
        RAISE EXCEPTION 'history: a text is only erased, and once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM audit_principal p WHERE p.id = OLD.author_id AND p.is_held) THEN
        RAISE EXCEPTION 'history: the author is under a legal hold' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER history_rows BEFORE UPDATE OR DELETE ON audit_text
    FOR EACH ROW EXECUTE FUNCTION leo_keep_text();
ALTER TABLE audit_text ENABLE ALWAYS TRIGGER history_rows;
"""

# The rule of audit.separation.conflict, for every insert, whoever makes it: nobody who is the same person acts in
# another duty on the subject. The lock lets one insert of a subject look at a time.
ONE_PERSON_ONE_DUTY = """
CREATE FUNCTION leo_refuse_second_duty() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE clash record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('participation ' || NEW.subject, 0));
    WITH RECURSIVE edge(a, b) AS (
        SELECT id, sponsor_id FROM audit_principal WHERE sponsor_id IS NOT NULL
        UNION ALL SELECT one_id, other_id FROM audit_person_link WHERE ends_at IS NULL
    ), circle(id) AS (
        SELECT NEW.principal_id
        UNION
        SELECT CASE WHEN edge.a = circle.id THEN edge.b ELSE edge.a END
        FROM circle JOIN edge ON circle.id IN (edge.a, edge.b)
    )
    SELECT part.principal_id, part.duty INTO clash
    FROM audit_participation part JOIN circle ON part.principal_id = circle.id
    WHERE part.subject = NEW.subject AND part.duty <> NEW.duty LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'sod.conflict: principal % is the same person as %, who acts as % on %',
            NEW.principal_id, clash.principal_id, clash.duty, NEW.subject
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'participation_one_person_one_duty';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER one_person_one_duty BEFORE INSERT ON audit_participation
    FOR EACH ROW EXECUTE FUNCTION leo_refuse_second_duty();
ALTER TABLE audit_participation ENABLE ALWAYS TRIGGER one_person_one_duty;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_people_history")]

    operations = [
        migrations.RunSQL(OWN_SALTS, migrations.RunSQL.noop),
        create_history_function(),
        migrations.RunSQL(
            PRINCIPAL_STAYS, "DROP TRIGGER history_rows ON audit_principal; DROP FUNCTION leo_keep_principal()"
        ),
        migrations.RunSQL(
            IDENTITY_STAYS, "DROP TRIGGER history_rows ON audit_identity; DROP FUNCTION leo_keep_identity()"
        ),
        migrations.RunSQL(TEXT_STAYS, "DROP TRIGGER history_rows ON audit_text; DROP FUNCTION leo_keep_text()"),
        *(refuse_truncate(table) for table in ("audit_principal", "audit_identity", "audit_text")),
        keep_history("audit_rolegrant", "ends_at"),
        keep_history("audit_person_link", "ends_at"),
        keep_history("audit_proposal", "decided_at", "decided_by_id", "status"),
        migrations.RunSQL(
            ONE_PERSON_ONE_DUTY,
            "DROP TRIGGER one_person_one_duty ON audit_participation; DROP FUNCTION leo_refuse_second_duty()",
        ),
    ]
