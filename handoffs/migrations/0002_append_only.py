from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0001_initial"), ("audit", "0002_append_only")]

    operations = [
        append_only("leo_handoff_tracking"),
        append_only("leo_bundle_check"),
        append_only("leo_ref_intent"),
        append_only("leo_signature"),
    ]
