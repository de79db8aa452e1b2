"""Reports, verdicts, decisions, statements and exports: append-only, each with an entry of its transaction and kind."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import append_only, keep_history, names_entry, on_rows

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
}
STATEMENTS = ("leo_verdict_statement", "leo_policy_statement", "leo_decision_statement")
WHEN_OPENED = ("second_id", "opened_at", "closes_at", "review_due_at", "decision_id", "is_unreviewed", "open_entry_id")
WHEN_REVIEWED = ("reviewed_at", "reviewed_by_id", "review_id", "review_entry_id")


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0001_initial"), ("handoffs", "0003_signing_guards")]

    operations = [
        *(append_only(table) for table in ROWS),
        *(names_entry(table, "log_entry_id", kind, when="AFTER") for table, kind in ROWS.items()),
        # A statement is signed by an active key of the gate lane.
        *(on_rows(table, "key_may_sign", "BEFORE INSERT", "leo_key_may_sign('gate')") for table in STATEMENTS),
        names_entry("leo_export", "log_entry_id", "export.made", when="AFTER"),
        names_entry("leo_export", "seal_id", "export.sealed", when="AFTER"),
        append_only("leo_landed_commit"),
        names_entry("leo_landed_commit", "log_entry_id", "commit.landed", "bypass.detected", when="AFTER"),
        keep_history("leo_break_glass", *WHEN_REVIEWED, *WHEN_OPENED),
        names_entry("leo_break_glass", "log_entry_id", "break_glass.requested"),
        names_entry("leo_break_glass", "open_entry_id", "break_glass.opened", watched=("opened_at",)),
        names_entry("leo_break_glass", "review_entry_id", "break_glass.reviewed", watched=("reviewed_at",)),
    ]
