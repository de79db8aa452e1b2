"""What happened to a handoff, what was checked and what signing left: append-only, each with its entry of the log."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import append_only, names_entry, on_rows

# A repository stays what was enrolled, and none of its numbers is given twice.
REPOSITORY_STAYS = """
CREATE FUNCTION leo_keep_repository() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - 'next_number') IS DISTINCT FROM (to_jsonb(NEW) - 'next_number')
        OR NEW.next_number < OLD.next_number THEN
        RAISE EXCEPTION 'history: repository % stays what was enrolled, and no number is given twice', OLD.full_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
APPEND_ONLY = (
    "leo_handoff_tracking",
    "leo_bundle_check",
    "leo_ref_intent",
    "leo_signature",
    "leo_signature_renewal",
    "leo_signing_downgrade",
    "leo_transparency_record",
    "leo_trusted_root",
    "leo_trusted_root_fetch",
    "leo_enforcer_rules",
)
NAMING = {
    "leo_handoff_tracking": (),  # each kind of event is one of its entry
    "leo_signature_renewal": ("handoff.resigned",),
    "leo_signing_downgrade": ("signing.downgrade",),
    "leo_transparency_record": ("signing.logged",),
    "leo_trusted_root": ("trusted_root.taken",),
    "leo_trusted_root_fetch": ("trusted_root.fetched",),
    "leo_push_refusal": ("push.refused",),
}


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0001_initial"), ("audit", "0003_people_guards")]

    operations = [
        *(append_only(table) for table in APPEND_ONLY),
        *(names_entry(table, "log_entry_id", *kinds, when="AFTER") for table, kinds in NAMING.items()),
        migrations.RunSQL(REPOSITORY_STAYS),
        on_rows("handoffs_repository", "history_rows", "BEFORE UPDATE OR DELETE", "leo_keep_repository()"),
        names_entry("handoffs_repository", "log_entry_id", "repository.governed"),
        names_entry("handoffs_handoff", "erase_entry_id", "bundles.erased"),
    ]
