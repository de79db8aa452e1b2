"""Rows hold the numbers of principals; what people write is beside them, where it can be erased."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

BY = "number of the principal; 0: the portal itself"


def text(*, null: bool = False) -> "models.ForeignKey[Any, Any]":
    """A column that names a text."""
    return models.ForeignKey(
        blank=null,
        null=null,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="audit.erasabletext",
    )


class Migration(migrations.Migration):
    dependencies = [("audit", "0015_log_without_names"), ("handoffs", "0025_rows_name_true_entries")]

    operations = [
        migrations.RemoveField(model_name="handoffevent", name="actor"),
        migrations.AddField(
            model_name="handoffevent",
            name="principal",
            field=models.BigIntegerField(db_comment=BY, default=0),
            preserve_default=False,
        ),
        migrations.RemoveField(model_name="signingdowngrade", name="justification"),
        migrations.AddField(model_name="signingdowngrade", name="justification", field=text(), preserve_default=False),
        migrations.RemoveField(model_name="signingkey", name="revocation_reason"),
        migrations.AddField(model_name="signingkey", name="revocation_reason", field=text(null=True)),
        migrations.RemoveField(model_name="keyrotation", name="requested_by"),
        migrations.AddField(
            model_name="keyrotation",
            name="requested_by",
            field=models.BigIntegerField(db_comment=BY, default=0),
            preserve_default=False,
        ),
        migrations.RemoveField(model_name="keyrotation", name="reason"),
        migrations.AddField(model_name="keyrotation", name="reason", field=text(), preserve_default=False),
    ]
