from django.db import migrations

from audit.appendonly import append_only, names_entry

ROWS = {
    "leo_protection_expectation": ("protection.expected",),
    "leo_protection_reading": ("protection.agreed", "protection.drifted"),
    "leo_canary_run": ("canary.refused", "canary.merged", "canary.unproven"),
}


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0032_protection")]

    operations = [
        *(append_only(table) for table in ROWS),
        *(names_entry(table, "log_entry_id", *kinds, when="AFTER") for table, kinds in ROWS.items()),
    ]
