"""What GitHub said and was asked: evidence is append-only, a command ends once, and both name their entries."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import append_only, keep_history, names_entry

# Half the time of an insert of 20 kB goes into PostgreSQL's own compression; not every server is built with this one.
QUICK = """
DO $$ BEGIN
    ALTER TABLE leo_webhook_delivery ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    ALTER TABLE leo_webhook_delivery ALTER COLUMN body SET STORAGE EXTERNAL;
END $$
"""
APPEND_ONLY = {
    "leo_workflow_evidence": ("evidence.received",),
    "leo_github_tampering": ("projection.repaired", "marker.forged"),
}
PROTECTION = {
    "leo_protection_expectation": ("protection.expected",),
    "leo_protection_reading": ("protection.agreed", "protection.drifted"),
    "leo_canary_run": ("canary.refused", "canary.merged", "canary.unproven"),
}


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0003_signing_guards")]

    operations = [
        migrations.RunSQL(QUICK),
        *(append_only(table) for table in (*APPEND_ONLY, *PROTECTION)),
        *(names_entry(table, "log_entry_id", *kinds) for table, kinds in APPEND_ONLY.items()),
        *(names_entry(table, "log_entry_id", *kinds, when="AFTER") for table, kinds in PROTECTION.items()),
        names_entry("leo_github_repository", "log_entry_id", "repository.governed"),
        names_entry("leo_workflow_run", "log_entry_id", "handoff.triggered"),
        keep_history("leo_github_command", "done_at", "outcome", "code", "answer", "log_entry_id"),
        names_entry("leo_github_command", "log_entry_id", "command.done", "command.refused"),
    ]
