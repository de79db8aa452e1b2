import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0013_rows_name_true_entries"),
    ]

    operations = [
        migrations.CreateModel(
            name="LogAnchor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(db_comment="SHA-256 of the signed note", max_length=64)),
                (
                    "bundle",
                    models.TextField(db_comment="Sigstore bundle v0.3: hashedrekord entry with its inclusion proof"),
                ),
                ("log_index", models.BigIntegerField()),
                ("identity", models.CharField(max_length=300)),
                ("issuer", models.CharField(max_length=300)),
                (
                    "root_digest",
                    models.CharField(db_comment="of the Sigstore trusted root it was checked with", max_length=64),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "checkpoint",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="anchor", to="audit.logcheckpoint"
                    ),
                ),
            ],
            options={
                "db_table": "leo_log_anchor",
            },
        ),
        migrations.CreateModel(
            name="LogUpkeep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        choices=[
                            ("copy", "Second copy"),
                            ("git", "Anchor in git"),
                            ("rekor", "Anchor in Rekor"),
                            ("check", "Nightly check"),
                        ],
                        max_length=5,
                        unique=True,
                    ),
                ),
                ("size", models.BigIntegerField(db_comment="of the checkpoint that it was last done for", default=0)),
                ("done_at", models.DateTimeField(null=True)),
                (
                    "code",
                    models.CharField(blank=True, db_comment="of the last failure; empty: it worked", max_length=60),
                ),
                ("error", models.CharField(blank=True, max_length=500)),
                ("next_try_at", models.DateTimeField()),
            ],
            options={
                "db_table": "leo_log_upkeep",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name__in", ["copy", "git", "rekor", "check"])), name="log_upkeep_known"
                    )
                ],
            },
        ),
        append_only("leo_log_anchor"),
    ]
