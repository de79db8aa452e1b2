from django.db import migrations

from audit.appendonly import keep_history

WHEN_OPENED = ("second_id", "opened_at", "closes_at", "review_due_at", "decision_id", "is_unreviewed")


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0013_break_glass"), ("audit", "0006_people_guards")]

    operations = [keep_history("leo_break_glass", "reviewed_at", "reviewed_by_id", "review_id", *WHEN_OPENED)]
