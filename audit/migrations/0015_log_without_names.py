from django.db import migrations, models

# Entries from before hold names in their bodies, and leaves cannot be rewritten: begin anew rather than keep two forms.
REFUSE_OLD = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM leo_log_entry) THEN
        RAISE EXCEPTION 'this log was begun before its entries did without names; begin anew (make reset)';
    END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0014_copy_and_anchors")]

    operations = [
        migrations.RunSQL(REFUSE_OLD, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name="logentry", name="log_by_actor_and_time"),
        migrations.RemoveField(model_name="logentry", name="actor"),
        migrations.AlterField(
            model_name="logentry",
            name="principal",
            field=models.BigIntegerField(db_comment="number of the principal; 0: the portal itself"),
        ),
        migrations.AddIndex(
            model_name="logentry",
            index=models.Index(fields=["principal", "created_at", "id"], name="log_by_principal_and_time"),
        ),
        migrations.AlterField(
            model_name="erasabletext",
            name="kind",
            field=models.CharField(
                choices=[
                    ("decision", "Decision"),
                    ("break-glass", "Break Glass"),
                    ("proposal", "Proposal"),
                    ("operation", "Operation"),
                ],
                max_length=11,
            ),
        ),
    ]
