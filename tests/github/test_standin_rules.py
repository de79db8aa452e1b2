"""Rulesets as the API has them, and the merge queue."""

from __future__ import annotations

import pytest

from tests.support.github.house import House

CI = "LEO Gate Validation / Gate 3"


def required(house: House, **more) -> dict:
    check = {"context": CI, "integration_id": house.gate.id}
    rule = {
        "type": "required_status_checks",
        "parameters": {"required_status_checks": [check], "strict_required_status_checks_policy": True},
    }
    return {
        "name": "leoportal", "target": "branch", "enforcement": "active", "bypass_actors": [],
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [rule, {"type": "non_fast_forward"}, {"type": "deletion"}],
    } | more  # fmt: skip


def test_one_is_written_read_disabled_and_leaves_a_history(house):
    token = house.boss.token()
    made = house.ask(token, "POST", "rulesets", required(house))
    path = f"rulesets/{made.json()['id']}"
    assert made.status_code == 201
    assert house.ask(token, "POST", "rulesets", required(house)).status_code == 422
    assert house.ask(token, "GET", path).json()["bypass_actors"] == []
    assert "bypass_actors" not in house.ask(house.dev.token(), "GET", path).json()
    assert [one["name"] for one in house.ask(house.gating.token(), "GET", "rulesets").json()] == ["leoportal"]
    rules = house.ask(house.gating.token(), "GET", "rules/branches/main").json()
    assert [one["type"] for one in rules] == ["required_status_checks", "non_fast_forward", "deletion"]
    assert rules[0]["parameters"]["required_status_checks"] == [{"context": CI, "integration_id": house.gate.id}]
    assert house.ask(token, "GET", "rules/branches/feature/x").json() == []
    assert house.ask(token, "PUT", path, {"enforcement": "disabled"}).json()["enforcement"] == "disabled"
    assert house.ask(token, "GET", "rules/branches/main").json() == []
    house.ask(token, "PUT", path, {"enforcement": "active"})
    history = house.ask(token, "GET", f"{path}/history").json()
    states = [
        house.ask(token, "GET", f"{path}/history/{one['version_id']}").json()["state"]["enforcement"] for one in history
    ]
    assert states == ["active", "disabled", "active"]
    assert history[0]["actor"]["id"] == house.boss.id
    assert house.ask(house.dev.token(), "PUT", path, {"enforcement": "disabled"}).status_code == 403
    assert house.ask(token, "DELETE", path).status_code == 204
    assert house.ask(token, "GET", path).status_code == 404
    with house.github.contract.ignoring_requests():
        wrong = required(house, rules=[{"type": "no_such_rule"}])
        assert house.ask(token, "POST", "rulesets", wrong).status_code == 422
        assert house.ask(token, "POST", "rulesets", required(house, enforcement="sometimes")).status_code == 422


@pytest.mark.parametrize(("pattern", "ref", "fits"), [
    ("~ALL", "a/b", True), ("~DEFAULT_BRANCH", "main", True), ("~DEFAULT_BRANCH", "x", False), ("refs/heads/feature/*", "feature/a", True),
    ("refs/heads/feature/*", "feature/a/b", False), ("refs/heads/feature/**", "feature/a/b", True), ("refs/heads/staging/codex-*", "staging/codex-1", True),
    ("refs/heads/ma?n", "main", True), ("refs/heads/**/x", "x", True), ("refs/heads/main", "main2", False),
])  # fmt: skip
def test_which_branches_a_pattern_means(house, pattern, ref, fits):
    house.repo.rule({"type": "deletion"}, conditions={"ref_name": {"include": [pattern], "exclude": []}})
    assert bool(house.ask(house.boss.token(), "GET", f"rules/branches/{ref}").json()) is fits


@pytest.mark.threat("GATE-08")
def test_a_bypass_merges_and_the_rule_suite_says_so(house):
    admins = [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}]
    house.ask(house.boss.token(), "POST", "rulesets", required(house, bypass_actors=admins))
    before = house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    pull = house.repo.open_pull("x", by=house.dev)
    assert house.ask(house.dev.token(), "PUT", "pulls/1/merge", {}).status_code == 405
    assert house.ask(house.boss.token(), "PUT", "pulls/1/merge", {}).status_code == 200
    suites = house.ask(house.boss.token(), "GET", "rulesets/rule-suites?ref=main&time_period=hour").json()
    assert [(one["result"], one["actor_name"]) for one in suites] == [("bypass", "boss"), ("fail", "dev")]
    assert suites[0]["after_sha"] == pull.merge_commit_sha != before
    detail = house.ask(house.boss.token(), "GET", f"rulesets/rule-suites/{suites[0]['id']}").json()
    assert detail["rule_evaluations"][0]["rule_type"] == "required_status_checks"
    assert house.ask(house.boss.token(), "GET", "rulesets/rule-suites?rule_suite_result=pass").json() == []


def test_a_team_may_be_let_pass(house):
    organization = house.repo.owner
    team = house.github.create_team(organization, "break-glass", house.dev)
    shown = house.ask(house.boss.token(), "GET", "/orgs/acme/teams/break-glass").json()
    assert (shown["id"], shown["members_count"]) == (team.id, 1)
    assert [one["slug"] for one in house.ask(house.dev.token(), "GET", "/orgs/acme/teams").json()] == ["break-glass"]
    assert house.ask(house.gating.token(), "GET", "/orgs/acme/teams").status_code == 403
    actor = {"actor_id": team.id, "actor_type": "Team", "bypass_mode": "pull_request"}
    house.ask(house.boss.token(), "POST", "rulesets", required(house, bypass_actors=[actor]))
    house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    pull = house.repo.open_pull("x", by=house.dev)
    body = {"sha": pull.head_sha, "force": False}
    answer = house.ask(house.dev.token(), "PATCH", "git/refs/heads/main", body)
    assert answer.status_code == 422  # by a pull request only
    assert house.ask(house.boss.token(), "PUT", "pulls/1/merge", {}).status_code == 405
    assert house.ask(house.dev.token(), "PUT", "pulls/1/merge", {}).status_code == 200
    assert pull.merged


# --- the queue ---


@pytest.fixture
def queue(house: House):
    parameters = {
        "check_response_timeout_minutes": 60, "grouping_strategy": "ALLGREEN", "max_entries_to_build": 5, "max_entries_to_merge": 5,
        "merge_method": "MERGE", "min_entries_to_merge": 1, "min_entries_to_merge_wait_minutes": 5,
    }  # fmt: skip
    house.repo.require(CI, app=house.gate)
    house.repo.rule({"type": "merge_queue", "parameters": parameters})
    pulls = []
    for name in ("a", "b"):
        house.repo.commit({f"{name}.txt": name}, branch=name, by=house.dev)
        pulls.append(house.repo.open_pull(name, by=house.dev))
    return pulls


def judge(house: House, sha: str, conclusion: str = "success") -> None:
    body = {"name": CI, "head_sha": sha, "status": "completed", "conclusion": conclusion}
    assert house.ask(house.gating.token(), "POST", "check-runs", body).status_code == 201


def test_the_queue_merges_its_groups_in_order_when_each_is_judged(house, queue):
    one, two = queue
    assert "merge queue" in house.ask(house.dev.token(), "PUT", "pulls/1/merge", {}).json()["message"]
    refused = house.ask(house.dev.token(), "PUT", "pulls/1/merge-async", {"merge_action": "merge_queue"})
    assert refused.status_code == 202
    path = f"pulls/1/merge-async/{refused.json()['details']['uuid']}"
    assert house.ask(house.dev.token(), "GET", path).json()["status"] == "failed"
    for pull in queue:
        judge(house, pull.head_sha)
    assert house.ask(house.dev.token(), "PUT", "pulls/1/merge-async", {}).status_code == 202
    house.repo.enqueue(two, by=house.dev)
    first, second = house.repo.groups
    assert second.base_sha == first.head_sha
    assert house.repo.sha(first.branch) == first.head_sha
    judge(house, second.head_sha)
    assert not two.merged  # its turn has not come
    judge(house, first.head_sha)
    assert (one.merged, two.merged, house.repo.groups, house.repo.sha()) == (True, True, [], second.head_sha)
    assert not house.repo.sha(second.branch)


@pytest.mark.threat("GATE-06")
def test_a_group_that_fails_or_is_not_judged_by_the_pinned_app_does_not_land(house, queue):
    for pull in queue:
        judge(house, pull.head_sha)
    before = house.repo.sha()
    (group,) = house.repo.enqueue(*queue, by=house.dev, together=True)
    body = {"state": "success", "context": CI}
    house.ask(house.dev.token(), "POST", f"statuses/{group.head_sha}", body)
    assert house.repo.sha() == before
    judge(house, group.head_sha, "failure")
    assert house.repo.sha() == before
    assert queue[1] not in house.repo.queue
    rest = house.repo.groups[0]  # the other one is tried alone
    assert rest.pulls == queue[:1]
    judge(house, rest.head_sha)
    assert (queue[0].merged, queue[1].merged) == (True, False)


def test_a_new_head_or_a_moved_base_takes_the_group_apart(house, queue):
    for pull in queue:
        judge(house, pull.head_sha)
    first, _ = house.repo.enqueue(*queue, by=house.dev)
    house.repo.commit({"a.txt": "newer"}, branch="a", by=house.dev)
    assert house.repo.queue == queue[1:]
    (rebuilt,) = house.repo.groups
    assert rebuilt.base_sha == house.repo.sha() == first.base_sha
    base = house.repo.commit({"z.txt": "base"}, by=house.boss)
    (again,) = house.repo.groups
    assert again.base_sha == base


def test_anybody_who_writes_can_push_what_looks_like_a_group(house, queue):
    house.repo.commit({"evil": "x"}, branch="gh-readonly-queue/main/pr-1-forged", by=house.dev)
    assert house.repo.groups == []
    assert not house.github.deliveries.named("merge_group")
