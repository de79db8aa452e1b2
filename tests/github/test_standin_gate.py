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


@pytest.mark.parametrize(("conclusion", "counts"), [
    ("success", True), ("neutral", True), ("skipped", True), ("failure", False), ("cancelled", False),
    ("timed_out", False), ("action_required", False),
])  # fmt: skip
def test_what_satisfies_a_required_check_on_github(house, pull, conclusion, counts):
    token = house.gating.token()
    house.ask(token, "POST", "check-runs", success(pull.head_sha) | {"conclusion": conclusion})
    assert pull.mergeable is counts


def test_the_newest_run_of_the_app_decides(house, pull):
    token = house.gating.token()
    first = house.ask(token, "POST", "check-runs", success(pull.head_sha)).json()
    house.ask(token, "POST", "check-runs", {"name": GATE_3, "head_sha": pull.head_sha, "status": "in_progress"})
    assert not pull.mergeable
    every = house.ask(token, "GET", f"commits/{pull.head_sha}/check-runs?filter=all").json()
    latest = house.ask(
        token, "GET", f"commits/{pull.head_sha}/check-runs?check_name={GATE_3}&app_id={house.gate.id}"
    ).json()
    assert (every["total_count"], latest["total_count"]) == (2, 1)
    assert latest["check_runs"][0]["id"] != first["id"]


def test_a_check_and_a_status_of_one_name_both_have_to_be_good(house, pull):
    token = house.gating.token()
    house.ask(token, "POST", "check-runs", success(pull.head_sha))
    house.ask(token, "POST", f"statuses/{pull.head_sha}", {"state": "pending", "context": GATE_3})
    assert not pull.mergeable
    house.ask(token, "POST", f"statuses/{pull.head_sha}", {"state": "success", "context": GATE_3})
    assert pull.mergeable


@pytest.mark.parametrize("count", [True, False])
def test_a_check_on_a_forks_commit_may_not_count_where_a_status_does(house, count):
    """The trap to be tried against a real repository: a bare commit's check that belongs to no branch here."""
    house.github.bare_checks_count = count
    house.repo.require(GATE_3, app=house.gate)
    fork = house.github.fork(house.repo, house.dev)
    fork.commit({"a.txt": "new\n"}, branch="x", by=house.dev)
    pull = house.repo.open_pull("x", by=house.dev, source=fork)
    house.ask(house.gating.token(), "POST", "check-runs", success(pull.head_sha))
    assert pull.mergeable is count
    house.ask(house.gating.token(), "POST", f"statuses/{pull.head_sha}", {"state": "success", "context": GATE_3})
    assert pull.mergeable


def test_a_success_does_not_move_to_the_next_head(house, pull):
    house.ask(house.gating.token(), "POST", "check-runs", success(pull.head_sha))
    judged = pull.head_sha
    house.repo.commit({"a.txt": "newer\n"}, branch="feature/a", by=house.dev)
    assert pull.head_sha != judged
    assert not pull.mergeable
    assert merges(house, pull, sha=judged)[0] == 409
    house.repo.commit({}, branch="feature/a", parent=house.repo.sha("main"), force=True)
    house.repo.move("refs/heads/feature/a", judged)
    assert pull.mergeable


@pytest.mark.threat("GATE-04")
def test_a_head_that_moves_between_two_calls_is_not_merged(house, pull):
    house.ask(house.gating.token(), "POST", "check-runs", success(pull.head_sha))
    judged = pull.head_sha

    def move(request):
        if request.method == "PUT" and request.path.endswith("/merge"):
            stop()
            house.repo.commit({"evil.txt": "x"}, branch="feature/a", by=house.dev)

    stop = house.github.before_request(move)
    assert merges(house, pull, sha=judged) == (409, "Head branch was modified. Review and try the merge again.")
    assert not pull.merged


@pytest.mark.threat("GATE-02")
@pytest.mark.parametrize(("app", "method", "path", "body"), [
    ("enforcer", "POST", "check-runs", success("0" * 40)), ("enforcer", "PATCH", "check-runs/1", {"status": "queued"}),
    ("enforcer", "POST", f"statuses/{'0' * 40}", {"state": "success"}), ("enforcer", "PUT", "branches/main/protection", {
        "required_status_checks": None, "enforce_admins": None, "required_pull_request_reviews": None, "restrictions": None}),
    ("enforcer", "POST", "rulesets", {"name": "x", "enforcement": "disabled"}),
    ("gate", "GET", "contents/README.md", None), ("gate", "POST", "git/refs", {"ref": "refs/heads/x", "sha": "0" * 40}),
    ("gate", "POST", "pulls", {"title": "x", "head": "x", "base": "main"}), ("gate", "PUT", "pulls/1/merge", {}),
    ("gate", "POST", "actions/workflows/1/dispatches", {"ref": "main"}), ("gate", "GET", "actions/runs", None),
])  # fmt: skip
def test_each_app_is_refused_what_is_the_others(house, app, method, path, body):
    token = (house.enforcing if app == "enforcer" else house.gating).token()
    answer = house.ask(token, method, path, body)
    assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")
    assert answer.headers["X-Accepted-GitHub-Permissions"]


def test_a_check_run_is_written_by_its_own_app_only(house, pull):
    made = house.ask(house.gating.token(), "POST", "check-runs", success(pull.head_sha)).json()
    other = house.repo.actions_token(checks="write")
    assert house.ask(other, "PATCH", f"check-runs/{made['id']}", {"conclusion": "failure"}).status_code == 403
    assert (
        house.ask(house.dev.token(), "POST", "check-runs", success(pull.head_sha)).json()["message"]
        == "You must authenticate via a GitHub App."
    )
    assert pull.mergeable


def test_a_pin_that_is_open_lets_anybody_in(house):
    """Why the drift audit refuses null: without a pin a user's status is enough."""
    house.repo.require("ci")
    house.repo.commit({"a.txt": "new\n"}, branch="feature/a")
    pull = house.repo.open_pull("feature/a", by=house.dev)
    house.ask(house.dev.token(), "POST", f"statuses/{pull.head_sha}", {"state": "success", "context": "ci"})
    assert pull.mergeable


def test_strict_wants_the_newest_base(house):
    house.repo.require(GATE_3, app=house.gate, strict=True)
    house.repo.commit({"a.txt": "new\n"}, branch="feature/a")
    pull = house.repo.open_pull("feature/a", by=house.dev)
    house.repo.commit({"b.txt": "base moves\n"})
    house.ask(house.gating.token(), "POST", "check-runs", success(pull.head_sha))
    assert pull.mergeable_state == "behind"
    assert merges(house, pull)[0] == 405
    answer = house.ask(
        house.enforcing.token(), "PUT", f"pulls/{pull.number}/update-branch", {"expected_head_sha": pull.head_sha}
    )
    assert answer.status_code == 202
    house.ask(house.gating.token(), "POST", "check-runs", success(pull.head_sha))
    assert pull.mergeable_state == "clean"


def test_outputs_have_githubs_limits(house, pull):
    token, line = (
        house.gating.token(),
        {"path": "a.txt", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "no"},
    )
    body = success(pull.head_sha)
    output = {"title": "PASS", "summary": "good", "annotations": [line] * 50}
    button = {"label": "Verify again", "description": "Start another round", "identifier": "verify"}
    made = house.ask(token, "POST", "check-runs", body | {"output": output, "actions": [button]})
    assert made.status_code == 201
    path = f"check-runs/{made.json()['id']}"
    house.ask(token, "PATCH", path, {"output": output})
    assert house.ask(token, "GET", path).json()["output"]["annotations_count"] == 100
    assert len(house.ask(token, "GET", f"{path}/annotations?per_page=100").json()) == 100
    with house.github.contract.ignoring_requests():
        for bad in (
            {"output": output | {"annotations": [line] * 51}}, {"actions": [button] * 4},
            {"actions": [button | {"label": "x" * 21}]}, {"actions": [button | {"description": "x" * 41}]},
            {"actions": [button | {"identifier": "x" * 21}]}, {"output": {"title": "x", "summary": "x" * 65536}},
            {"status": "completed"}, {"conclusion": "passed"},
        ):  # fmt: skip
            assert house.ask(token, "PATCH", path, bad).status_code == 422, bad
        assert house.ask(token, "POST", "check-runs", success("f" * 40)).status_code == 422
