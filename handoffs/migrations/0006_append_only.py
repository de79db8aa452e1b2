from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0005_evidence")]

    operations = [
        append_only("leo_signing_downgrade"),
        append_only("leo_transparency_record"),
        append_only("leo_enforcer_rules"),
    ]
