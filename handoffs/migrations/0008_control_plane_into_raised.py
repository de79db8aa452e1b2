from typing import Any

from django.db import migrations


def copy_paths(apps: Any, _schema_editor: object) -> None:
    handoffs = apps.get_model("handoffs", "Handoff").objects
    for handoff in handoffs.exclude(control_plane_paths=[]).filter(raised=[]).iterator():
        handoff.raised = [
            {"kind": "control_plane", "path": path, "why": "steers the gates"} for path in handoff.control_plane_paths
        ]
        handoff.save(update_fields=["raised"])


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0007_intake")]

    operations = [migrations.RunPython(copy_paths, migrations.RunPython.noop)]
