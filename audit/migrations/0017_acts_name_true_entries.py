"""What 0011 made every row of the registry name is looked at, too: an entry of the same transaction and kind."""

from django.db import migrations
from django.db.migrations.operations.base import Operation

from audit.appendonly import names_entry

ENDS = {
    "audit_identity": ("identity.linked", ("identity.unlinked", "person.erased")),
    "audit_person_link": ("persons.linked", ("persons.unlinked",)),
    "audit_rolegrant": ("role.granted", ("role.ended",)),
    "audit_apitoken": ("token.issued", ("person.erased",)),
    "audit_proposal": ("change.proposed", ("change.approved", "change.declined", "change.withdrawn")),
}


def both(table: str) -> list[Operation]:
    """How its rows begin and end."""
    begun, ended = ENDS[table]
    return [
        names_entry(table, "log_entry_id", begun, when="AFTER"),
        names_entry(table, "end_entry_id", *ended, when="AFTER"),
    ]


class Migration(migrations.Migration):
    dependencies = [("audit", "0016_tokens_end_once")]

    operations = [
        *(operation for table in ENDS for operation in both(table)),
        names_entry("leo_log_epoch", "log_entry_id", "epoch.opened", when="AFTER"),
        names_entry("leo_log_quorum", "log_entry_id", "quorum.set", when="AFTER"),
    ]
