"""The contract bites: a wrong request, a wrong answer and a wrong event are each seen."""

from __future__ import annotations

import pytest

from tests.support.described import UNDESCRIBED
from tests.support.github import GitHub
from tests.support.github.contract import Contract, event_validator
from tests.support.github.description import operation, package, subset
from tests.support.github.exchange import Answer, Incoming
from tests.support.github.house import make_house
from tests.support.github.routing import ROUTES

pytestmark = pytest.mark.skipif(not Contract().is_there, reason="GitHub's description is not here")


def incoming(method: str, path: str, *, query: str = "", body: bytes = b"") -> Incoming:
    return Incoming(method, f"/api/v3{path}", query, {}, body)


@pytest.mark.parametrize(("query", "body", "said"), [
    ("", b'{"name": "x"}', "head_sha"), ("", b'{"name": "x", "head_sha": 7}', "head_sha"),
    ("", b'{"name": "x", "head_sha": "y", "status": "done"}', "status"), ("colour=red", b'{"name": "x", "head_sha": "y"}', "no query parameter colour"),
])  # fmt: skip
def test_a_wrong_request_is_seen(query, body, said):
    contract = Contract()
    template = "/repos/{owner}/{repo}/check-runs"
    contract.check_exchange(incoming("POST", "/repos/a/b/check-runs", query=query, body=body), template, Answer(404))
    assert said in contract.violations[0]
    with pytest.raises(AssertionError, match="against GitHub's description"):
        contract.check()


def test_a_right_request_is_not():
    contract = Contract()
    body = b'{"name": "x", "head_sha": "y", "status": "queued"}'
    contract.check_exchange(incoming("POST", "/x", body=body), "/repos/{owner}/{repo}/check-runs", Answer(404))
    contract.check()


@pytest.mark.parametrize(("answer", "said"), [
    (Answer(200, {"id": 1}), "required"), (Answer(200, [{"name": 1}]), "not of type"), (Answer(203, {}), "no answer 203"),
])  # fmt: skip
def test_a_wrong_answer_is_seen(answer, said):
    contract = Contract()
    template = "/repos/{owner}/{repo}/check-runs/{check_run_id}"
    contract.check_exchange(incoming("GET", "/x"), template, answer)
    assert said in contract.violations[0]


def test_a_query_parameter_is_read_as_what_it_may_be():
    contract = Contract()
    for query in ("per_page=5&state=all", "per_page=x", "state=sideways"):
        contract.check_exchange(incoming("GET", "/x", query=query), "/repos/{owner}/{repo}/pulls", Answer(304))
    assert len(contract.violations) == 2


@pytest.mark.skipif(event_validator("push", "") is None, reason="no corpus octokit-webhooks in ../shared/corpora")
def test_a_wrong_event_is_seen():
    contract = Contract()
    contract.check_event("push", {"ref": "refs/heads/main"})
    contract.check_event("no_such_event", {"action": "x"})
    assert len(contract.violations) == 1
    assert contract.undescribed == {"event no_such_event x: no schema"}


def test_what_is_not_described_is_listed(tmp_path):
    contract = Contract()
    with GitHub(tmp_path, contract) as github:
        house = make_house(github)
        assert house.ask(house.dev.token(), "GET", "no-such-thing").status_code == 404
    said = {"GET /api/v3/repos/acme/widgets/no-such-thing: the stand-in has no such endpoint"}
    assert contract.undescribed == said <= UNDESCRIBED
    UNDESCRIBED.difference_update(said)  # meant here: the run's own list goes without it


def test_a_crash_of_the_stand_in_is_a_failure(tmp_path):
    github = GitHub(tmp_path)
    github.errors.append("Traceback")
    with pytest.raises(AssertionError, match="crashed"):
        github.check()
    github.server.server_close()


@pytest.mark.skipif(not subset() or not package(), reason="only one of the two descriptions is here")
def test_every_endpoint_is_in_one_of_the_descriptions():
    assert [f"{one.method} {one.template}" for one in ROUTES if operation(one.method, one.template) is None] == []
