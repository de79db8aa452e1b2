"""Who may call: JWTs and tokens are really checked, and refused in GitHub's words."""

from __future__ import annotations

import json
import time

import jwt
import pytest
import requests

from tests.support.github.house import House

WRONG_KEY = "another App's key"


def signed(house: House, *, key: str = "", algorithm: str = "RS256", **claims) -> str:
    now = int(time.time())
    said = {"iat": now - 60, "exp": now + 540, "iss": str(house.gate.id)} | claims
    secret = {"": house.gate.private_key(), WRONG_KEY: house.enforcer.private_key()}.get(key, key)
    return jwt.encode({name: value for name, value in said.items() if value is not None}, secret, algorithm=algorithm)


@pytest.mark.parametrize(("change", "status"), [
    ({}, 200), ({"iss": "client id"}, 200), ({"exp": time.time() + 3000}, 401), ({"exp": time.time() - 5}, 401),
    ({"iat": time.time() + 600, "exp": time.time() + 630}, 401), ({"exp": None}, 401), ({"iat": None}, 401),
    ({"iss": "4711"}, 404), ({"key": WRONG_KEY}, 401), ({"key": "s" * 32, "algorithm": "HS256"}, 401),
])  # fmt: skip
def test_a_jwt_is_verified(house, change, status):
    if change.get("iss") == "client id":
        change = {"iss": house.gate.client_id}
    answer = house.ask(signed(house, **change), "GET", "/app")
    assert answer.status_code == status
    if status == 200:
        assert (answer.json()["slug"], answer.json()["installations_count"]) == ("leo-gate", 1)


def test_a_jwt_opens_nothing_but_the_apps_own_door(house):
    token = signed(house)
    assert house.ask(token, "GET", "pulls").status_code == 401
    assert house.ask(house.dev.token(), "GET", "/app").status_code == 401
    assert [one["id"] for one in house.ask(token, "GET", "/app/installations").json()] == [house.gating.id]
    assert house.ask(token, "GET", "installation").json()["permissions"] == house.gate.permissions
    assert house.ask(token, "GET", f"/app/installations/{house.enforcing.id}").status_code == 404
    assert house.ask(token, "POST", f"/app/installations/{house.enforcing.id}/access_tokens", {}).status_code == 404


def test_an_installation_token_lives_an_hour_and_can_be_narrowed(house):
    other = house.github.create_repository("acme/other", seed={"a": "b"})
    house.github.install(house.gate, other)
    path = f"/app/installations/{house.gating.id}/access_tokens"
    asked = {"repository_ids": [other.id], "permissions": {"checks": "read"}}
    made = house.ask(signed(house), "POST", path, asked)
    assert (made.status_code, made.json()["permissions"]) == (201, {"checks": "read"})
    token = made.json()["token"]
    assert house.ask(token, "GET", "/installation/repositories").json()["repositories"][0]["full_name"] == "acme/other"
    assert house.ask(token, "GET", "pulls").status_code == 404  # widgets is not there for it
    assert house.ask(token, "GET", "/repos/acme/other/pulls").status_code == 403
    assert house.ask(signed(house), "POST", path, {"permissions": {"contents": "write"}}).status_code == 422
    assert house.ask(signed(house), "POST", path, {"repositories": ["nothing"]}).status_code == 422
    house.github.clock.advance(3601)
    assert house.ask(token, "GET", "/repos/acme/other").json()["message"] == "Bad credentials"


def test_tokens_die_when_told_and_with_their_installation(house):
    token = house.gating.token()
    assert house.ask(token, "DELETE", "/installation/token").status_code == 204
    assert house.ask(token, "GET", "").status_code == 401
    first, second = house.gating.token(), house.enforcing.token()
    house.github.expire_tokens(house.gate)
    assert [house.ask(one, "GET", "pulls").status_code for one in (first, second)] == [401, 200]
    house.github.suspend(house.enforcing)
    assert house.ask(second, "GET", "pulls").status_code == 403
    house.github.uninstall(house.enforcing)
    assert house.ask(second, "GET", "pulls").status_code == 401
    assert house.ask(signed(house, iss=str(house.enforcer.id), key=WRONG_KEY), "GET", "installation").status_code == 404


@pytest.mark.parametrize(("role", "statuses"), [
    ("", [404, 404, 404, 404]), ("pull", [200, 403, 403, 403]), ("push", [200, 201, 403, 403]), ("admin", [200, 201, 200, 201]),
])  # fmt: skip
def test_a_user_needs_the_role(house, role, statuses):
    user = house.github.create_user("somebody")
    if role:
        house.repo.add(user, role)
    sha, token = house.repo.sha(), user.token()
    rules = {"name": "mine", "enforcement": "active", "rules": [{"type": "deletion"}]}
    got = [
        house.ask(token, "GET", "branches/main").status_code,
        house.ask(token, "POST", f"statuses/{sha}", {"state": "success", "context": "x"}).status_code,
        house.ask(token, "GET", "actions/permissions").status_code,
        house.ask(token, "POST", "rulesets", rules).status_code,
    ]
    assert got == statuses


def test_a_fine_grained_token_has_what_it_names(house):
    token = house.dev.token(permissions={"pull_requests": "read"})
    assert house.ask(token, "GET", "pulls").status_code == 200
    answer = house.ask(token, "POST", "pulls", {"title": "x", "head": "x", "base": "main"})
    assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by personal access token")


def test_nobody_sees_a_private_repository_and_everybody_a_public_one(house):
    assert house.ask("", "GET", "").status_code == 404
    assert house.ask("ghp_wrong", "GET", "").status_code == 401
    house.repo.private = False
    assert house.ask("", "GET", "pulls").status_code == 200
    assert house.ask("", "POST", "issues/1/comments", {"body": "x"}).status_code == 401


def test_an_app_writes_only_where_it_is_installed(house):
    other = house.github.create_repository("acme/public", seed={"a": "b"}, private=False)
    token, sha = house.gating.token(), other.sha()
    assert house.ask(token, "GET", "/repos/acme/public/pulls").status_code == 200
    answer = house.ask(token, "POST", "/repos/acme/public/check-runs", {"name": "x", "head_sha": sha})
    assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")


def test_people_and_what_they_may(house):
    token = house.boss.token()
    assert house.ask(token, "GET", "/user").json()["id"] == house.boss.id
    assert house.ask(token, "GET", "/user").headers["X-OAuth-Scopes"] == "repo, workflow"
    assert house.ask(house.gating.token(), "GET", "/user").status_code == 403
    assert house.ask(token, "GET", "/users/dev").json()["id"] == house.dev.id
    assert house.ask(token, "GET", f"/user/{house.dev.id}").json()["login"] == "dev"
    assert house.ask(token, "GET", "/orgs/acme").json()["type"] == "Organization"
    assert house.ask(token, "GET", "/orgs/acme/memberships/boss").json()["role"] == "admin"
    assert house.ask(token, "GET", "/apps/leo-gate").json()["id"] == house.gate.id
    assert {one["login"] for one in house.ask(token, "GET", "collaborators").json()} == {"boss", "dev"}
    assert house.ask(token, "GET", "collaborators/dev/permission").json()["permission"] == "write"
    assert house.ask(token, "GET", "collaborators/ghost/permission").json()["permission"] == "none"
    assert house.ask(token, "GET", "collaborators/ghost").status_code == 404


def test_who_else_may_write_checks_is_seen_by_the_owners(house):
    answer = house.ask(house.boss.token(), "GET", "/orgs/acme/installations").json()
    assert {one["app_slug"]: one["permissions"].get("checks") for one in answer["installations"]} == {
        "leo-enforcer": None, "leo-gate": "write",
    }  # fmt: skip
    assert house.ask(house.dev.token(), "GET", "/orgs/acme/installations").status_code == 403
    assert house.ask(house.gating.token(), "GET", "/orgs/acme/installations").status_code == 403
    house.gate.permissions["organization_administration"] = "read"
    house.github.accept_permissions(house.gating)
    assert house.ask(house.gating.token(), "GET", "/orgs/acme/installations").json()["total_count"] == 2


def test_a_manifest_becomes_an_app_once(house):
    manifest = {
        "name": "Leo Gate Two", "url": "https://portal.example", "redirect_url": "https://portal.example/done",
        "hook_attributes": {"url": "https://portal.example/hook"}, "default_permissions": {"checks": "write"},
        "default_events": ["check_run"], "public": False,
    }  # fmt: skip
    form = {"manifest": json.dumps(manifest)}
    answer = requests.post(
        f"{house.github.url}/organizations/acme/settings/apps/new?state=s1", form, allow_redirects=False, timeout=10
    )
    assert answer.status_code == 302
    assert "state=s1" in answer.headers["Location"]
    code = answer.headers["Location"].partition("code=")[2].partition("&")[0]
    made = house.ask("", "POST", f"/app-manifests/{code}/conversions")
    assert (made.status_code, made.json()["slug"], made.json()["owner"]["login"]) == (201, "leo-gate-two", "acme")
    assert house.ask("", "POST", f"/app-manifests/{code}/conversions").status_code == 404
    app = house.github.apps[-1]
    now = int(time.time())
    token = jwt.encode({"iat": now, "exp": now + 60, "iss": str(app.id)}, made.json()["pem"], algorithm="RS256")
    assert house.ask(token, "GET", "/app").json()["permissions"] == {"checks": "write"}
    assert house.ask(token, "GET", "/app/hook/config").json()["url"] == "https://portal.example/hook"
