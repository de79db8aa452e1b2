from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def principal(comment: str = "") -> "models.ForeignKey[Any, Any]":
    """A column that names a principal."""
    return models.ForeignKey(
        db_comment=comment or None,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="audit.principal",
    )


class Migration(migrations.Migration):
    dependencies = [("audit", "0015_log_without_names"), ("verdicts", "0020_rows_name_true_entries")]

    operations = [
        migrations.RemoveField(model_name="policyversion", name="enacted_by"),
        migrations.RemoveField(model_name="export", name="actor"),
        migrations.AddField(
            model_name="export", name="principal", field=principal("who asked for it"), preserve_default=False
        ),
        migrations.RemoveField(model_name="agentreport", name="reporter"),
        migrations.AddField(model_name="agentreport", name="reporter", field=principal(), preserve_default=False),
        migrations.RemoveConstraint(model_name="gateexecution", name="gateexecution_run_once"),
        migrations.RemoveField(model_name="gateexecution", name="reporter"),
        migrations.AddField(model_name="gateexecution", name="reporter", field=principal(), preserve_default=False),
        migrations.AddConstraint(
            model_name="gateexecution",
            constraint=models.UniqueConstraint(
                fields=("pull_request", "gate", "reporter", "run_id"), name="gateexecution_run_once"
            ),
        ),
    ]
