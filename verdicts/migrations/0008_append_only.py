from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0007_evidence")]

    operations = [append_only("leo_verdict_statement")]
