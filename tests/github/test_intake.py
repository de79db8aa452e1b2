"""Webhooks at the door: the signature over the raw bytes first, stored once, and no row for anything else."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from typing import Any

import psycopg
import pytest
from django.http import UnreadablePostError
from django.test import Client, RequestFactory

from handoffs import views_github
from handoffs.github.events import MAX_BODY_BYTES
from handoffs.models import WebhookDelivery
from handoffs.views_github import Refusals, receive
from leoportal.lanes.ingesting import ingest
from tests.github import events
from tests.github.delivering import SECRETS, deliver, headers, sign


@pytest.fixture(autouse=True)
def configured(db, settings, monkeypatch):
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = [SECRETS["enforcer"]]
    settings.GITHUB_GATE_WEBHOOK_SECRETS = [SECRETS["gate"]]
    monkeypatch.setattr(views_github.bell, "press", lambda: None)


def stored() -> list[tuple[str, str, str]]:
    return list(WebhookDelivery.objects.order_by("pk").values_list("app", "event", "status"))


def kept(**which: str) -> bytes:
    return bytes(WebhookDelivery.objects.get(**which).body or b"")


@pytest.mark.threat("HOK-01")
def test_githubs_published_vector_is_accepted(transactional_db, settings):
    """Source: GitHub, "Validating webhook deliveries", testing the webhook payload validation."""
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = ["It's a Secret to Everybody"]
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    answer = deliver(b"Hello, World!", X_Hub_Signature_256=f"sha256={digest}")
    assert (answer.status_code, answer.json()["code"]) == (202, "webhook.stored")
    assert kept() == b"Hello, World!"


BODY = events.push()
GOOD = sign(SECRETS["enforcer"], BODY)
TAMPERED: dict[str, dict[str, Any]] = {
    "no signature": {"X_Hub_Signature_256": None},
    "an empty one": {"X_Hub_Signature_256": ""},
    "SHA-1 alone": {"X_Hub_Signature_256": None, "X_Hub_Signature": sign(SECRETS["enforcer"], BODY, "sha1")},
    "SHA-1 in its place": {"X_Hub_Signature_256": sign(SECRETS["enforcer"], BODY, "sha1")},
    "SHA-1 that is right beside one that is not": {
        "X_Hub_Signature_256": "sha256=" + "0" * 64, "X_Hub_Signature": sign(SECRETS["enforcer"], BODY, "sha1"),
    },
    "another secret": {"X_Hub_Signature_256": sign("guess", BODY)},
    "an empty secret": {"X_Hub_Signature_256": sign("", BODY)},
    "the other App's secret": {"X_Hub_Signature_256": sign(SECRETS["gate"], BODY)},
    "of another body": {"X_Hub_Signature_256": sign(SECRETS["enforcer"], BODY + b" ")},
    "of the parsed body": {"X_Hub_Signature_256": sign(SECRETS["enforcer"], BODY.replace(b": ", b":"))},
    "one bit off": {"X_Hub_Signature_256": GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1")},
    "too short": {"X_Hub_Signature_256": GOOD[:-2]},
    "too long": {"X_Hub_Signature_256": GOOD + "00"},
    "upper case": {"X_Hub_Signature_256": "sha256=" + GOOD[7:].upper()},
    "no algorithm": {"X_Hub_Signature_256": GOOD[7:]},
    "not ASCII": {"X_Hub_Signature_256": "sha256=" + "é" * 64},
    "another algorithm": {"X_Hub_Signature_256": sign(SECRETS["enforcer"], BODY, "sha512")},
}  # fmt: skip


@pytest.mark.threat("HOK-01")
@pytest.mark.parametrize("how", TAMPERED)
def test_a_forged_delivery_is_refused_and_leaves_nothing(how: str):
    answer = deliver(BODY, **TAMPERED[how])
    assert answer.status_code == 401
    assert answer.json()["code"] in {"webhook.forged", "webhook.unsigned"}
    assert stored() == []


@pytest.mark.threat("HOK-01")
def test_of_two_secrets_both_are_active_and_the_old_one_dies_when_it_is_taken_out(transactional_db, settings):
    old, new = SECRETS["enforcer"], "second-secret-of-the-enforcer"
    by_old, by_new = {"X_Hub_Signature_256": sign(old, BODY)}, {"X_Hub_Signature_256": sign(new, BODY)}
    assert [deliver(BODY, **signed).status_code for signed in (by_old, by_new)] == [202, 401]
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = [new, old]
    assert [deliver(BODY, **signed).status_code for signed in (by_old, by_new)] == [202, 202]
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = [new]
    assert [deliver(BODY, **signed).status_code for signed in (by_old, by_new)] == [401, 202]
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = []
    answer = deliver(BODY, **by_new)
    assert (answer.status_code, answer.json()["code"]) == (404, "webhook.not_configured")
    assert "GITHUB_ENFORCER_WEBHOOK_SECRETS" in answer.json()["detail"]


@pytest.mark.threat("HOK-02")
def test_a_delivery_is_stored_once_for_each_app_however_often_it_comes(transactional_db):
    delivery = str(uuid.uuid4())
    codes = [deliver(BODY, delivery=delivery).json()["code"] for _ in range(3)]
    assert codes == ["webhook.stored", "webhook.known", "webhook.known"]
    assert deliver(events.push(after="c" * 40), delivery=delivery).json()["code"] == "webhook.known"
    assert deliver(BODY, app="gate", delivery=delivery).json()["code"] == "webhook.stored"
    assert stored() == [("enforcer", "push", "stored"), ("gate", "push", "stored")]
    assert kept(app="enforcer") == BODY


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"X_GitHub_Delivery": None}, 400, "webhook.header"),
        ({"X_GitHub_Delivery": "x" * 65}, 400, "webhook.header"),
        ({"X_GitHub_Delivery": "'; DROP TABLE--"}, 400, "webhook.header"),
        ({"X_GitHub_Event": None}, 400, "webhook.header"),
        ({"X_GitHub_Event": "Push!"}, 400, "webhook.header"),
        ({"content_type": "application/x-www-form-urlencoded"}, 415, "webhook.content_type"),
        ({"content_type": "text/plain"}, 415, "webhook.content_type"),
        ({"content_type": ""}, 415, "webhook.content_type"),
    ],
)
def test_what_is_no_delivery_says_what_is_missing_and_what_to_do(changed, status: int, code: str):
    answer = deliver(BODY, **changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "Next: " in answer.json()["detail"]
    assert stored() == []


def test_an_event_may_have_a_digit_in_its_name(transactional_db):
    assert deliver(BODY, X_GitHub_Event="projects_v2_item").json()["code"] == "webhook.stored"


def test_a_charset_changes_nothing(transactional_db):
    assert deliver(BODY, content_type="application/json; charset=utf-8").status_code == 202


@pytest.mark.threat("HOK-05")
@pytest.mark.parametrize(
    ("length", "status"),
    [
        (str(MAX_BODY_BYTES + 1), 413), ("9" * 30, 413), ("", 411), ("-1", 411), ("1e3", 411), ("²", 411),
        (str(len(BODY) - 1), 401),
    ],
)  # fmt: skip
def test_the_length_is_looked_at_before_a_byte_is_read(length: str, status: int):
    given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers(BODY).items()}
    request = RequestFactory().generic(
        "POST", "/github/webhook/enforcer/", BODY, content_type="application/json", **given
    )
    request.META["CONTENT_LENGTH"] = length

    def read(*_: object) -> bytes:
        raise AssertionError("a byte was read")

    if status in {411, 413}:
        request.read = read  # type: ignore[method-assign]
    assert receive(request, "enforcer").status_code == status
    assert stored() == []


def test_a_body_that_breaks_off_is_refused():
    given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers(BODY).items()}
    request = RequestFactory().generic("POST", "/x", BODY, content_type="application/json", **given)

    def read(*_: object) -> bytes:
        raise UnreadablePostError

    request.read = read  # type: ignore[method-assign]
    assert receive(request, "enforcer").status_code == 400


@pytest.mark.threat("HOK-05")
def test_a_body_of_twenty_five_mebibytes_is_taken(transactional_db):
    body = events.body(ref="x", filling="y" * (MAX_BODY_BYTES - 1000))
    assert len(body) < MAX_BODY_BYTES
    assert deliver(body).status_code == 202


def test_only_post_is_answered_and_no_session_or_token_of_a_form_is_asked_for(transactional_db):
    client = Client(enforce_csrf_checks=True)
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = client.generic(method, "/github/webhook/enforcer/", BODY, headers=headers(BODY))
        assert (answer.status_code, answer["Allow"]) == (405, "POST")
    answer = client.generic(
        "POST", "/github/webhook/enforcer/", BODY, content_type="application/json", headers=headers(BODY)
    )
    assert (answer.status_code, answer.cookies) == (202, {})
    assert client.post("/github/webhook/other/").status_code == 404


@pytest.mark.threat("DB-01")
def test_the_lane_of_webhooks_stores_and_neither_reads_a_body_nor_processes_one(as_role):
    ingest = as_role("ingest")
    for statement in (
        "SELECT body FROM leo_webhook_delivery",
        "UPDATE leo_webhook_delivery SET status = 'done'",
        "DELETE FROM leo_webhook_delivery",
        "INSERT INTO leo_webhook_delivery (app, delivery_id, event, status) VALUES ('gate', '1', 'push', 'done')",
        "SELECT 1 FROM leo_github_repository",
        "INSERT INTO leo_github_request (key) VALUES ('x')",
        "INSERT INTO leo_log_entry (kind) VALUES ('webhook.refused')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ingest.execute(statement)


@pytest.mark.threat("DB-01")
def test_webhooks_have_a_connection_of_their_own_that_is_that_lane_and_comes_back_when_it_is_lost(transactional_db):
    def who(session: psycopg.Connection) -> tuple[str, int]:
        found = session.execute("SELECT current_user, pg_backend_pid()").fetchone()
        assert found is not None
        return found[0], found[1]

    role, number = ingest(who)
    assert (role, ingest(who)) == ("leo_ingest", (role, number))
    assert deliver(BODY).status_code == 202
    line = socket.socket(fileno=os.dup(ingest(lambda session: session.pgconn.socket)))
    line.shutdown(socket.SHUT_RDWR)
    line.close()
    assert deliver(BODY).status_code == 202
    role, again = ingest(who)
    assert (role, again != number) == ("leo_ingest", True)
    assert len(stored()) == 2


def test_what_cannot_be_stored_is_not_acknowledged(monkeypatch):
    def away(*_: object) -> bool:
        raise psycopg.OperationalError("the server is away")

    monkeypatch.setattr(views_github, "ingest", away)
    answer = deliver(BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, "webhook.not_stored")


def test_nobody_fills_the_log_by_knocking(caplog, monkeypatch):
    monkeypatch.setattr(views_github, "refusals", Refusals())
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            assert deliver(BODY, X_Hub_Signature_256=sign("guess", BODY)).status_code == 401
        assert Client().get("/nowhere/").status_code == 404
    said = [record.getMessage() for record in caplog.records]
    assert said == ["webhook.forged: refused 1 webhook requests to the App enforcer", "Not Found: /nowhere/"]


def test_refusals_are_counted_and_told_once_a_minute(caplog):
    found = Refusals()
    with caplog.at_level(logging.WARNING):
        for _ in range(500):
            found.count("webhook.forged", "enforcer")
        found.count("webhook.forged", "gate")
    assert [record.getMessage() for record in caplog.records] == [
        "webhook.forged: refused 1 webhook requests to the App enforcer",
        "webhook.forged: refused 1 webhook requests to the App gate",
    ]
