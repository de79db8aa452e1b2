"""The repositories' pages: what each says of a repository, and making the Apps without a key in the web process."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from audit.models import LogEntry
from handoffs.actions import Enrolment, govern_on_github
from handoffs.github.live import Unseen
from handoffs.github.manifests import PERMISSIONS, ManifestError, refuse_other_app
from handoffs.github.onboarding import check_onboarding
from handoffs.models import CanaryOutcome, GitHubRepository, PullRequest, Reader
from handoffs.protecting import Attempt, Canary, expect_protection, record_canary, record_reading
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.support.protection import CONTEXTS, EXPECTED, LIVE, NOW, required, swap
from tests.web.scene import Scene

REFUSED = Canary(CanaryOutcome.REFUSED, 7, "a" * 40, (Attempt("merge the pull request", 405, "got 405: checks", True),))
DRIFTED = replace(
    LIVE, rules=swap("required_status_checks", required(*CONTEXTS[1:])), secrets=Unseen("got 403"), codeowners=None
)


@pytest.fixture
def hosted(scene: Scene, tmp_path: Path) -> GitHubRepository:
    enrolment = Enrolment(1, "acme/hosted", "main", "b" * 40, tmp_path / "mirror.git", 2, 3, 4)
    return govern_on_github(enrolment, by=OPERATOR)


def enrol(hosted: GitHubRepository, live=LIVE, *, is_observed: bool = False, canary: Canary | None = REFUSED) -> None:
    with acting_in("operator"):
        expectation = expect_protection(hosted.repository, EXPECTED, is_observed=is_observed, by=OPERATOR)
        if canary:
            record_canary(expectation, canary, by=OPERATOR)
        findings = check_onboarding(EXPECTED, live, now=NOW)
        record_reading(expectation, findings, reader=Reader.ADMINISTRATOR, by=OPERATOR)


def text(scene: Scene, name: str, address: str = "/repositories/acme/hosted/") -> str:
    answer = scene.client(name).get(address)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_each_state_says_what_it_means_and_what_is_next(scene: Scene, hosted: GitHubRepository):
    assert "No check run is published" in text(scene, "plan")
    assert "leo repo govern acme/hosted" in text(scene, "plan")
    enrol(hosted, canary=None)
    assert "No canary has proved yet" in text(scene, "plan")
    enrol(hosted)
    found = text(scene, "auditor")
    assert "Enforced" in found
    assert "21 of 21 points hold" in found
    assert "merge the pull request: 405" in found
    enrol(hosted, DRIFTED)
    found = text(scene, "lead")
    assert "The rules at GitHub are not the expected ones." in found
    assert "config.contexts" in found
    assert "Not seen" in found
    assert found.index("config.contexts") < found.index("config.force_push")  # what is wrong comes first
    enrol(hosted, is_observed=True)
    assert "Observe mode" in text(scene, "exec")
    listed = text(scene, "exec", "/repositories/")
    assert "Observe mode" in listed
    assert "acme/payments" in listed


def test_every_page_about_a_repository_that_blocks_nothing_says_so(
    scene: Scene, hosted: GitHubRepository, django_assert_max_num_queries
):
    pull = scene.pull()
    escalated = scene.escalated()
    pages = [
        ("plan", f"/prs/acme/hosted/{pull.number}/"),
        ("lead", f"/escalations/{escalated.pk}/"),
        ("plan", f"/prs/acme/hosted/{pull.number}/history/"),
        ("auditor", f"/audit/prs/acme/hosted/{pull.number}/"),
        ("exec", f"/handoffs/{pull.handoff_id}/"),
    ]
    for moved in (pull, escalated):
        PullRequest.objects.filter(pk=moved.pk).update(repository=hosted.repository)
        type(moved.handoff).objects.filter(pk=moved.handoff_id).update(repository=hosted.repository)
    for enrolled, word in ((False, "Unenforced"), (True, "Observe mode")):
        if enrolled:
            enrol(hosted, is_observed=True)
        for name, address in pages:
            answer = scene.client(name).get(address)
            assert answer.status_code == 200, address
            assert word in answer.content.decode(), address
    for name, address in pages[:2]:
        assert "OBSERVE MODE: Everything runs, nothing blocks." in scene.client(name).get(address).content.decode()
    for address, most in ((pages[0][1], 27), ("/prs/", 21)):
        with django_assert_max_num_queries(most):
            assert "Observe mode" in scene.client("plan").get(address).content.decode()


def test_the_list_asks_as_often_for_twenty_repositories_as_for_two(
    scene: Scene, hosted: GitHubRepository, tmp_path: Path, django_assert_max_num_queries
):
    enrol(hosted)
    for number in range(2, 20):
        govern_on_github(
            Enrolment(number, f"acme/hosted-{number}", "main", "b" * 40, tmp_path / f"{number}.git", 2, 3, 4),
            by=OPERATOR,
        )
    client = scene.client("auditor")
    with django_assert_max_num_queries(24):
        assert client.get("/repositories/").status_code == 200


def test_a_repository_on_this_machine_needs_no_rules_elsewhere(scene: Scene):
    found = text(scene, "plan", "/repositories/acme/payments/")
    assert "own hooks protect" in found
    assert scene.client("plan").get("/repositories/acme/nobody/").status_code == 404


@pytest.mark.threat("GATE-02")
def test_the_apps_are_made_from_least_permissions_and_the_web_sees_only_a_code(scene: Scene, settings):
    settings.PORTAL_URL = "https://portal.example"
    answer = scene.client("xena").get("/repositories/apps/?owner=acme")
    assert f"form-action 'self' {settings.GITHUB_URL};" in answer["Content-Security-Policy"] + ";"
    found = answer.content.decode()
    told = {
        json.loads(html.unescape(one))["name"]: json.loads(html.unescape(one))
        for one in re.findall(r'name="manifest" value="([^"]*)"', found)
    }
    assert set(told) == {"leo-enforcer-acme", "leo-gate-acme"}
    gate, enforcer = told["leo-gate-acme"], told["leo-enforcer-acme"]
    assert {name for name, level in gate["default_permissions"].items() if level == "write"} == {"checks"}
    written = {name for name, level in enforcer["default_permissions"].items() if level == "write"}
    assert written == {"contents", "pull_requests", "actions"}
    assert gate["hook_attributes"]["url"] == "https://portal.example/github/webhook/gate/"
    action = html.unescape(re.findall(r'action="([^"]*organizations[^"]*)"', found)[1])
    state = parse_qs(urlsplit(action).query)["state"][0]
    before = LogEntry.objects.count()
    back = Client().get("/repositories/apps/gate/", {"code": "a1b2c3d4e5f6", "state": state})
    assert back.status_code == 200
    assert "leo repo app gate --code a1b2c3d4e5f6" in back.content.decode()
    for wrong in (
        {"code": "a1b2c3d4e5f6"},
        {"code": "a1b2c3d4e5f6", "state": "gate"},
        {"code": "<script>", "state": state},
        {"code": "", "state": state},
    ):
        refused = Client().get("/repositories/apps/gate/", wrong)
        assert refused.status_code == 400
        assert "leo repo app" not in refused.content.decode()
    assert Client().get("/repositories/apps/enforcer/", {"code": "a1b2c3d4e5f6", "state": state}).status_code == 400
    assert LogEntry.objects.count() == before
    assert scene.client("xena").get("/repositories/apps/?owner=a/b").status_code == 422
    assert scene.client("lead").get("/repositories/apps/").status_code == 403


def test_an_app_that_may_do_more_or_less_is_not_taken():
    made: dict[str, Any] = {"id": 1, "pem": "x", "webhook_secret": "y", "permissions": dict(PERMISSIONS["gate"])}
    refuse_other_app("gate", made)
    for permissions in ({}, {**PERMISSIONS["gate"], "contents": "write"}, PERMISSIONS["enforcer"]):
        with pytest.raises(ManifestError, match=r"app\.permissions"):
            refuse_other_app("gate", {**made, "permissions": dict(permissions)})
    with pytest.raises(ManifestError, match=r"app\.incomplete"):
        refuse_other_app("gate", {**made, "webhook_secret": None})
