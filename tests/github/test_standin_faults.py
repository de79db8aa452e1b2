"""Limits, conditional requests, pages, redirects, and everything that goes wrong on purpose."""

from __future__ import annotations

import time

import pytest
import requests


def test_the_hours_budget_is_counted_and_refuses(house):
    token = house.gating.token()
    first = house.ask(token, "GET", "pulls").headers
    second = house.ask(token, "GET", "pulls").headers
    assert int(first["X-RateLimit-Remaining"]) - 1 == int(second["X-RateLimit-Remaining"]) == 4998
    house.github.limits.use_up(house.github.actor(token))
    refused = house.ask(token, "GET", "pulls")
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (403, "0")
    assert refused.json()["message"] == f"API rate limit exceeded for installation ID {house.gating.id}."
    assert house.ask(house.gating.token(), "GET", "pulls").status_code == 403  # another token of the same installation
    assert house.ask(house.enforcing.token(), "GET", "pulls").status_code == 200
    wait = int(refused.headers["x-ratelimit-reset"]) - house.github.clock.now().timestamp()
    house.github.clock.advance(min(wait, 3599) + 1)
    assert house.ask(house.gating.token(), "GET", "pulls").status_code == 200


def test_asking_for_the_limit_costs_nothing(house):
    token = house.dev.token()
    used = [house.ask(token, "GET", "/rate_limit").json()["resources"]["core"]["used"] for _ in range(3)]
    assert used == [0, 0, 0]


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_says_how_long(house, status):
    house.github.limits.start_secondary(30, status=status)
    answer = house.ask(house.dev.token(), "GET", "pulls")
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "30")
    assert "secondary rate limit" in answer.json()["message"]
    house.github.clock.advance(31)
    assert house.ask(house.dev.token(), "GET", "pulls").status_code == 200


def test_an_unchanged_answer_costs_nothing(house):
    token = house.dev.token()
    first = house.ask(token, "GET", "branches")
    again = house.ask(token, "GET", "branches", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["X-RateLimit-Remaining"] == first.headers["X-RateLimit-Remaining"]
    house.repo.commit({"a": "b"})
    changed = house.ask(token, "GET", "branches", **{"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_lists_come_in_pages(house):
    house.repo.commit({"a": "b"}, branch="x")
    pull = house.repo.open_pull("x", by=house.dev)
    for number in range(7):
        pull.comment(f"number {number}", by=house.dev)
    answer = house.ask(house.dev.token(), "GET", "issues/1/comments?per_page=3")
    seen = [one["body"] for one in answer.json()]
    while "next" in answer.links:
        answer = house.ask(house.dev.token(), "GET", answer.links["next"]["url"].removeprefix(house.github.api))
        seen += [one["body"] for one in answer.json()]
    assert seen == [f"number {number}" for number in range(7)]
    assert set(answer.links) == {"prev", "first"}


@pytest.mark.parametrize("change", ["rename", "transfer"])
def test_a_repository_that_moved_is_found_by_its_number(house, change):
    token = house.boss.token()
    if change == "rename":
        house.ask(token, "PATCH", "", {"name": "gadgets"})
    else:
        house.github.transfer(house.repo, house.boss, house.boss)
    answer = house.ask(token, "GET", "/repos/acme/widgets/branches?per_page=1")
    location = f"{house.github.api}/repositories/{house.repo.id}/branches?per_page=1"
    assert (answer.status_code, answer.headers["Location"]) == (301, location)
    assert requests.get(location, headers={"Authorization": f"Bearer {token}"}, timeout=10).json()[0]["name"] == "main"
    assert house.ask(token, "POST", "/repos/acme/widgets/labels", {"name": "x"}).status_code == 307
    assert house.ask("", "GET", "/repos/acme/widgets").status_code == 404
    assert house.ask(token, "GET", f"/repositories/{house.repo.id}").json()["full_name"] == house.repo.full_name
    house.github.create_repository(
        "acme/widgets", seed={"a": "b"}
    )  # the name is given to another: no redirect any more
    assert house.ask(token, "GET", "/repos/acme/widgets").json()["id"] != house.repo.id


@pytest.mark.parametrize("kind", [502, "reset"])
@pytest.mark.parametrize("after", [False, True])
def test_a_fault_hits_before_or_after_the_effect(house, kind, after):
    house.github.chaos.plant(kind, method="POST", path="/labels", after=after)
    body = {"name": "one"}
    if kind == "reset":
        with pytest.raises(requests.ConnectionError):
            house.ask(house.dev.token(), "POST", "labels", body)
    else:
        assert house.ask(house.dev.token(), "POST", "labels", body).status_code == 502
    assert [one.name for one in house.repo.labels] == (["one"] if after else [])
    assert house.ask(house.dev.token(), "POST", "labels", body).status_code == (422 if after else 201)


def test_an_outage_lasts_until_it_ends(house):
    house.github.chaos.outage(503)
    assert {house.ask(house.dev.token(), "GET", "pulls").status_code for _ in range(3)} == {503}
    house.github.chaos.end()
    assert house.ask(house.dev.token(), "GET", "pulls").status_code == 200


def test_slowness_is_slow(house):
    house.github.chaos.plant("slow", path="/pulls", seconds=0.15)
    began = time.monotonic()
    assert house.ask(house.dev.token(), "GET", "pulls").status_code == 200
    assert time.monotonic() - began >= 0.15


def test_every_request_is_kept(house):
    house.ask(house.gating.token(), "POST", "check-runs", {"name": "x", "head_sha": house.repo.sha()})
    house.ask("", "GET", "/zen")
    first, second = house.github.requests
    assert (first.method, first.path, first.actor, first.status) == (
        "POST",
        "/repos/acme/widgets/check-runs",
        "leo-gate[bot]",
        201,
    )
    assert first.json()["name"] == "x"
    assert (second.actor, second.status) == ("anonymous", 200)


def test_a_callback_before_each_request_may_move_a_head(house):
    seen = []
    stop = house.github.before_request(lambda request: seen.append(house.repo.commit({"a": str(request.number)})))
    shown = house.ask(house.dev.token(), "GET", "branches/main").json()["commit"]["sha"]
    stop()
    house.ask(house.dev.token(), "GET", "branches/main")
    assert seen == [shown]


def test_nonsense_is_400_and_unknown_is_404(house):
    with house.github.contract.ignoring_requests():
        url, headers = f"{house.repo.url}/labels", {"Authorization": f"token {house.dev.token()}"}
        assert requests.post(url, b"{", headers=headers, timeout=10).json()["message"] == "Problems parsing JSON"
        assert requests.post(url, b"[1]", headers=headers, timeout=10).status_code == 400
        assert house.ask(house.dev.token(), "GET", "no-such-thing").status_code == 404
    assert house.github.contract.undescribed == set()
