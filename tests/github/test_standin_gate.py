"""What gating rests on: only the pinned App's result counts, a moved head is never merged, every App stays in its lane."""

from __future__ import annotations

import pytest

from tests.support.github.house import House

GATE_3 = "LEO Gate Validation / Gate 3"


def success(sha: str, name: str = GATE_3) -> dict:
    return {"name": name, "head_sha": sha, "status": "completed", "conclusion": "success"}


@pytest.fixture
def pull(house: House):
    house.repo.require(GATE_3, app=house.gate)
    house.repo.commit({"a.txt": "new\n"}, branch="feature/a", by=house.dev)
    return house.repo.open_pull("feature/a", by=house.dev)


def merges(house: House, pull, **body) -> tuple[int, str]:
    answer = house.ask(house.enforcing.token(), "PUT", f"pulls/{pull.number}/merge", body)
    return answer.status_code, answer.json()["message"]


@pytest.mark.threat("GATE-01")
@pytest.mark.parametrize("who", ["a user's status", "the enforcer's status", "github-actions' check", "a user's two"])
def test_a_success_by_anybody_but_the_pinned_app_leaves_it_blocked(house, pull, who):
    status = {"state": "success", "context": GATE_3}
    if who == "github-actions' check":
        token = house.repo.actions_token(checks="write")
        assert house.ask(token, "POST", "check-runs", success(pull.head_sha)).status_code == 201
    elif who == "the enforcer's status":
        house.enforcing.permissions["statuses"] = "write"
        token = house.enforcing.token()
        assert house.ask(token, "POST", f"statuses/{pull.head_sha}", status).status_code == 201
    else:
        for token in [house.dev.token(), house.boss.token()][: 2 if "two" in who else 1]:
            assert house.ask(token, "POST", f"statuses/{pull.head_sha}", status).status_code == 201
    assert not pull.mergeable
    shown = house.ask(house.dev.token(), "GET", f"pulls/{pull.number}").json()
    assert (shown["mergeable"], shown["mergeable_state"]) == (True, "blocked")
    assert merges(house, pull) == (
        405,
        f'Repository rule violations found\n\nRequired status check "{GATE_3}" is expected.\n\n',
    )


@pytest.mark.parametrize("way", ["check run", "status"])
def test_the_pinned_app_clears_it(house, pull, way):
    token = house.gating.token()
    if way == "check run":
        house.ask(token, "POST", "check-runs", success(pull.head_sha))
    else:
        house.ask(token, "POST", f"statuses/{pull.head_sha}", {"state": "success", "context": GATE_3})
    assert (pull.mergeable, pull.mergeable_state) == (True, "clean")
    assert merges(house, pull, sha=pull.head_sha) == (200, "Pull Request successfully merged")
    assert pull.merged
    assert house.repo.sha("main") == pull.merge_commit_sha
