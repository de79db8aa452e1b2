"""What becomes of deliveries: marks and requests in one transaction, the same for any order and any number of copies."""

from __future__ import annotations

import itertools
import os
import random
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from audit.models import LogEntry
from handoffs import tasks_github
from handoffs.github.admission import Outcome, Subscription, admit
from handoffs.github.events import AskedKind, Event, Ignored, Wake, parse_event
from handoffs.models import (
    MAX_ATTEMPTS,
    DeliveryStatus,
    GitHubApp,
    GitHubRepository,
    GitHubRequest,
    WebhookDelivery,
    store_delivery,
)
from handoffs.tasks_github import erase_deliveries, sweep_github, take_deliveries
from tests.github import events
from tests.github.conftest import enrol
from tests.github.events import HEAD, OTHER

LONG = bool(os.environ.get("LEO_HOOKS"))
type Sent = tuple[str, bytes]


@pytest.fixture(autouse=True)
def nudges(monkeypatch) -> list[str]:
    """Whom a task woke; nobody comes."""
    found: list[str] = []
    monkeypatch.setattr(tasks_github, "nudge", lambda task, *_: found.append(task))
    return found


def store(event: str, body: bytes, *, app: GitHubApp = GitHubApp.ENFORCER, delivery: str = "") -> bool:
    connection.ensure_connection()
    return store_delivery(connection.connection, app.value, delivery or str(uuid.uuid4()), event, body)


def take(*sent: Sent, app: GitHubApp = GitHubApp.ENFORCER) -> WebhookDelivery:
    for event, body in sent:
        store(event, body, app=app)
    take_deliveries()
    return WebhookDelivery.objects.latest("pk")


def test_a_delivery_marks_its_repository_wakes_who_has_to_look_and_loses_its_body(hosted, nudges):
    row = take(("push", events.push()))
    assert (row.status, row.action, row.repository_id, row.body) == ("done", "", 4711, None)
    assert row.processed_at is not None
    hosted.refresh_from_db()
    assert hosted.enforcer_dirty_at is not None
    assert hosted.gate_dirty_at is not None
    assert {"handoffs.tasks_github.sweep_github", "verdicts.tasks_publishing.sweep_publishing"} <= set(nudges)
    nudges.clear()
    take(("workflow_run", events.workflow_run()))
    assert "handoffs.tasks_github.sweep_github" in nudges
    assert "verdicts.tasks_publishing.sweep_publishing" not in nudges


def test_a_lost_nudge_costs_a_sweep_and_no_event(hosted, nudges):
    GitHubRepository.objects.update(enforcer_looked_at=Now())
    assert sweep_github() == 0
    take(("workflow_run", events.workflow_run()))
    nudges.clear()
    assert sweep_github() == 1
    assert nudges == ["handoffs.tasks_github.reconcile"]


@pytest.mark.parametrize(
    ("event", "body", "status", "code"),
    [
        ("ping", b'{"zen": "Design for failure."}', "ignored", "event.unused"),
        ("pull_request", events.pull("assigned"), "ignored", "event.unused_action"),
        ("pull_request", b'{"action": "opened"}', "refused", "event.payload"),
        ("push", b"not JSON", "refused", "json.syntax"),
        ("push", b"", "refused", "json.syntax"),
        ("push", b'{"ref": "\\ud800"}', "refused", "json.lone_surrogate"),
    ],
)
def test_what_is_not_used_or_cannot_be_read_ends_with_the_reason(
    hosted, event: str, body: bytes, status: str, code: str
):
    row = take((event, body))
    assert (row.status, row.code, row.body) == (status, code, None)
    hosted.refresh_from_db()
    assert (hosted.enforcer_dirty_at, hosted.gate_dirty_at) == (None, None)


def refused_entries() -> list[str]:
    return list(LogEntry.objects.filter(kind="webhook.refused").order_by("pk").values_list("subject", flat=True))


def foreign(number: int) -> dict[str, Any]:
    return {"repository": {"id": number, "full_name": "acme/other"}}


@pytest.mark.threat("GATE-14")
def test_results_of_another_repository_installation_or_fork_change_nothing_and_are_audited(hosted):
    before = state()
    for body in (
        events.workflow_run(**foreign(9)),
        events.workflow_run(installation={"id": 32}),
        events.workflow_run(head_repository=9),
    ):
        row = take(("workflow_run", body))
        assert row.status == "refused"
    assert refused_entries() == [
        "github:9 event.foreign_repository",
        "github:4711 event.foreign_installation",
        "github:4711 event.foreign_head",
    ]
    assert state() == before
    entry = LogEntry.objects.filter(kind="webhook.refused").earliest("pk")
    assert entry.open() | {"action": "", "head": ""} == {
        "code": "event.foreign_repository", "app": "enforcer", "event": "workflow_run", "action": "", "head": "",
        "github_id": 9, "installation": 31, "head_repository": 4711,
    }  # fmt: skip


@pytest.mark.threat("GATE-14")
def test_the_installation_of_one_app_is_not_that_of_the_other(hosted):
    assert take(("workflow_run", events.workflow_run()), app=GitHubApp.GATE).code == "event.foreign_installation"
    own = events.workflow_run(installation={"id": 41})
    assert take(("workflow_run", own), app=GitHubApp.GATE).status == "done"


def test_with_a_token_there_is_no_installation(db, tmp_path):
    enrol(tmp_path, apps=False)
    assert take(("push", events.push())).code == "event.foreign_installation"
    assert take(("push", events.push().replace(b'"installation"', b'"other"'))).status == "done"


@pytest.mark.threat("GATE-14")
def test_nobody_floods_the_log_with_foreign_events(hosted):
    for number in [*range(1, 6)] * 3:
        take(("push", events.push().replace(b"4711", str(number).encode())))
    assert len(refused_entries()) == 5
    for number in range(100, 160):
        store("push", events.push().replace(b"4711", str(number).encode()))
    take_deliveries()
    assert len(refused_entries()) == 20
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"refused"}
    with connection.cursor() as cursor:  # as the clock would do it
        cursor.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE leo_log_entry SET created_at = created_at - interval '61 minutes'")
        cursor.execute("ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER append_only_rows")
    take(("push", events.push().replace(b"4711", b"1")))
    assert len(refused_entries()) == 21


def test_an_installation_that_is_suspended_wakes_every_repository_of_it(hosted, tmp_path):
    other = enrol(tmp_path, github_id=4712, name="acme/ledger")
    take(("installation", events.body(action="suspend", repository=None)))
    for row in (hosted, other):
        row.refresh_from_db()
        assert row.enforcer_dirty_at is not None
    gone = events.body(action="deleted", repository=None, installation={"id": 99})
    assert take(("installation", gone)).code == "event.foreign_installation"


@pytest.mark.threat("HOK-02")
def test_what_was_asked_for_is_kept_once_under_whatever_number_it_comes(hosted):
    press = events.check_run("requested_action", requested_action={"identifier": "rerun"})
    sent = [
        ("issue_comment", events.comment("/leo-verify PR-7")),
        ("check_run", press),
        ("merge_group", events.merge_group()),
    ]
    take(*sent)
    take(*sent)
    take(("check_run", events.check_run("requested_action", requested_action={"identifier": "rerun"}, pushed=2)))
    found = GitHubRequest.objects.order_by("pk").values_list("kind", "pull_number", "remote_id", "head_sha", "text")
    assert list(found) == [
        ("command", 7, 900, "", ""),  # its text is its author's and stays with GitHub
        ("action", 7, 800, HEAD, "rerun"),
        ("merge_group", 0, 0, HEAD, "refs/heads/main"),
        ("action", 7, 800, HEAD, "rerun"),
    ]
    assert set(GitHubRequest.objects.values_list("actor_id", "status")) == {(77, "waiting")}


def test_a_delivery_whose_worker_died_is_taken_again_and_given_up_in_the_end(hosted):
    store("push", events.push())
    row = WebhookDelivery.objects.get()
    assert WebhookDelivery.objects.claim(row.pk, lease=timedelta(minutes=1)) == 1
    assert take_deliveries() == 0
    WebhookDelivery.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert take_deliveries() == 1
    store("push", events.push())
    WebhookDelivery.objects.open().update(attempts=MAX_ATTEMPTS)
    assert take_deliveries() == 0
    row = WebhookDelivery.objects.latest("pk")
    assert (row.status, row.code, row.body) == ("failed", "delivery.gave_up", None)


def test_old_deliveries_are_forgotten_and_what_waits_is_not(hosted):
    take(("push", events.push()), ("ping", b"{}"))
    store("push", events.push())
    assert erase_deliveries() == 0
    WebhookDelivery.objects.update(received_at=Now() - timedelta(days=31))
    assert erase_deliveries() == 2
    assert WebhookDelivery.objects.get().status == DeliveryStatus.STORED


# --- any order, any number of copies --------------------------------------------------------------------------------

LIFE: tuple[Sent, ...] = (
    ("push", events.push("refs/heads/feature/net")),
    ("pull_request", events.pull("opened")),
    ("workflow_run", events.workflow_run()),
    ("issue_comment", events.comment("/leo-verify PR-7")),
    ("pull_request", events.pull("synchronize", head=OTHER)),
    ("check_run", events.check_run("requested_action", requested_action={"identifier": "explain"})),
    ("pull_request", events.pull("closed", head=OTHER)),
)


def state() -> tuple[Any, ...]:
    """Everything that a delivery changes, without moments."""
    marks = GitHubRepository.objects.order_by("pk").values_list("enforcer_dirty_at", "gate_dirty_at")
    requests = GitHubRequest.objects.values_list("kind", "key", "pull_number", "head_sha", "actor_id", "text", "status")
    return [[mark is not None for mark in row] for row in marks], sorted(requests)


class Remote:
    """GitHub as it is after all of it happened, and a portal that looks at it whenever it was woken."""

    NOW = {"head": OTHER, "state": "closed"}

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.requests: set[tuple[AskedKind, str]] = set()
        self.audited: set[str] = set()

    def take(self, outcome: Outcome) -> None:
        if outcome.asked:
            self.requests.add((outcome.asked.kind, outcome.asked.key))  # the table's unique constraint
        if Wake.RECONCILE in outcome.wakes:
            self.known = dict(self.NOW)
        if outcome.code:
            self.audited.add(outcome.code)

    def end(self) -> tuple[Any, ...]:
        return sorted(self.known.items()), sorted(self.requests), sorted(self.audited)


def outcomes(sent: Iterable[Sent]) -> list[Outcome]:
    mine = frozenset({Subscription(4711, 31)})
    found: list[Event | Ignored] = [parse_event(event, body) for event, body in sent]
    return [admit(one, mine) for one in found]


@pytest.mark.threat("HOK-03")
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_all_orders_of_seven_events_lead_to_one_state(copies: int):
    """What the processing decides depends on nothing that was there before: no order can make a difference."""
    decided, ends = outcomes(LIFE), set()
    for order in itertools.permutations(decided):
        remote = Remote()
        for outcome in order * copies:
            remote.take(outcome)
        ends.add(repr(remote.end()))
    assert len(ends) == 1
    assert "closed" in ends.pop()


@pytest.mark.threat("HOK-03")
def test_orders_and_copies_through_the_database_lead_to_one_state(hosted):
    rng, wanted = random.Random(7), None
    for _ in range(200 if LONG else 12):
        GitHubRequest.objects.all().delete()
        GitHubRepository.objects.update(enforcer_dirty_at=None, gate_dirty_at=None)
        order = list(LIFE) * rng.choice([1, 2, 5])
        rng.shuffle(order)
        ids = {sent: str(uuid.uuid4()) for sent in LIFE}
        for event, body in order:
            again = rng.random() < 0.5  # a redelivery, or the same bytes under a number of their own
            store(event, body, delivery=ids[event, body] if again else "")
            if rng.random() < 0.3:
                take_deliveries()
        take_deliveries()
        wanted = wanted or state()
        assert state() == wanted
    assert wanted is not None
    assert (wanted[0], len(wanted[1])) == ([[True, True]], 2)


@pytest.mark.threat("HOK-02")
def test_deliveries_that_come_one_to_five_times_end_like_those_that_come_once(hosted):
    rng, count, ends = random.Random(11), 10_000 if LONG else 150, []
    sent = [(str(uuid.uuid4()), *made_up(rng, number)) for number in range(count)]
    for most in (1, 5):
        WebhookDelivery.objects.all().delete()
        GitHubRequest.objects.all().delete()
        GitHubRepository.objects.update(enforcer_dirty_at=None, gate_dirty_at=None)
        copies = [one for one in sent for _ in range(rng.randint(1, most))]
        rng.shuffle(copies)
        for number, (delivery, event, body) in enumerate(copies):
            store(event, body, delivery=delivery)
            if number % 97 == 0:
                take_deliveries()
        while take_deliveries():
            pass
        rows = WebhookDelivery.objects.order_by("delivery_id").values_list("delivery_id", "event", "status", "code")
        ends.append((state(), list(rows)))
        assert len(rows) == count
    assert ends[0] == ends[1]


def made_up(rng: random.Random, number: int) -> Sent:
    head = f"{rng.getrandbits(160):040x}"
    return rng.choice(
        [
            ("push", events.push(after=head)),
            (
                "pull_request",
                events.pull(rng.choice(["opened", "synchronize", "assigned"]), number=number + 1, head=head),
            ),
            ("issue_comment", events.comment(rng.choice(["/leo-status", "hello"]), remote_id=number + 1)),
            ("check_run", events.check_run("rerequested", remote_id=number + 1, head=head)),
            ("workflow_run", events.workflow_run(head_repository=rng.choice([4711, 9]))),
            ("merge_group", events.merge_group(head)),
            ("push", b"{"),
        ]
    )
