from django.db import migrations

from audit.appendonly import append_only


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0020_signature_renewals")]

    operations = [
        append_only("leo_signature_renewal"),
        migrations.RunSQL(
            [
                "CREATE TRIGGER key_may_sign BEFORE INSERT ON leo_signature_renewal "
                "FOR EACH ROW EXECUTE FUNCTION leo_key_may_sign('enforcer')",
                "ALTER TABLE leo_signature_renewal ENABLE ALWAYS TRIGGER key_may_sign",
            ],
            "DROP TRIGGER key_may_sign ON leo_signature_renewal",
        ),
    ]
