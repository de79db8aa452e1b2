"""A request and a task act in one lane; nothing of it is left for the next."""

from __future__ import annotations

import pytest
from django.db import ProgrammingError, connection, transaction
from psycopg_pool import ConnectionPool

from audit.events import GRANTED
from leoportal.celery import app, lane_of
from leoportal.lanes.matrix import read_matrix
from leoportal.lanes.pooling import forget_role
from leoportal.lanes.switching import LANE_OF, acting_in
from leoportal.stack.portal import PUBLISHER, QUEUES


def current_role():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return cursor.fetchone()[0]


def test_lanes_nest_and_end(transactional_db):
    before = current_role()
    with acting_in("plan"):
        with acting_in("lead"):
            assert current_role() == "leo_lead"
        assert current_role() == "leo_plan"
        with pytest.raises(ZeroDivisionError), acting_in("visitor"):
            raise ZeroDivisionError
        assert current_role() == "leo_plan"
    assert current_role() == before


@pytest.mark.threat("DB-03")
def test_a_connection_made_anew_acts_in_the_lane_of_now_and_not_of_before(transactional_db):
    with acting_in("plan"):
        connection.close()
        assert current_role() == "leo_plan"
    connection.close()
    assert current_role() == "leoportal_owner"


@pytest.mark.threat("DB-03")
def test_a_lane_that_cannot_be_left_takes_its_connection_with_it(transactional_db, monkeypatch):
    with acting_in("plan"):
        current_role()
        connection.connection.close()
    assert connection.connection is None
    assert current_role() == "leoportal_owner"


def test_a_rollback_inside_a_lane_stays_in_it(transactional_db):
    with acting_in("plan"):
        with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM leo_log_entry")
        assert current_role() == "leo_plan"


@pytest.mark.threat("DB-03")
def test_the_pool_gives_no_request_the_role_of_another(db, address):
    with ConnectionPool(address("web"), min_size=1, max_size=1, open=True, reset=forget_role) as pool:
        with pool.connection() as first:
            assert first.execute("SELECT current_user").fetchone() == ("leo_visitor",)
            first.execute("SET ROLE leo_plan")
        with pool.connection() as second:
            assert second.execute("SELECT current_user").fetchone() == ("leo_visitor",)


def test_every_role_of_a_person_has_a_lane_that_the_web_serves():
    assert set(LANE_OF) == set(GRANTED)
    assert {*LANE_OF.values(), "ingest"} == set(read_matrix().roles["web"].member_of)  # webhooks are nobody's


def test_every_task_has_a_queue_with_a_worker():
    app.loader.import_default_modules()
    tasks = {name for name in app.tasks if not name.startswith("celery.")}
    assert len(tasks) > 10
    assert {lane_of(name) for name in tasks} == {*QUEUES, PUBLISHER}
    with pytest.raises(LookupError):
        lane_of("somewhere.tasks.forgotten")
