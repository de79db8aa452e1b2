from django.db import migrations

from audit.appendonly import append_only

TABLES = ("leo_verdict_statement", "leo_policy_statement", "leo_decision_statement")


def gate_keys_only(table: str) -> migrations.RunSQL:
    """A statement is signed by an active key of the gate lane."""
    return migrations.RunSQL(
        [
            f"CREATE TRIGGER key_may_sign BEFORE INSERT ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION leo_key_may_sign('gate')",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER key_may_sign",
        ],
        f"DROP TRIGGER key_may_sign ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0009_statements"), ("handoffs", "0015_key_guards")]

    operations = [
        append_only("leo_policy_statement"),
        append_only("leo_decision_statement"),
        *(gate_keys_only(table) for table in TABLES),
    ]
