import django.db.models.deletion
from django.db import migrations, models

# No entry can be found afterwards for rows from before: begin anew rather than have rows that name none.
REFUSE_OLD = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM leo_break_glass) THEN
        RAISE EXCEPTION 'these rows were made before they named their entries; begin anew (make reset)';
    END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0012_rows_name_their_entries"),
        ("handoffs", "0024_rows_name_their_entries"),
        ("verdicts", "0018_texts_beside_the_log"),
    ]

    operations = [
        migrations.RunSQL(REFUSE_OLD, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="breakglass",
            name="log_entry",
            field=models.ForeignKey(
                db_comment="that it was asked for",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="breakglass",
            name="open_entry",
            field=models.ForeignKey(
                db_comment="that it was opened",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="breakglass",
            name="review_entry",
            field=models.ForeignKey(
                db_comment="that it was reviewed",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddConstraint(
            model_name="breakglass",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("open_entry__isnull", False), ("opened_at__isnull", False)),
                    models.Q(("open_entry", None), ("opened_at", None)),
                    _connector="OR",
                ),
                name="breakglass_opening_is_named",
            ),
        ),
        migrations.AddConstraint(
            model_name="breakglass",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("review_entry__isnull", False), ("reviewed_at__isnull", False)),
                    models.Q(("review_entry", None), ("reviewed_at", None)),
                    _connector="OR",
                ),
                name="breakglass_review_is_named",
            ),
        ),
    ]
