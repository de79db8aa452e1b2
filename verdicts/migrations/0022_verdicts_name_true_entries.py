"""Verdicts, decisions, reports, statements, policies, merges and exports name an entry of the same transaction and kind."""

from django.db import migrations

from audit.appendonly import names_entry

ROWS = {
    "leo_gate_executions": "gate.reported",
    "leo_agent_report": "agent.reported",
    "leo_verification_results": "verdict.recorded",
    "pr_approval_audit": "decision.recorded",
    "leo_verdict_statement": "verdict.attested",
    "leo_decision_statement": "decision.attested",
    "leo_policy_version": "policy.enacted",
    "leo_policy_statement": "policy.attested",
    "leo_merge_intent": "merge.intended",
    "leo_export": "export.made",
}


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0021_numbers_in_place_of_names")]

    operations = [
        *(names_entry(table, "log_entry_id", kind, when="AFTER") for table, kind in ROWS.items()),
        names_entry("leo_export", "seal_id", "export.sealed", when="AFTER"),
    ]
