from django.db import migrations

# One look at a table that is empty on a good day; what ends an alarm is let through.
REFUSE = """
CREATE FUNCTION leo_refuse_in_alarm() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    alarm leo_log_alarm;
BEGIN
    IF NEW.kind <> 'epoch.opened' THEN
        SELECT a.* INTO alarm FROM leo_log_alarm a
         WHERE a.created_at > coalesce((SELECT created_at FROM leo_log_epoch ORDER BY number DESC LIMIT 1), '-infinity')
         ORDER BY a.id LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%', alarm.code USING ERRCODE = 'LG001', DETAIL = alarm.detail;
        END IF;
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION leo_refuse_in_alarm() FROM PUBLIC;
CREATE TRIGGER alarm BEFORE INSERT ON leo_log_entry FOR EACH ROW EXECUTE FUNCTION leo_refuse_in_alarm();
ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER alarm;
"""
UNDO = "DROP TRIGGER alarm ON leo_log_entry; DROP FUNCTION leo_refuse_in_alarm();"


class Migration(migrations.Migration):
    dependencies = [("audit", "0008_log_guards")]

    operations = [migrations.RunSQL(REFUSE, UNDO)]
