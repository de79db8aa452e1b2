from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0018_trusted_root_fetches")]

    operations = [append_only("leo_trusted_root_fetch")]
