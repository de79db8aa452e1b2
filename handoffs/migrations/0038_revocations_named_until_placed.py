"""What a revocation of a key names stays named until it is in the tree."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import keeps_until_placed


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0037_workflow_runs_name_entries"), ("audit", "0018_named_until_placed")]

    operations = [keeps_until_placed("handoffs_signingkey", "revoke_entry_id")]
