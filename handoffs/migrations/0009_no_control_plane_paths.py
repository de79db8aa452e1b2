from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0008_control_plane_into_raised")]

    operations = [migrations.RemoveField(model_name="handoff", name="control_plane_paths")]
