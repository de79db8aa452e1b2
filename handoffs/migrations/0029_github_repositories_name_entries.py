from django.db import migrations

from audit.appendonly import names_entry


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0028_github_repositories")]

    operations = [names_entry("leo_github_repository", "log_entry_id", "repository.governed")]
