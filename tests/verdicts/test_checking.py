"""The task of each night: the log and the rows beside it, read by the verifier lane and nothing more."""

from __future__ import annotations

from django.db import connection

from audit.copies import restore_copy
from audit.copying import TileCopy
from audit.covering import open_alarms
from audit.keeping import log_vkeys
from audit.models import LogUpkeep, Upkeep
from leoportal.upkeep import do_upkeep
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


def test_a_wrong_bit_in_the_second_copy_is_no_alarm(portal: Portal, settings):
    """The log is whole; the trail's page says what is wrong, and the next check that it is over."""
    assert do_upkeep(Upkeep.COPY)
    copy = TileCopy(settings.LOG_COPY)
    (bundle,) = settings.LOG_COPY.glob("tile/entries/000.p/*")
    raw = bundle.read_bytes()
    bundle.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert check_log() == 1
    assert not open_alarms().exists()
    assert LogUpkeep.objects.get(name=Upkeep.CHECK).code == "copy.changed"
    assert restore_copy(copy, log_vkeys()).findings == []
    assert check_log() == 0
    assert (LogUpkeep.objects.get(name=Upkeep.CHECK).code, bundle.read_bytes()) == ("", raw)
