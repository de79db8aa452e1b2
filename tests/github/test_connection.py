"""Talking to GitHub: tokens, limits, refusals and outages, each as a stable code and when to come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import App, Connection, Installation, Token
from handoffs.github.failures import wait_after
from tests.support.github.house import House


@pytest.fixture
def enforcer(house: House) -> Connection:
    return connection(house, house.enforcer, house.enforcing.id)


def connection(house: House, app, installation: int, **more) -> Connection:
    return Connection(house.github.api, Installation(App(app.id, app.private_key()), installation), **more)


def test_nothing_is_asked_to_know_the_budget(house: House, enforcer: Connection):
    assert (enforcer.budget.remaining, enforcer.budget.limit) == (-1, -1)
    enforcer.refuse_spent_budget(now=datetime.now(UTC))
    assert not house.github.requests


def test_each_app_speaks_for_itself_and_may_what_it_may(house: House, enforcer: Connection):
    gate = connection(house, house.gate, house.gating.id)
    path = f"/repos/{house.repo.full_name}"
    assert enforcer.request("GET", path).data["id"] == house.repo.id
    with pytest.raises(ForgeError, match=r"github\.forbidden: got 403: Resource not accessible by integration"):
        enforcer.request("POST", f"{path}/check-runs", {"name": "LEO", "head_sha": house.repo.sha()})
    with pytest.raises(ForgeError, match=r"github\.forbidden"):
        gate.request("PUT", f"{path}/contents/x", {"message": "x", "content": "eA=="})
    assert {request.actor for request in house.github.requests} >= {"leo-enforcer[bot]", "leo-gate[bot]"}
    assert (enforcer.is_separated, enforcer.app_id) == (True, house.enforcer.id)


def test_a_token_is_used_until_it_ends_and_then_renewed(house: House, enforcer: Connection):
    path = f"/repos/{house.repo.full_name}"
    for _ in range(3):
        enforcer.request("GET", path)
    assert tokens_given(house) == 1
    house.github.expire_tokens(house.enforcer)
    with pytest.raises(ForgeError, match=r"github\.unauthorized") as refused:
        enforcer.request("GET", path)
    assert refused.value.retry_in is not None
    assert enforcer.request("GET", path).status == 200
    assert tokens_given(house) == 2


def tokens_given(house: House) -> int:
    return sum(request.path.endswith("/access_tokens") for request in house.github.requests)


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_says_how_long_to_wait(house: House, enforcer: Connection, status: int):
    enforcer.token()
    house.github.limits.start_secondary(37, status=status)
    with pytest.raises(ForgeError, match=r"github\.rate_limited") as refused:
        enforcer.request("GET", f"/repos/{house.repo.full_name}")
    assert timedelta(seconds=35) <= (refused.value.retry_in or timedelta()) <= timedelta(seconds=38)


def test_a_used_up_hour_waits_for_its_end_and_its_last_requests_are_kept(house: House, enforcer: Connection):
    actor = house.github.actor(enforcer.token())
    now = datetime.now(UTC)
    house.github.limits.use_up(actor, remaining=20)
    enforcer.request("GET", f"/repos/{house.repo.full_name}")
    assert enforcer.budget.remaining in {19, 20}
    with pytest.raises(ForgeError, match=r"kept for what cannot wait") as kept:
        enforcer.refuse_spent_budget(now=now)
    house.github.limits.use_up(actor)
    with pytest.raises(ForgeError, match=r"github\.rate_limited") as refused:
        enforcer.request("GET", f"/repos/{house.repo.full_name}")
    for error in (kept.value, refused.value):
        assert timedelta(minutes=59) <= (error.retry_in or timedelta()) <= timedelta(minutes=61)
    enforcer.refuse_spent_budget(now=now + timedelta(hours=2))


@pytest.mark.parametrize(
    ("kind", "code", "waits"),
    [
        (502, "github.unavailable", True),
        (503, "github.unavailable", True),
        ("reset", "github.unreachable", True),
        (404, "github.not_found", False),
        (405, "github.not_mergeable", False),
        (409, "github.conflict", False),
        (422, "github.refused", False),
        (418, "github.failed", False),
    ],
)
def test_every_failure_is_a_code_and_nothing_is_tried_behind_the_callers_back(
    house: House, enforcer: Connection, kind, code: str, waits: bool
):
    enforcer.token()
    before = len(house.github.requests)
    house.github.chaos.plant(kind, path="/repos/")
    with pytest.raises(ForgeError) as refused:
        enforcer.request("GET", f"/repos/{house.repo.full_name}")
    assert (refused.value.code, refused.value.retry_in is not None) == (code, waits)
    assert len(house.github.requests) == before + 1


@pytest.mark.parametrize(
    ("code", "said", "away", "wait"),
    [
        ("github.unavailable", 15, 20, 15), ("github.unreachable", 15, 100, 25), ("github.unavailable", 15, 1800, 60),
        ("github.rate_limited", 3600, 10, 3600), ("github.rate_limited", 5, 1800, 5), ("github.not_found", None, 1800, None),
    ],
)  # fmt: skip
def test_an_outage_is_asked_about_less_often_the_longer_it_lasts_and_a_limit_as_github_says(code, said, away, wait):
    error = ForgeError(code, "", retry_in=said and timedelta(seconds=said))
    assert wait_after(error, away=timedelta(seconds=away)) == (wait and timedelta(seconds=wait))


def test_a_slow_answer_ends_at_the_timeout(house: House):
    slow = connection(house, house.enforcer, house.enforcing.id, seconds=1.0)
    slow.token()
    house.github.chaos.plant("slow", path="/repos/", seconds=1.5)
    with pytest.raises(ForgeError, match=r"github\.unreachable"):
        slow.request("GET", f"/repos/{house.repo.full_name}")


def test_errors_hold_no_credential(house: House, enforcer: Connection):
    token = enforcer.token()
    for kind in (502, "reset", 404):
        house.github.chaos.plant(kind, path="/repos/")
        with pytest.raises(ForgeError) as refused:
            enforcer.request("GET", f"/repos/{house.repo.full_name}")
        assert token not in repr(refused.value) + str(refused.value)
        assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://github.example/api/v3", "github.plain_http"),
        ("ftp://github.example", "github.address"),
        ("https://", "github.address"),
        ("https://user:secret@github.example", "github.address"),
    ],
)
def test_a_token_goes_over_tls_or_stays_here(url: str, code: str):
    with pytest.raises(ForgeError) as refused:
        Connection(url, Token("x"))
    assert refused.value.code == code


def test_an_enterprise_server_has_its_own_address_and_a_token_is_nobodys_lane(house: House):
    mine = Connection(f"{house.github.api}/", Token(house.boss.token()))
    assert mine.api_url == house.github.api  # …/api/v3, as on a server of one's own
    assert mine.repository_by_id(house.repo.id).full_name == house.repo.full_name
    assert (mine.is_separated, mine.app_id) == (False, 0)
    with pytest.raises(ForgeError, match=r"github\.token_mode"):
        mine.as_app()


def test_a_repository_is_found_by_its_number_whatever_it_is_called(house: House, enforcer: Connection):
    house.github.rename(house.repo, "gadgets", by=house.boss)
    assert enforcer.repository_by_id(house.repo.id).full_name == "acme/gadgets"
