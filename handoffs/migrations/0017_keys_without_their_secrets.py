from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("handoffs", "0016_clock_readings")]

    operations = [
        migrations.AlterModelOptions(name="signingkey", options={"base_manager_name": "objects"}),
        # They read what their caller may not: a lane that signs may not lock keys, one that inserts may not read all.
        *(
            migrations.RunSQL(
                f"ALTER FUNCTION {name}() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
                f"ALTER FUNCTION {name}() SECURITY INVOKER RESET search_path",
            )
            for name in ("leo_key_may_sign", "leo_signed_was_verified")
        ),
    ]
