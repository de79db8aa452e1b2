from django.db import migrations

from audit.appendonly import names_entry


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0036_pulls_on_github")]

    operations = [names_entry("leo_workflow_run", "log_entry_id", "handoff.triggered")]
