import django.db.models.deletion
from django.db import migrations, models

# The leaves of verdicts and decisions from before hold their texts, and leaves cannot be rewritten: begin anew.
REFUSE_OLD = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM leo_verification_results) OR EXISTS (SELECT FROM pr_approval_audit) THEN
        RAISE EXCEPTION 'these verdicts were recorded before their texts could be erased; begin anew (make reset)';
    END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0008_log_guards"), ("verdicts", "0017_export_seal")]

    operations = [
        migrations.RunSQL(REFUSE_OLD, migrations.RunSQL.noop),
        migrations.RemoveField(model_name="verdict", name="justification"),
        migrations.RemoveField(model_name="verdict", name="question"),
        migrations.RemoveField(model_name="decision", name="justification"),
        migrations.AddField(
            model_name="verdict",
            name="justification",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="audit.erasabletext"
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="verdict",
            name="question",
            field=models.ForeignKey(
                db_comment="what LEAD should answer",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="audit.erasabletext",
            ),
        ),
        migrations.AddField(
            model_name="decision",
            name="justification",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="audit.erasabletext"
            ),
            preserve_default=False,
        ),
    ]
