"""A broken glass is asked for, opened and reviewed only with an entry of the same transaction that says so."""

from django.db import migrations

from audit.appendonly import keep_history, names_entry

DROP = "DROP TRIGGER history_rows ON leo_break_glass; DROP TRIGGER append_only_table ON leo_break_glass"
WHEN_OPENED = ("second_id", "opened_at", "closes_at", "review_due_at", "decision_id", "is_unreviewed", "open_entry_id")
WHEN_REVIEWED = ("reviewed_at", "reviewed_by_id", "review_id", "review_entry_id")


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0019_rows_name_their_entries")]

    operations = [
        migrations.RunSQL(DROP, migrations.RunSQL.noop),
        keep_history("leo_break_glass", *WHEN_REVIEWED, *WHEN_OPENED),
        names_entry("leo_break_glass", "log_entry_id", "break_glass.requested"),
        names_entry("leo_break_glass", "open_entry_id", "break_glass.opened", watched=("opened_at",)),
        names_entry("leo_break_glass", "review_entry_id", "break_glass.reviewed", watched=("reviewed_at",)),
    ]
