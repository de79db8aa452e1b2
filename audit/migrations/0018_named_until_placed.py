"""What a legal hold names stays named until it is in the tree."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import create_placed_function, keeps_until_placed


class Migration(migrations.Migration):
    dependencies = [("audit", "0017_acts_name_true_entries")]

    operations = [create_placed_function(), keeps_until_placed("audit_principal", "hold_entry_id")]
