from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0010_trusted_roots")]

    operations = [append_only("leo_trusted_root")]
