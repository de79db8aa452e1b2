"""A revoked token stays revoked, by the entry that says so, and no token is deleted or given to somebody else."""

from django.db import migrations

from audit.appendonly import keep_history


class Migration(migrations.Migration):
    dependencies = [("audit", "0014_copy_and_anchors")]

    operations = [keep_history("audit_apitoken", "revoked_at", "end_entry_id", "expires_at")]
