"""Webhooks: signed, sent once, kept; and handed to the test in any order and number."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest

from tests.support.github.house import House

SECRET = "s3cret"
EVENTS = [
    "push", "create", "delete", "pull_request", "pull_request_review", "check_run", "check_suite", "workflow_run",
    "workflow_job", "status", "issue_comment", "merge_group", "branch_protection_rule", "repository_ruleset", "repository",
]  # fmt: skip
READS = dict.fromkeys(("contents", "pull_requests", "actions", "issues", "merge_queues", "administration"), "read")


class Receiver:
    """Where the portal would stand. Shape: `got` headers and raw body of each; `status` what is answered next."""

    def __init__(self) -> None:
        receiver = self
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status, self.seconds = 202, 0.0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                time.sleep(receiver.seconds)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/webhooks"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def names(self) -> list[str]:
        return [headers["x-github-event"] for headers, _ in self.got]


@pytest.fixture
def receiver(house: House) -> Iterator[Receiver]:
    made = Receiver()
    house.gate.webhook_url, house.gate.webhook_secret, house.gate.events = made.url, SECRET, EVENTS
    house.gating.permissions |= READS
    yield made
    made.server.shutdown()
    made.server.server_close()


def token(house: House) -> str:
    now = int(time.time())
    return jwt.encode(
        {"iat": now, "exp": now + 300, "iss": str(house.gate.id)}, house.gate.private_key(), algorithm="RS256"
    )


def test_a_delivery_is_signed_over_its_bytes(house, receiver):
    hook = house.github.add_hook(house.repo, receiver.url, secret="other", events=["push"])
    house.repo.commit({"a": "b"}, by=house.dev)
    house.github.deliveries.settle()
    headers, body = next(
        one for one in receiver.got if one[0]["x-github-hook-installation-target-type"] == "integration"
    )
    assert headers["x-github-hook-installation-target-id"] == str(house.gate.id)
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature"] == "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    headers, body = next(one for one in receiver.got if one[0]["x-github-hook-id"] == str(hook.id))
    assert (headers["x-github-hook-installation-target-type"], headers["x-github-event"]) == ("repository", "push")
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(b"other", body, hashlib.sha256).hexdigest()
    assert b'"installation"' not in body


def test_the_published_vector_of_the_signature(house, receiver):
    """GitHub docs, "Validating webhook deliveries", "Testing the webhook payload validation"."""
    house.gate.webhook_secret = "It's a Secret to Everybody"
    house.repo.commit({"a": "b"})
    house.github.deliveries.settle()
    one = house.github.deliveries.log[0]
    one.body = b"Hello, World!"
    assert (
        one.headers()["X-Hub-Signature-256"]
        == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


def test_every_event_has_the_words_of_githubs_schemas(house, receiver):
    """The fixture compares each body with its schema; here: that they all were sent."""
    github, repo = house.github, house.repo
    repo.git.run("config", "receive.denyDeleteCurrent", "ignore")
    workflow = "name: CI\non: [push, pull_request]\njobs:\n  build:\n    runs-on: x\n"
    repo.commit({".github/workflows/ci.yml": workflow}, by=house.boss)
    repo.commit({"a": "b"}, branch="x", by=house.dev)
    pull = repo.open_pull("x", by=house.dev)
    repo.commit({"a": "c"}, branch="x", by=house.dev)
    pull.edit(house.dev, title="New", base="")
    pull.label("one", by=house.dev)
    pull.unlabel("one", by=house.dev)
    pull.comment("hello", by=house.dev).edit("hello!", by=house.boss)
    pull.review("APPROVED", house.boss)
    body = {
        "name": "Gate 3",
        "head_sha": pull.head_sha,
        "conclusion": "success",
        "actions": [{"label": "l", "description": "d", "identifier": "verify"}],
    }
    house.ask(house.gating.token(), "POST", "check-runs", body)
    house.ask(house.gating.token(), "POST", f"statuses/{pull.head_sha}", {"state": "success"})
    gate = next(one for one in repo.check_runs if one.app is house.gate)
    gate.press("verify", by=house.dev)
    gate.rerequest(house.dev)
    repo.runs[-1].start().finish("failure")
    rules = {"name": "r", "enforcement": "active", "rules": [{"type": "merge_queue"}]}
    number = house.ask(
        house.boss.token(),
        "POST",
        "rulesets",
        rules | {"conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}},
    ).json()["id"]
    repo.enqueue(pull, by=house.dev)
    house.ask(house.boss.token(), "PUT", f"rulesets/{number}", {"enforcement": "disabled"})
    house.ask(house.boss.token(), "DELETE", f"rulesets/{number}")
    protection = {
        "required_status_checks": None,
        "enforce_admins": True,
        "required_pull_request_reviews": None,
        "restrictions": None,
    }
    for _ in range(2):
        house.ask(house.boss.token(), "PUT", "branches/main/protection", protection)
    house.ask(house.boss.token(), "DELETE", "branches/main/protection")
    pull.close(house.dev)
    pull.reopen(house.dev)
    repo.delete_branch("x", by=house.dev)
    github.rename(repo, "gadgets", house.boss)
    other = github.create_repository("acme/other", seed={"a": "b"})
    github.install(house.gate, other)
    github.remove_from(house.gating, other)
    github.suspend(house.gating)
    house.gating.suspended_at = None
    github.transfer(repo, github.create_user("somebody"), house.boss)
    github.uninstall(house.gating)
    github.deliveries.settle()
    sent = {(one.event, one.action) for one in github.deliveries.log}
    assert sent >= {
        ("push", None), ("create", None), ("delete", None), ("pull_request", "opened"), ("pull_request", "synchronize"),
        ("pull_request", "edited"), ("pull_request", "closed"), ("pull_request", "reopened"), ("pull_request", "labeled"),
        ("pull_request", "unlabeled"), ("pull_request", "enqueued"), ("pull_request_review", "submitted"), ("check_run", "created"),
        ("check_run", "completed"), ("check_run", "rerequested"), ("check_run", "requested_action"), ("check_suite", "requested"),
        ("check_suite", "completed"), ("workflow_run", "requested"), ("workflow_run", "in_progress"), ("workflow_run", "completed"),
        ("workflow_job", "queued"), ("workflow_job", "completed"), ("status", None), ("issue_comment", "created"),
        ("issue_comment", "edited"), ("merge_group", "checks_requested"), ("branch_protection_rule", "created"),
        ("branch_protection_rule", "edited"), ("branch_protection_rule", "deleted"), ("repository_ruleset", "created"),
        ("repository_ruleset", "edited"), ("repository_ruleset", "deleted"), ("repository", "renamed"),
        ("installation_repositories", "added"), ("installation_repositories", "removed"), ("installation", "suspend"),
        ("installation", "deleted"), ("merge_group", "destroyed"),
    }  # fmt: skip
    assert len(receiver.got) == len(github.deliveries.log)


def test_what_an_app_is_not_told(house, receiver):
    house.gating.permissions.pop("contents")
    house.gate.events = ["push", "pull_request", "check_run"]
    house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    pull = house.repo.open_pull("x", by=house.dev)
    house.ask(house.enforcing.token(), "POST", "issues/1/comments", {"body": "not subscribed"})
    other = house.github.create_app("other", {"checks": "write"}, webhook_url=receiver.url)
    house.ask(
        house.github.install(other, house.repo).token(),
        "POST",
        "check-runs",
        {"name": "theirs", "head_sha": pull.head_sha, "conclusion": "success"},
    )
    house.repo.check_runs[-1].rerequest(house.dev)
    house.github.deliveries.settle()
    told = [(one.event, one.action) for one in house.github.deliveries.log if one.target is house.gate]
    expected = [("pull_request", "opened"), ("check_run", "created"), ("check_run", "completed")]
    # No push; another App's button is not ours. What asks for its own suite needs no subscription.
    assert [one for one in told if one[0] != "check_suite"] == expected
    assert ("check_run", "rerequested") in [
        (one.event, one.action) for one in house.github.deliveries.log if one.target is other
    ]


def test_a_test_holds_reorders_repeats_and_drops(house, receiver):
    deliveries = house.github.deliveries
    house.gate.events = ["push"]
    deliveries.hold()
    house.gating.permissions.pop("checks")  # nobody asks for suites here
    shas = [house.repo.commit({"a": str(number)}) for number in range(3)]
    assert [one.json()["after"] for one in deliveries.pending] == shas
    assert receiver.got == []
    first, second, third = deliveries.pending
    deliveries.release([third, first], copies=2)
    ids = [headers["x-github-delivery"] for headers, _ in receiver.got]
    assert ids == [third.guid, third.guid, first.guid, first.guid]
    assert deliveries.discard() == [second]
    deliveries.resume()
    deliveries.drop(lambda one: one.event == "push")
    house.repo.commit({"a": "lost"})
    deliveries.deliver_all()
    house.repo.commit({"a": "there"})
    deliveries.settle()
    assert len(receiver.got) == 5


@pytest.mark.threat("HOK-04")
@pytest.mark.parametrize("fault", ["error", "slow", "away"])
def test_a_failed_delivery_is_not_sent_again_but_can_be_asked_for(house, receiver, fault):
    deliveries = house.github.deliveries
    house.gate.events = ["push"]
    house.gating.permissions.pop("checks")
    deliveries.patience = 0.2
    if fault == "error":
        receiver.status = 500
    elif fault == "slow":
        receiver.seconds = 0.4
    else:
        house.gate.webhook_url = "http://127.0.0.1:9/nobody"
    house.repo.commit({"a": "b"})
    deliveries.settle()
    count = len(receiver.got)
    (failed,) = house.ask(token(house), "GET", "/app/hook/deliveries?status=failure").json()
    assert (failed["event"], failed["status_code"], failed["redelivery"]) == (
        "push",
        {"error": 500, "slow": 504, "away": 502}[fault],
        False,
    )
    assert house.ask(token(house), "GET", "/app/hook/deliveries?status=success").json() == []
    receiver.status, receiver.seconds, house.gate.webhook_url, deliveries.patience = 202, 0.0, receiver.url, 5.0
    assert len(receiver.got) == count
    assert house.ask(token(house), "POST", f"/app/hook/deliveries/{failed['id']}/attempts").status_code == 202
    deliveries.settle()
    again = house.ask(token(house), "GET", "/app/hook/deliveries").json()[0]
    assert (again["guid"], again["redelivery"], again["status_code"]) == (failed["guid"], True, 202)
    assert again["id"] != failed["id"]
    shown = house.ask(token(house), "GET", f"/app/hook/deliveries/{again['id']}").json()
    assert shown["request"]["payload"]["after"] == house.repo.sha()
    assert receiver.got[-1][0]["x-github-delivery"] == failed["guid"]


def test_deliveries_are_listed_by_cursor(house, receiver):
    house.gate.events = ["push"]
    house.gating.permissions.pop("checks")
    for number in range(5):
        house.repo.commit({"a": str(number)})
    house.github.deliveries.settle()
    first = house.ask(token(house), "GET", "/app/hook/deliveries?per_page=3")
    rest = house.ask(token(house), "GET", first.links["next"]["url"].removeprefix(house.github.api))
    ids = [one["id"] for one in first.json() + rest.json()]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert "next" not in rest.links
