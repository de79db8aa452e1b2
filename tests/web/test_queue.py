"""PLAN's queue and list: why each row waits, filters and pages by address, and what an open page is told."""

from __future__ import annotations

import re

import pytest

from handoffs.models import PullRequest, PullStatus
from tests.web.asking import text_of
from tests.web.scene import Scene, finding
from verdicts import evidence
from verdicts.queueing import for_glance, glance_at
from verdicts.results import AgentKind, GateOutcome, Severity


def test_an_empty_queue_says_what_would_be_here(scene: Scene):
    text = text_of(scene.client("plan"), "/turn/")
    assert "Nothing waits for you." in text
    assert "All pull requests" in text


def test_the_queue_shows_why_each_row_waits(scene: Scene):
    scene.passing()
    weak = scene.pull(title="Ledger export")
    scene.report_agents(weak, score=60)
    text = text_of(scene.client("plan"), "/turn/")
    assert "2 waiting for you" in text
    assert "Everything holds: it needs your verdict" in text
    assert "Confidence 60.00 is below 85.00" in text
    assert "3/4" in text
    assert "0/4" in text
    assert "Security: Passed" in text
    assert "+3 −1" in text
    assert 'datetime="' in text


def test_a_list_judges_as_the_page_does(scene: Scene):
    scene.passing()
    failing = scene.pull()
    scene.report_agents(failing, score=50, findings={AgentKind.SECURITY: (finding(Severity.CRITICAL),)})
    scene.report_gates(failing, GateOutcome.SKIPPED)
    scene.pull(is_triggered=False)
    for row in glance_at(list(for_glance(PullRequest.objects.order_by("pk")))):
        pull = PullRequest.objects.get(pk=row.pull.pk)
        assert row.judgement == evidence.gather(pull, tree=pull.handoff.result_tree).judgement


def test_an_open_queue_is_told_of_changes_and_not_moved(scene: Scene):
    scene.passing()
    client = scene.client("plan")
    text = text_of(client, "/turn/")
    seen = text.partition("?seen=")[2].partition('"')[0]
    headers = {"HX-Request": "true", "HX-Target": "queue-news"}
    assert client.get(f"/turn/?seen={seen}", headers=headers).status_code == 204
    scene.passing()
    news = client.get(f"/turn/?seen={seen}", headers=headers).content.decode()
    assert "The queue changed: show it" in news
    assert "<table" not in news


def test_the_list_filters_by_state_in_its_address(scene: Scene):
    scene.passing(title="Waits for PLAN")
    done = scene.passing(title="Went back")
    PullRequest.objects.filter(pk=done.pk).update(status=PullStatus.NEEDS_REVISION)
    client = scene.client("auditor")
    both = text_of(client, "/prs/")
    assert "Waits for PLAN" in both
    assert "Went back" in both
    one = text_of(client, "/prs/?state=needs-revision")
    assert "Went back" in one
    assert "Waits for PLAN" not in one
    assert "No pull request is merged." in text_of(client, "/prs/?state=merged")


def test_beyond_a_thousand_a_state_is_counted_only_where_it_is_asked_for(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("handoffs.models.pulls.MAX_COUNTED", 2)
    pulls = [scene.pull(title=f"Change {number}") for number in range(6)]
    PullRequest.objects.filter(pk__in=[pull.pk for pull in pulls[:2]]).update(status=PullStatus.CLOSED)
    client = scene.client("auditor")
    for shown, said in (("/prs/", "2+"), ("/prs/?state=closed", "2+"), ("/prs/?state=gates-passing", "4")):
        counts = dict(re.findall(r"state=([a-z-]+)\"[^>]*><strong>([^<]+)<", text_of(client, shown)))
        assert counts == dict.fromkeys(PullStatus.values, "0") | {"closed": "2", "gates-passing": said}


def test_list_pages_are_addressed_by_the_last_row(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("verdicts.views.PAGE_SIZE", 2)
    pulls = [scene.pull(title=f"Change {number}") for number in range(5)]
    client = scene.client("plan")
    first = text_of(client, "/prs/")
    assert "Change 4" in first
    assert "Change 2" not in first
    assert f"before={pulls[3].pk}" in first
    last = text_of(client, f"/prs/?before={pulls[1].pk}")
    assert "Change 0" in last
    assert "Older" not in last
    assert client.get("/prs/?before=1;drop").status_code == 400
