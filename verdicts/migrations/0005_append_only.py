from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0004_merge_intent")]

    operations = [append_only("leo_merge_intent")]
