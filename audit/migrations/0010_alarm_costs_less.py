from django.db import migrations

# Every entry pays for this: one look at a table that is empty on a good day, and only then which alarm is still open.
REFUSE = """
CREATE OR REPLACE FUNCTION leo_refuse_in_alarm() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    alarm leo_log_alarm;
BEGIN
    IF EXISTS (SELECT FROM leo_log_alarm) AND NEW.kind <> 'epoch.opened' THEN
        SELECT a.* INTO alarm FROM leo_log_alarm a
         WHERE a.created_at > coalesce((SELECT created_at FROM leo_log_epoch ORDER BY number DESC LIMIT 1), '-infinity')
         ORDER BY a.id LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%', alarm.code USING ERRCODE = 'LG001', DETAIL = alarm.detail;
        END IF;
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0009_acts_end_with_an_alarm")]

    operations = [migrations.RunSQL(REFUSE, migrations.RunSQL.noop)]
