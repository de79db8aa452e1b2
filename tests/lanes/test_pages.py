"""A page, whatever its view does, and a task reach the database in one lane."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import ProgrammingError, connection
from django.http import HttpResponse

from audit.accountability import Act
from leoportal.celery import app
from leoportal.roles import SignInBackend
from leoportal.web import VisitorMiddleware, page
from tests.web.scene import Scene


def current_role():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return cursor.fetchone()[0]


@pytest.mark.threat("DB-03")
@pytest.mark.parametrize(("name", "role"), [("plan", "leo_plan"), ("lead", "leo_lead"), ("auditor", "leo_auditor")])
def test_a_page_acts_in_the_lane_of_its_reader(scene: Scene, rf, name: str, role: str):
    """A view with a bug that writes another lane's table is refused by PostgreSQL."""

    @page(Act.VIEW_TRAIL, "GET")
    def forgetful(_request):
        return HttpResponse(current_role())

    @page(Act.VIEW_TRAIL, "GET")
    def buggy(_request):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE audit_rolegrant SET role = 'LEAD'")

    request = rf.get("/")
    request.user = SignInBackend().get_user(User.objects.get(username=name).pk)
    answer = forgetful(request)
    assert isinstance(answer, HttpResponse)
    assert answer.content.decode() == role
    with pytest.raises(ProgrammingError, match="permission denied"):
        buggy(request)


@pytest.mark.threat("DB-03")
def test_before_and_after_its_view_a_request_is_a_visitors(db, rf):
    answer = VisitorMiddleware(lambda _request: HttpResponse(current_role()))(rf.get("/"))
    assert isinstance(answer, HttpResponse)
    assert answer.content.decode() == "leo_visitor"
    assert current_role() == "leoportal_owner"


@pytest.mark.threat("DB-03")
@pytest.mark.parametrize(
    ("name", "role"), [("handoffs.tasks.sweep_handoffs", "leo_enforcer"), ("verdicts.tasks.sweep_work", "leo_verifier")]
)
def test_a_task_acts_in_the_lane_of_its_queue(db, monkeypatch, name: str, role: str):
    task = app.tasks[name]
    monkeypatch.setattr(task, "run", current_role)
    assert task() == role
