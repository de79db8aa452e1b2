"""What was tampered with on GitHub is append-only; a command ends once. Both name their entries."""

from django.db import migrations

from audit.appendonly import append_only, keep_history, names_entry


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0034_projections")]

    operations = [
        append_only("leo_github_tampering"),
        names_entry("leo_github_tampering", "log_entry_id", "projection.repaired", "marker.forged"),
        keep_history("leo_github_command", "done_at", "outcome", "code", "answer", "log_entry_id"),
        names_entry("leo_github_command", "log_entry_id", "command.done", "command.refused"),
    ]
