"""The task of each night: the log and the rows beside it, read by the verifier lane and nothing more."""

from __future__ import annotations

from django.db import connection

from audit.covering import open_alarms
from tests.support.portal import Portal
from verdicts.models import PolicyVersion
from verdicts.tasks import check_log


def test_a_row_changed_beside_the_log_is_an_alarm_by_morning(portal: Portal):
    assert check_log() == 0
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE leo_policy_version DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE leo_policy_version SET digest = reverse(digest)")
        cursor.execute("ALTER TABLE leo_policy_version ENABLE ALWAYS TRIGGER append_only_rows")
    assert check_log() == PolicyVersion.objects.count()
    assert [alarm.code for alarm in open_alarms()] == ["log.row_changed"]
