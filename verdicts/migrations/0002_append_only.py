from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0001_initial"), ("audit", "0002_append_only")]

    operations = [
        append_only("leo_gate_executions"),
        append_only("leo_verification_results"),
        append_only("pr_approval_audit"),
        append_only("leo_agent_report"),
        append_only("leo_policy_version"),
    ]
