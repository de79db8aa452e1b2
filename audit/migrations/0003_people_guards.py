"""The registry of people: rows end and are not rewritten, by entries that say so; nobody acts in two duties."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import (
    append_only,
    create_history_function,
    create_placed_function,
    keep_history,
    keeps_until_placed,
    names_entry,
    on_rows,
    refuse_truncate,
)

# A principal keeps its number, kind and sponsor. Its name changes only into nothing, when its salt is destroyed.
PRINCIPAL_STAYS = """
CREATE FUNCTION leo_keep_principal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['name', 'salt', 'user_id', 'is_held', 'hold_entry_id', 'erase_entry_id'];
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
END $$
"""
# A name ends once. Its spelling is erased with the salt of its owner, never rewritten.
IDENTITY_STAYS = """
CREATE FUNCTION leo_keep_identity() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['ends_at', 'end_entry_id', 'value'];
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free)
        OR (OLD.ends_at IS NOT NULL
            AND (NEW.ends_at, NEW.end_entry_id) IS DISTINCT FROM (OLD.ends_at, OLD.end_entry_id)) THEN
        RAISE EXCEPTION 'history: a name only ends, and once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.value <> OLD.value AND (NEW.value <> 'erased-' || NEW.id OR NEW.ends_at IS NULL OR EXISTS (
        SELECT FROM audit_principal p WHERE p.id = NEW.principal_id AND p.salt IS NOT NULL
    )) THEN
        RAISE EXCEPTION 'history: a name is only erased, with its owner' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
# A text is erased or stays: no other word takes its place.
TEXT_STAYS = """
CREATE FUNCTION leo_keep_text() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['text', 'salt', 'erased_at', 'erase_entry_id'];
BEGIN
    IF TG_OP = 'DELETE' OR OLD.erased_at IS NOT NULL OR NEW.erased_at IS NULL
        OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free) THEN
        RAISE EXCEPTION 'history: a text is only erased, and once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM audit_principal p WHERE p.id = OLD.author_id AND p.is_held) THEN
        RAISE EXCEPTION 'history: the author is under a legal hold' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
# A revoked token stays revoked, by the entry that says so; no token is deleted or given to somebody else.
ENDS_ONCE = """
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
END $$
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
END $$
"""
STAY = {
    "audit_principal": (PRINCIPAL_STAYS, "leo_keep_principal()"),
    "audit_identity": (IDENTITY_STAYS, "leo_keep_identity()"),
    "audit_text": (TEXT_STAYS, "leo_keep_text()"),
    "audit_apitoken": (ENDS_ONCE, "leo_keep_token()"),
}
BEGIN_AND_END = {
    "audit_identity": ("identity.linked", ("identity.unlinked", "person.erased")),
    "audit_person_link": ("persons.linked", ("persons.unlinked",)),
    "audit_rolegrant": ("role.granted", ("role.ended",)),
    "audit_apitoken": ("token.issued", ("person.erased",)),
    "audit_proposal": ("change.proposed", ("change.approved", "change.declined", "change.withdrawn")),
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_log_guards")]

    operations = [
        *(migrations.RunSQL(create) for create, _ in STAY.values()),
        *(on_rows(table, "history_rows", "BEFORE UPDATE OR DELETE", call) for table, (_, call) in STAY.items()),
        *(refuse_truncate(table) for table in STAY),
        create_history_function(),
        keep_history("audit_rolegrant", "ends_at", "end_entry_id"),
        keep_history("audit_person_link", "ends_at", "end_entry_id"),
        keep_history("audit_proposal", "decided_at", "decided_by_id", "status", "end_entry_id"),
        *(names_entry(table, "log_entry_id", begun, when="AFTER") for table, (begun, _) in BEGIN_AND_END.items()),
        *(names_entry(table, "end_entry_id", *ended, when="AFTER") for table, (_, ended) in BEGIN_AND_END.items()),
        names_entry("audit_principal", "hold_entry_id", "hold.set", "hold.ended", watched=("is_held",)),
        names_entry("audit_principal", "erase_entry_id", "person.erased", watched=("salt", "name")),
        names_entry("audit_text", "erase_entry_id", "person.erased", "texts.erased", watched=("erased_at",)),
        # What a legal hold names stays named until it is in the tree.
        create_placed_function(),
        keeps_until_placed("audit_principal", "hold_entry_id"),
        append_only("audit_participation"),
        migrations.RunSQL(ONE_PERSON_ONE_DUTY),
        on_rows("audit_participation", "one_person_one_duty", "BEFORE INSERT", "leo_refuse_second_duty()"),
    ]
