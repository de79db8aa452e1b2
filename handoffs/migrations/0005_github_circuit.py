"""Whether a GitHub answers: a row for each, so that its workers do not all ask in vain."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0004_github_guards")]

    operations = [
        migrations.CreateModel(
            name="GitHubCircuit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("api_url", models.CharField(max_length=200, unique=True)),
                ("failing_since", models.DateTimeField(null=True)),
                ("tries", models.PositiveIntegerField(db_comment="in vain, since then", default=0)),
                ("next_try_at", models.DateTimeField(null=True)),
            ],
            options={"db_table": "leo_github_circuit"},
        ),
    ]
