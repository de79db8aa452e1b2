"""Workflows, runs, what their token may do, and who they say they are."""

from __future__ import annotations

import jwt
import pytest
import requests

from tests.support.github.house import House

SLSA = """name: SLSA
on:
  workflow_dispatch:
    inputs:
      handoff: {required: true}
      level: {default: "3"}
  pull_request:
    branches: [main]
jobs:
  build: {runs-on: x, name: Build it}
  sign: {runs-on: x}
"""


@pytest.fixture
def files(house: House):
    house.enforcing.permissions |= {"administration": "read", "secrets": "read", "environments": "read"}
    return house.repo.commit(
        {
            ".github/workflows/slsa.yml": SLSA,
            ".github/workflows/push.yml": "name: CI\non: push\njobs: {a: {runs-on: x}}\n",
        },
        by=house.boss,
    )


@pytest.mark.parametrize("details", [False, True])
def test_a_dispatch_starts_a_run_at_the_tip_of_its_ref(house, files, details):
    token, github = house.enforcing.token(), house.github
    sha = house.repo.commit({"a": "b"}, branch="feature/a", by=house.dev)
    body = {"ref": "feature/a", "inputs": {"handoff": "h1"}} | ({"return_run_details": True} if details else {})
    github.runs_are_hidden = not details
    answer = house.ask(token, "POST", "actions/workflows/slsa.yml/dispatches", body)
    path = f"actions/runs?head_sha={sha}&event=workflow_dispatch"
    if details:
        assert (answer.status_code, answer.json()["workflow_run_id"]) == (200, house.repo.runs[-1].id)
    else:
        assert (answer.status_code, answer.content) == (204, b"")
        assert house.ask(token, "GET", path).json()["total_count"] == 0
        github.show_runs()
    (shown,) = house.ask(token, "GET", path).json()["workflow_runs"]
    assert (shown["path"], shown["head_branch"], shown["status"], shown["actor"]["login"]) == (
        ".github/workflows/slsa.yml", "feature/a", "queued", "leo-enforcer[bot]",
    )  # fmt: skip
    assert house.repo.runs[-1].inputs == {"handoff": "h1", "level": "3"}


@pytest.mark.parametrize(("workflow", "body", "said"), [
    ("slsa.yml", {"ref": "main"}, "Required input 'handoff' not provided"), ("push.yml", {"ref": "main"}, "Workflow does not have 'workflow_dispatch' trigger"),
    ("slsa.yml", {"ref": "main", "inputs": {"handoff": "h", "more": "x"}}, "Unexpected inputs provided: ['more']"),
    ("slsa.yml", {"ref": "nowhere", "inputs": {"handoff": "h"}}, "No ref found for: nowhere"), ("none.yml", {"ref": "main"}, "Not Found"),
])  # fmt: skip
def test_why_a_dispatch_is_refused(house, files, workflow, body, said):
    answer = house.ask(house.enforcing.token(), "POST", f"actions/workflows/{workflow}/dispatches", body)
    assert (answer.status_code, answer.json()["message"]) == (404 if said == "Not Found" else 422, said)


def test_a_run_goes_its_way_and_once_more(house, files):
    token = house.enforcing.token()
    house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    house.repo.open_pull("x", by=house.dev)
    run = house.repo.runs[-1]
    assert (run.event, run.workflow.name, [job.name for job in run.jobs]) == (
        "pull_request",
        "SLSA",
        ["Build it", "sign"],
    )
    path = f"actions/runs/{run.id}"
    assert house.ask(token, "POST", f"{path}/rerun").status_code == 403
    run.start()
    assert house.ask(token, "GET", path).json()["status"] == "in_progress"
    run.finish("failure", jobs={"sign": "failure", "Build it": "success"})
    jobs = house.ask(token, "GET", f"{path}/jobs").json()["jobs"]
    assert [(one["name"], one["conclusion"]) for one in jobs] == [("Build it", "success"), ("sign", "failure")]
    assert house.ask(token, "GET", f"actions/jobs/{jobs[0]['id']}").json()["status"] == "completed"
    assert house.ask(token, "POST", f"{path}/cancel").status_code == 409
    assert house.ask(token, "POST", f"{path}/rerun").status_code == 201
    run.finish("success")
    shown = house.ask(token, "GET", path).json()
    assert (shown["run_attempt"], shown["conclusion"], shown["previous_attempt_url"][-2:]) == (2, "success", "/1")
    assert house.ask(token, "GET", f"{path}/attempts/1").json()["conclusion"] == "failure"
    assert house.ask(token, "GET", f"{path}/attempts/1/jobs").json()["total_count"] == 2
    assert house.ask(token, "GET", f"{path}/artifacts").json() == {"total_count": 0, "artifacts": []}
    for query, count in (
        ("event=pull_request", 1),
        ("branch=x&status=success", 1),
        ("status=queued&branch=x", 1),
        ("actor=dev", 2),
        ("created=>2020-01-01", 3),
    ):
        assert house.ask(token, "GET", f"actions/runs?{query}").json()["total_count"] == count, query
    assert house.ask(token, "GET", "actions/workflows/slsa.yml/runs").json()["total_count"] == 1
    names = [one["name"] for one in house.ask(token, "GET", "actions/workflows").json()["workflows"]]
    assert sorted(names) == ["CI", "SLSA"]
    assert house.ask(token, "PUT", "actions/workflows/slsa.yml/disable").status_code == 204
    assert house.ask(token, "GET", "actions/workflows/slsa.yml").json()["state"] == "disabled_manually"


def test_jobs_are_checks_of_github_actions(house, files):
    run = house.repo.runs[-1].finish("success")
    house.gating.permissions["contents"] = "read"
    shown = house.ask(house.gating.token(), "GET", f"commits/{run.head_sha}/check-runs").json()["check_runs"]
    assert [(one["name"], one["app"]["id"], one["conclusion"]) for one in shown] == [("a", 15368, "success")]
    suites = house.ask(house.gating.token(), "GET", f"commits/{run.head_sha}/check-suites?app_id=15368").json()
    assert [one["conclusion"] for one in suites["check_suites"]] == ["success"]


def test_what_the_onboarding_check_reads(house, files):
    token, repo = house.enforcing.token(), house.repo
    assert house.ask(token, "GET", "actions/permissions/workflow").json() == {
        "default_workflow_permissions": "read",
        "can_approve_pull_request_reviews": False,
    }
    assert house.ask(token, "GET", "actions/permissions").json()["enabled"] is True
    assert house.ask(token, "GET", "actions/secrets").json() == {"total_count": 0, "secrets": []}
    repo.secrets.append("DEPLOY_KEY")
    repo.environments.append(
        {
            "name": "production",
            "protection_rules": [{"id": 1, "node_id": "x", "type": "required_reviewers", "reviewers": []}],
        }
    )
    assert house.ask(token, "GET", "actions/secrets").json()["secrets"][0]["name"] == "DEPLOY_KEY"
    (environment,) = house.ask(token, "GET", "environments").json()["environments"]
    assert environment["protection_rules"][0]["type"] == "required_reviewers"
    assert house.ask(token, "GET", "environments/production").json()["name"] == "production"
    assert house.ask(token, "GET", "environments/production/secrets").json()["total_count"] == 0
    body = {"default_workflow_permissions": "write", "can_approve_pull_request_reviews": True}
    assert house.ask(token, "PUT", "actions/permissions/workflow", body).status_code == 403
    assert house.ask(house.boss.token(), "PUT", "actions/permissions/workflow", body).status_code == 204
    assert house.ask(token, "GET", "actions/permissions/workflow").json() == body
    assert house.ask(house.gating.token(), "GET", "actions/secrets").status_code == 403


def test_a_run_says_who_it_is_by_a_token_anyone_can_check(house, files):
    house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    house.repo.open_pull("x", by=house.dev)
    run, url = house.repo.runs[-1], house.github.oidc.url
    configuration = requests.get(f"{url}/.well-known/openid-configuration", timeout=10).json()
    assert configuration["issuer"] == url
    key = jwt.PyJWKClient(configuration["jwks_uri"]).get_signing_key_from_jwt(run.id_token("leoportal"))
    said = jwt.decode(run.id_token("leoportal"), key, algorithms=["RS256"], audience="leoportal", issuer=url)
    assert {name: said[name] for name in ("repository", "repository_id", "workflow_ref", "sha", "event_name", "run_id", "run_attempt", "base_ref")} == {
        "repository": "acme/widgets", "repository_id": str(house.repo.id), "sha": run.head_sha, "event_name": "pull_request",
        "workflow_ref": "acme/widgets/.github/workflows/slsa.yml@refs/pull/1/merge", "run_id": str(run.id), "run_attempt": "1", "base_ref": "main",
    }  # fmt: skip
    assert said["job_workflow_ref"] == said["workflow_ref"]
    forged = jwt.decode(run.id_token("x", sha="0" * 40), options={"verify_signature": False})
    assert forged["sha"] == "0" * 40


def test_the_token_of_a_run_may_what_it_names(house, files):
    run = house.repo.runs[-1]
    assert house.ask(run.token(), "GET", "contents/README.md").status_code == 200
    assert house.ask(run.token(), "POST", f"statuses/{run.head_sha}", {"state": "success"}).status_code == 403
    made = house.ask(run.token(statuses="write"), "POST", f"statuses/{run.head_sha}", {"state": "success"})
    assert made.json()["creator"]["login"] == "github-actions[bot]"
    house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    house.repo.open_pull("x", by=house.dev)
    token = run.token(pull_requests="write")
    assert house.ask(token, "POST", "pulls/1/reviews", {"event": "APPROVE"}).status_code == 422
    house.repo.token_permissions["can_approve_pull_request_reviews"] = True
    assert house.ask(token, "POST", "pulls/1/reviews", {"event": "APPROVE"}).status_code == 200
