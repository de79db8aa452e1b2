"""Every row of the registry names the entry that says so, and the one that says that it ended."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.db.models import Q

from audit.appendonly import keep_history

# No entry can be found afterwards for rows from before: begin anew rather than have rows that name none.
REFUSE_OLD = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM audit_rolegrant) THEN
        RAISE EXCEPTION 'these people were registered before their rows named their entries; begin anew (make reset)';
    END IF;
END $$
"""
IDENTITY_ENDS = """
CREATE OR REPLACE FUNCTION leo_keep_identity() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY['ends_at', 'end_entry_id', 'value'];
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - free) IS DISTINCT FROM (to_jsonb(NEW) - free)
        OR (OLD.ends_at IS NOT NULL
            AND (NEW.ends_at, NEW.end_entry_id) IS DISTINCT FROM (OLD.ends_at, OLD.end_entry_id)) THEN
        RAISE EXCEPTION 'history: a name only ends, and once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.value <> OLD.value AND (NEW.value <> 'erased-' || NEW.id OR NEW.ends_at IS NULL OR EXISTS (
        SELECT FROM audit_principal p WHERE p.id = NEW.principal_id AND p.salt IS NOT NULL
    )) THEN
        RAISE EXCEPTION 'history: a name is only erased, with its owner' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
SAYS = {
    "identity": ("that it was linked", "that it ended"),
    "personlink": ("that they are one person", "that they are two"),
    "rolegrant": ("that it was granted", "that it ended"),
    "apitoken": ("that it was issued", "that it was revoked"),
    "proposal": ("that it was proposed", "that it was decided"),
}
ENDS = {
    "identity": "ends_at", "personlink": "ends_at", "rolegrant": "ends_at", "apitoken": "revoked_at",
    "proposal": "decided_at",
}  # fmt: skip
KEPT = {
    "audit_rolegrant": ("ends_at", "end_entry_id"),
    "audit_person_link": ("ends_at", "end_entry_id"),
    "audit_proposal": ("decided_at", "decided_by_id", "status", "end_entry_id"),
}


def entry(comment: str, *, null: bool = False) -> "models.ForeignKey[Any, Any]":
    """A column that names an entry."""
    return models.ForeignKey(
        db_comment=comment,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="audit.logentry",
        null=null,
    )


def naming(table: str) -> list[Operation]:
    """The two columns of a table."""
    begun, ended = SAYS[table]
    is_over = Q(**{f"{ENDS[table]}__isnull": False}, end_entry__isnull=False)
    named = models.CheckConstraint(
        name=f"{table}_end_is_named", condition=is_over | Q(**{ENDS[table]: None}, end_entry=None)
    )
    return [
        migrations.AddField(table, "log_entry", entry(begun)),
        migrations.AddField(table, "end_entry", entry(ended, null=True)),
        migrations.AddConstraint(table, named),
    ]


def guards(table: str, *columns: str) -> list[Operation]:
    """The table's guards anew, with the column that may be set once."""
    drop = f"DROP TRIGGER history_rows ON {table}; DROP TRIGGER append_only_table ON {table}"
    return [migrations.RunSQL(drop, migrations.RunSQL.noop), keep_history(table, *columns)]


class Migration(migrations.Migration):
    dependencies = [("audit", "0010_alarm_costs_less")]

    operations = [
        migrations.RunSQL(REFUSE_OLD, migrations.RunSQL.noop),
        *(operation for table in SAYS for operation in naming(table)),
        migrations.RunSQL(IDENTITY_ENDS, migrations.RunSQL.noop),
        *(operation for table, columns in KEPT.items() for operation in guards(table, *columns)),
    ]
