"""Give the runtime logins exactly what they need. Run as the schema's owner, after `migrate`.

The portal's login may change ordinary tables; on the append-only ones it may read and insert, nothing else. The
hook's login may call one function and report a refusal.
"""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import connection
from psycopg import sql

APPEND_ONLY: Final = (
    "leo_handoff_tracking",
    "leo_verification_results",
    "leo_gate_executions",
    "pr_approval_audit",
    "leo_log_entry",
    "leo_log_leaf",
    "leo_log_head",
    "audit_participation",
    "leo_agent_report",
    "leo_bundle_check",
    "leo_decision_statement",
    "leo_enforcer_rules",
    "leo_merge_intent",
    "leo_policy_statement",
    "leo_policy_version",
    "leo_ref_intent",
    "leo_signature",
    "leo_signing_downgrade",
    "leo_transparency_record",
    "leo_trusted_root",
    "leo_verdict_statement",
)


class Command(BaseCommand):
    """Grants for the runtime logins."""

    help = "Grant the runtime logins what they need, and nothing else."

    def handle(self, *_args: Any, **options: Any) -> None:
        """Grant; safe to repeat."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT rolname FROM pg_roles WHERE rolname IN ('leoportal_app', 'leoportal_hook')")
            found = {row[0] for row in cursor.fetchall()}
            for role in sorted(found):
                cursor.execute(self._sql("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}", role))
                cursor.execute(self._sql("REVOKE CREATE ON SCHEMA public FROM {role}", role))
                cursor.execute(self._sql("GRANT USAGE ON SCHEMA public TO {role}", role))
            if "leoportal_app" in found:
                role = "leoportal_app"
                cursor.execute(
                    self._sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}", role)
                )
                cursor.execute(self._sql("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}", role))
                for table in APPEND_ONLY:
                    cursor.execute(self._sql("REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {role}", role, table))
            if "leoportal_hook" in found:
                role = "leoportal_hook"
                cursor.execute(self._sql("GRANT INSERT ON leo_push_refusal TO {role}", role))
                cursor.execute(self._sql("GRANT USAGE ON SEQUENCE leo_push_refusal_id_seq TO {role}", role))
                cursor.execute(
                    self._sql("GRANT EXECUTE ON FUNCTION leo_may_update_ref(text, text, text, text) TO {role}", role)
                )
        if options["verbosity"] > 0:
            self.stdout.write(f"granted: {', '.join(sorted(found)) or 'no runtime login here'}")

    def _sql(self, text: str, role: str, table: str = "public") -> sql.Composed:
        return sql.SQL(text).format(role=sql.Identifier(role), table=sql.Identifier(table))
