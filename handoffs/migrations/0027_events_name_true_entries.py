"""What happened to a handoff, and what signing left, names an entry of the same transaction."""

from django.db import migrations

from audit.appendonly import names_entry

ROWS = {
    "leo_handoff_tracking": (),  # each kind of event is one of its entry
    "leo_signature_renewal": ("handoff.resigned",),
    "leo_signing_downgrade": ("signing.downgrade",),
    "leo_transparency_record": ("signing.logged",),
    "leo_trusted_root": ("trusted_root.taken",),
    "leo_trusted_root_fetch": ("trusted_root.fetched",),
    "leo_push_refusal": ("push.refused",),
}


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0026_numbers_in_place_of_names")]

    operations = [names_entry(table, "log_entry_id", *kinds, when="AFTER") for table, kinds in ROWS.items()]
