"""PyGithub as it comes from the registry finds nothing odd: it is what the portal speaks with."""

from __future__ import annotations

import pytest
from github import Auth, Github, GithubException, GithubIntegration

from tests.support.github.accounts import App, Installation
from tests.support.github.house import House


def client(house: House, app: App, installation: Installation) -> Github:
    auth = Auth.AppInstallationAuth(Auth.AppAuth(app.id, app.private_key()), installation.id)
    return Github(
        auth=auth, base_url=house.github.api, seconds_between_requests=None, seconds_between_writes=None, retry=None
    )


def test_the_enforcers_and_the_gates_way(house):
    repo = client(house, house.enforcer, house.enforcing).get_repo("acme/widgets")
    branch = repo.get_branch("main")
    repo.create_git_ref("refs/heads/feature/a", branch.commit.sha)
    repo.create_file("a.txt", "Add", "one\n", branch="feature/a")
    pull = repo.create_pull(base="main", head="feature/a", title="Add a", body="Why")
    house.repo.require("Gate 3", app=house.gate)
    pull.add_to_labels("codex-building")
    comment = pull.create_issue_comment("status")
    comment.edit("edited")
    reaction = comment.create_reaction("eyes")
    assert comment.delete_reaction(reaction.id)
    assert [one.number for one in repo.get_pulls(head="acme:feature/a", base="main")] == [1]
    assert [one.filename for one in pull.get_files()] == ["a.txt"]
    with pytest.raises(GithubException, match="is expected"):
        pull.merge(sha=pull.head.sha)

    gate = client(house, house.gate, house.gating).get_repo("acme/widgets")
    run = gate.create_check_run("Gate 3", pull.head.sha, status="in_progress", output={"title": "t", "summary": "s"})
    run.edit(status="completed", conclusion="success")
    house.gating.permissions["contents"] = "read"
    fresh = client(house, house.gate, house.gating).get_repo("acme/widgets")
    assert [one.app.slug for one in fresh.get_commit(pull.head.sha).get_check_runs()] == ["leo-gate"]
    pull.update()
    assert pull.mergeable_state == "clean"
    assert pull.merge(sha=pull.head.sha, merge_method="squash").merged
    assert repo.get_git_ref("heads/main").object.sha == house.repo.sha()
    assert repo.compare(branch.commit.sha, house.repo.sha()).ahead_by == 1


def test_rules_by_its_own_requester(house):
    boss = Github(auth=Auth.Token(house.boss.token()), base_url=house.github.api, seconds_between_writes=None)
    repo = boss.get_repo("acme/widgets")
    body = {"name": "leoportal", "target": "branch", "enforcement": "active", "rules": [{"type": "deletion"}]}
    _, made = repo.requester.requestJsonAndCheck("POST", f"{repo.url}/rulesets", input=body)
    assert made["bypass_actors"] == []
    repo.edit(name="gadgets")
    assert boss.get_repo("acme/widgets").full_name == "acme/gadgets"  # it follows the 301
    assert boss.get_rate_limit().resources.core.limit == 5000
    assert boss.get_user().login == "boss"


def test_an_app_finds_its_installation(house):
    auth = Auth.AppAuth(house.gate.id, house.gate.private_key())
    integration = GithubIntegration(auth=auth, base_url=house.github.api, seconds_between_requests=None)
    assert integration.get_repo_installation("acme", "widgets").id == house.gating.id
    assert integration.get_access_token(house.gating.id, permissions={"checks": "read"}).permissions == {
        "checks": "read"
    }
