import django.db.models.deletion
from django.db import migrations, models

# No entry can be found afterwards for rows from before: begin anew rather than have rows that name none.
REFUSE_OLD = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM handoffs_repository) OR EXISTS (SELECT FROM handoffs_signingkey) THEN
        RAISE EXCEPTION 'these rows were made before they named their entries; begin anew (make reset)';
    END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0012_rows_name_their_entries"),
        ("handoffs", "0023_one_index_of_changes"),
    ]

    operations = [
        migrations.RunSQL(REFUSE_OLD, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="handoff",
            name="erase_entry",
            field=models.ForeignKey(
                db_comment="that the bytes of its bundle are erased",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="keyrotation",
            name="end_entry",
            field=models.ForeignKey(
                db_comment="that the keys were switched, or it was cancelled",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="keyrotation",
            name="log_entry",
            field=models.ForeignKey(
                db_comment="that it was requested",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="repository",
            name="log_entry",
            field=models.ForeignKey(
                db_comment="that it is governed",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="signingkey",
            name="log_entry",
            field=models.ForeignKey(
                db_comment="that it was made",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="signingkey",
            name="retire_entry",
            field=models.ForeignKey(
                db_comment="that it was replaced, or expired",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddField(
            model_name="signingkey",
            name="revoke_entry",
            field=models.ForeignKey(
                db_comment="that it was revoked; of the newest revocation",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.logentry",
            ),
        ),
        migrations.AddConstraint(
            model_name="keyrotation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("end_entry", None), ("step__in", ("requested", "made", "transition-signed"))),
                    models.Q(
                        models.Q(("step__in", ("requested", "made", "transition-signed")), _negated=True),
                        ("end_entry__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="keyrotation_end_is_named",
            ),
        ),
        migrations.AddConstraint(
            model_name="signingkey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("retire_entry__isnull", False), ("retired_at__isnull", False)),
                    models.Q(("retire_entry", None), ("retired_at", None)),
                    _connector="OR",
                ),
                name="signingkey_retirement_is_named",
            ),
        ),
        migrations.AddConstraint(
            model_name="signingkey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("revoke_entry__isnull", False), ("revoked_at__isnull", False)),
                    models.Q(("revoke_entry", None), ("revoked_at", None)),
                    _connector="OR",
                ),
                name="signingkey_revocation_is_named",
            ),
        ),
    ]
