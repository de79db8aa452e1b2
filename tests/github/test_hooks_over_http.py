"""Webhooks over HTTP, from the stand-in to the portal's own server: taken, lost, asked for again, looked at anyway."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from handoffs import tasks_github
from handoffs.actions import Enrolment, govern_on_github
from handoffs.git.repository import Git
from handoffs.github.hook_deliveries import MOST_ATTEMPTS, Failed
from handoffs.hosting import Side
from handoffs.models import GitHubRepository, GitHubRequest, WebhookDelivery
from handoffs.reconciling import reconcile_repository
from handoffs.redelivering import ask_again
from handoffs.tasks_github import reconcile, sweep_failed_deliveries, sweep_github, take_deliveries
from leoportal import setup
from tests.github.delivering import SECRETS
from tests.support.github import GitHub
from tests.support.github.checks import CheckRun, suite_for
from tests.support.github.house import ENFORCER, GATE
from tests.support.github.repositories import Repository
from verdicts.tasks_publishing import sweep_gate_deliveries

EVENTS = ["push", "pull_request", "issue_comment", "check_run", "merge_group", "workflow_run"]


@pytest.fixture
def woken(monkeypatch) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    monkeypatch.setattr(tasks_github, "nudge", lambda *message: found.append(message))
    return found


@pytest.fixture
def repo(github: GitHub, transactional_db, live_server, settings, tmp_path: Path, woken) -> Repository:
    """`acme/widgets` at the stand-in, governed, with both Apps' webhooks at the portal's own server."""
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = [SECRETS["enforcer"]]
    settings.GITHUB_GATE_WEBHOOK_SECRETS = [SECRETS["gate"]]
    settings.GITHUB_URL, settings.GITHUB_API_URL = github.url, github.api
    setup.ensure_lanes("opal", "rhea")
    github.create_organization("acme", owners=(github.create_user("boss"),))
    made = github.create_repository("acme/widgets", seed={"README.md": "hello\n"})
    numbers = {}
    for side, permissions in (("enforcer", ENFORCER), ("gate", GATE)):
        hook = f"{live_server.url}/github/webhook/{side}/"
        listens = [event for event in EVENTS if side == "enforcer" or event in {"check_run", "pull_request"}]
        app = github.create_app(
            f"leo-{side}", permissions, events=listens, webhook_url=hook, webhook_secret=SECRETS[side]
        )
        numbers[side] = (app, github.install(app, made))
        setattr(settings, f"GITHUB_{side.upper()}_APP_ID", app.id)
        setattr(settings, f"GITHUB_{side.upper()}_KEY", app.private_key())
    github.deliveries.settle()
    WebhookDelivery.objects.all().delete()
    enrolment = Enrolment(
        github_id=made.id, full_name="acme/widgets", protected_branch="main", tip=made.sha("main"),
        mirror=tmp_path / "forge" / "github" / f"{made.id}.git", enforcer_installation=numbers["enforcer"][1].id,
        gate_installation=numbers["gate"][1].id, gate_app=numbers["gate"][0].id,
    )  # fmt: skip
    govern_on_github(enrolment, by=setup.OPERATOR)
    return made


def statuses() -> set[tuple[str, str]]:
    return set(WebhookDelivery.objects.values_list("status", "code"))


def test_what_github_sends_is_taken_and_understood(github: GitHub, repo: Repository):
    dev = github.create_user("dev")
    repo.add(dev, "push")
    repo.commit({"a.txt": "new\n"}, branch="feature/a", by=dev)
    pull = repo.open_pull("feature/a", by=dev)
    comment = pull.comment("/leo-status", by=dev)
    github.deliveries.settle()
    assert {one.status_code for one in github.deliveries.log} == {202}
    assert take_deliveries() > 3
    assert statuses() == {("done", "")}
    request = GitHubRequest.objects.get()
    asked = (request.kind, request.pull_number, request.actor_id, request.remote_id)
    assert asked == ("command", pull.number, dev.id, comment.id)


@pytest.mark.threat("HOK-04")
def test_what_did_not_arrive_is_asked_for_again_and_stored_once(github: GitHub, repo: Repository):
    dev = github.create_user("dev")
    repo.add(dev, "push")
    github.deliveries.drop()
    repo.commit({"a.txt": "new\n"}, branch="feature/a", by=dev)
    pull = repo.open_pull("feature/a", by=dev)
    comment = pull.comment("/leo-status", by=dev)
    github.deliveries.deliver_all()
    lost = {one.guid for one in github.deliveries.log if one.status_code == 502}
    assert lost
    assert WebhookDelivery.objects.count() == 0
    assert ask_again(Side.ENFORCER, now=timezone.now()) == 0  # not at once: the receiver may be starting
    later = timezone.now() + timedelta(minutes=3)
    asked = ask_again(Side.ENFORCER, now=later) + ask_again(Side.GATE, now=later)
    github.deliveries.settle()
    assert asked == len(lost)
    assert set(WebhookDelivery.objects.values_list("delivery_id", flat=True)) == lost
    assert ask_again(Side.ENFORCER, now=later) == ask_again(Side.GATE, now=later) == 0
    take_deliveries()
    assert GitHubRequest.objects.get().remote_id == comment.id


def test_each_app_asks_with_its_own_key_and_without_one_nobody_asks(github: GitHub, repo: Repository, settings):
    later = timezone.now() + timedelta(minutes=3)
    github.deliveries.drop()
    repo.commit({"a.txt": "new\n"}, branch="feature/a", by=repo.owner)
    github.deliveries.deliver_all()
    settings.GITHUB_GATE_KEY = settings.GITHUB_ENFORCER_KEY
    assert ask_again(Side.GATE, now=later) == 0
    settings.GITHUB_ENFORCER_KEY = ""
    assert ask_again(Side.ENFORCER, now=later) == 0


def test_no_event_is_asked_for_for_ever():
    now = timezone.now()
    waits = [
        next(minutes for minutes in range(600) if Failed("g", 1, tried, now).is_due(now + timedelta(minutes=minutes)))
        for tried in range(1, MOST_ATTEMPTS)
    ]
    assert waits == [2, 4, 8, 16, 32, 64, 128]
    assert not Failed("g", 1, MOST_ATTEMPTS, now).is_due(now + timedelta(days=3))


@pytest.mark.threat("HOK-04")
def test_without_any_event_a_repository_is_looked_at_within_a_minute(github: GitHub, repo: Repository, woken):
    hosted = GitHubRepository.objects.get()
    assert sweep_github() == 1
    assert woken == [("handoffs.tasks_github.reconcile", hosted.repository_id)]
    assert reconcile(hosted.repository_id) == "done"
    assert Git(Path(hosted.repository.path)).resolve("refs/heads/main") == repo.sha("main")
    assert sweep_github() == 0
    hosted.refresh_from_db()
    assert hosted.enforcer_looked_at is not None
    github.deliveries.drop()
    head = repo.commit({"b.txt": "new\n"}, branch="feature/b", by=repo.owner)
    GitHubRepository.objects.update(enforcer_looked_at=Now() - timedelta(seconds=61))
    assert sweep_github() == 1
    assert reconcile(hosted.repository_id) == "done"
    assert Git(Path(hosted.repository.path)).resolve("refs/heads/feature/b") == head


def test_an_outage_is_waited_for_and_one_worker_looks_at_a_time(github: GitHub, repo: Repository):
    hosted = GitHubRepository.objects.get()
    github.chaos.outage()
    assert reconcile(hosted.repository_id) == "failed"
    hosted.refresh_from_db()
    assert hosted.enforcer_looked_at is None
    assert hosted.enforcer_error
    assert reconcile(hosted.repository_id) == "not mine"
    assert sweep_github() == 0
    github.chaos.end()
    GitHubRepository.objects.update(enforcer_next_try_at=Now())
    assert reconcile(hosted.repository_id) == "done"
    hosted.refresh_from_db()
    assert (hosted.enforcer_error, hosted.enforcer_next_try_at) == ("", None)


def test_what_came_while_somebody_looked_makes_them_look_again(github: GitHub, repo: Repository, woken, monkeypatch):
    hosted = GitHubRepository.objects.get()
    rows = GitHubRepository.objects.filter(pk=hosted.pk)
    look = reconcile_repository

    def interrupted(*args, **kwargs) -> None:
        look(*args, **kwargs)
        rows.update(enforcer_dirty_at=Now())

    monkeypatch.setattr(tasks_github, "reconcile_repository", interrupted)
    assert reconcile(hosted.repository_id) == "done"
    assert woken[-1] == ("handoffs.tasks_github.reconcile", hosted.repository_id)


def test_health_says_when_github_was_not_looked_at_for_ten_minutes(repo: Repository):
    def health() -> tuple[str, str]:
        said = Client().get("/healthz/ready").json()
        return said["status"], said.get("github", "")

    assert health() == ("ok", "")
    GitHubRepository.objects.update(enforcer_looked_at=Now() - timedelta(minutes=11), gate_looked_at=Now())
    assert health() == ("degraded", "reconcile.late")
    GitHubRepository.objects.update(enforcer_looked_at=Now())
    assert health() == ("ok", "")
    GitHubRepository.objects.update(gate_looked_at=Now() - timedelta(minutes=11))
    assert health() == ("degraded", "reconcile.late")


@pytest.mark.threat("HOK-04")
def test_what_did_not_reach_the_gate_is_asked_for_again_by_its_own_worker_and_processed(
    github: GitHub, repo: Repository, settings
):
    """The task as the beat calls it, in the publisher's lane and with that App's key alone."""
    dev = github.create_user("dev")
    repo.add(dev, "push")
    gate = next(one for one in github.apps if one.id == settings.GITHUB_GATE_APP_ID)
    repo.commit({"a.txt": "new\n"}, branch="feature/a", by=dev)
    pull = repo.open_pull("feature/a", by=dev)
    now = github.clock.now()
    suite = suite_for(repo, gate, pull.head_sha)
    run = CheckRun(suite, github.new_id(), "Gate 3", pull.head_sha, "completed", "failure", now, now)
    run.actions = [{"label": "Explain", "description": "What blocks it", "identifier": "explain"}]
    repo.check_runs.append(run)
    github.deliveries.settle()
    take_deliveries()
    GitHubRepository.objects.update(enforcer_dirty_at=None, gate_dirty_at=None)
    WebhookDelivery.objects.all().delete()
    github.clock.advance(-180)  # it was three minutes ago
    github.deliveries.drop(lambda one: one.target is gate)
    run.press("explain", dev)
    github.deliveries.deliver_all()
    github.clock.advance(180)
    (lost,) = [one for one in github.deliveries.log if one.status_code == 502]
    settings.GITHUB_ENFORCER_KEY = ""
    assert sweep_failed_deliveries() == 0
    assert sweep_gate_deliveries() == 1
    github.deliveries.settle()
    again = github.deliveries.log[-1]
    assert (again.guid, again.redelivery, again.status_code) == (lost.guid, True, 202)
    assert list(WebhookDelivery.objects.values_list("app", "delivery_id", "status")) == [("gate", lost.guid, "stored")]
    assert sweep_gate_deliveries() == 0
    assert take_deliveries() == 1
    assert statuses() == {("done", "")}
    request, hosted = GitHubRequest.objects.get(), GitHubRepository.objects.get()
    assert (request.kind, request.remote_id, request.text, request.actor_id) == ("action", run.id, "explain", dev.id)
    assert hosted.gate_dirty_at is not None
