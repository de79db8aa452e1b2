"""A hold, and what is erased, changes only with an entry of the same transaction that says so."""

from django.db import migrations

from audit.appendonly import names_entry

PRINCIPAL_STAYS = """
CREATE OR REPLACE FUNCTION leo_keep_principal() RETURNS trigger LANGUAGE plpgsql AS $$
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
TEXT_STAYS = """
CREATE OR REPLACE FUNCTION leo_keep_text() RETURNS trigger LANGUAGE plpgsql AS $$
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


class Migration(migrations.Migration):
    dependencies = [("audit", "0012_rows_name_their_entries")]

    operations = [
        migrations.RunSQL(PRINCIPAL_STAYS, migrations.RunSQL.noop),
        migrations.RunSQL(TEXT_STAYS, migrations.RunSQL.noop),
        names_entry("audit_principal", "hold_entry_id", "hold.set", "hold.ended", watched=("is_held",)),
        names_entry("audit_principal", "erase_entry_id", "person.erased", watched=("salt", "name")),
        names_entry("audit_text", "erase_entry_id", "person.erased", "texts.erased", watched=("erased_at",)),
    ]
