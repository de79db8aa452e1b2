from django.db import migrations

from audit.appendonly import append_only, create_function


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        create_function(),
        append_only("leo_log_entry"),
        append_only("leo_log_leaf"),
        append_only("leo_log_head"),
    ]
