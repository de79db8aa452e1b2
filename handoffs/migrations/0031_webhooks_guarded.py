"""Evidence of runs is append-only and names its entry; bodies of deliveries are compressed the quick way."""

from django.db import migrations

from audit.appendonly import append_only, names_entry

# Half the time of an insert of 20 kB goes into PostgreSQL's own compression; not every server is built with this one.
QUICK = """
DO $$ BEGIN
    ALTER TABLE leo_webhook_delivery ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    ALTER TABLE leo_webhook_delivery ALTER COLUMN body SET STORAGE EXTERNAL;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0030_webhooks")]

    operations = [
        append_only("leo_workflow_evidence"),
        names_entry("leo_workflow_evidence", "log_entry_id", "evidence.received"),
        migrations.RunSQL(QUICK, migrations.RunSQL.noop),
    ]
