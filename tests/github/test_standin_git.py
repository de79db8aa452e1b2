"""Real git over HTTP and the Git database API: permissions and rules are GitHub's, history is git's."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from tests.support.github.house import House
from tests.support.github.plumbing import QUIET


class Clone:
    """A developer's clone."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.run("clone", "-q", url, str(folder), at=folder.parent)
        self.run("config", "user.name", "dev")
        self.run("config", "user.email", "dev@example.org")

    def run(self, *arguments: str, at: Path | None = None, fails: bool = False) -> str:
        done = subprocess.run(
            ["git", "-C", str(at or self.folder), *arguments], capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder.parent), **QUIET},
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout.strip()

    def commit(self, name: str, text: str = "x\n") -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.run("add", ".")
        self.run("commit", "-qm", f"Change {name}")
        return self.run("rev-parse", "HEAD")


@pytest.fixture
def clone(house: House, tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone", house.repo.url_with(house.enforcing.token()))


def test_a_push_moves_the_real_ref_and_the_pull_request(house, clone):
    clone.run("checkout", "-qb", "feature/a")
    first = clone.commit("a.txt")
    clone.run("push", "-q", "origin", "feature/a")
    assert house.repo.sha("feature/a") == first
    pull = house.repo.open_pull("feature/a", by=house.dev)
    second = clone.commit("b.txt")
    clone.run("push", "-q", "origin", "feature/a")
    assert pull.head_sha == second
    assert clone.run("ls-remote", "origin", f"refs/pull/{pull.number}/head").split()[0] == second
    assert "deny updating a hidden ref" in clone.run("push", "origin", f"HEAD:refs/pull/{pull.number}/head", fails=True)
    clone.run("push", "-q", "origin", ":feature/a")
    assert (pull.state, pull.merged) == ("closed", False)


@pytest.mark.parametrize(("who", "reads", "writes"), [
    ("enforcer", True, True), ("gate", False, False), ("expired", False, False), ("dev", True, True), ("reader", True, False),
    ("stranger", False, False), ("nobody", False, False),
])  # fmt: skip
def test_who_may_fetch_and_push(house, clone, who, reads, writes):
    reader, stranger = house.github.create_user("reader"), house.github.create_user("stranger")
    house.repo.add(reader, "pull")
    token = {
        "enforcer": house.enforcing.token, "gate": house.gating.token, "expired": house.enforcing.token,
        "dev": house.dev.token, "reader": reader.token, "stranger": stranger.token, "nobody": lambda: "",
    }[who]()  # fmt: skip
    if who == "expired":
        house.github.tokens[token].expires_at = house.github.clock.now()
    url = house.repo.url_with(token) if token else house.repo.clone_url
    clone.run("ls-remote", url, fails=not reads)
    clone.run("checkout", "-qb", "x")
    clone.commit("a.txt")
    clone.run("push", url, "x", fails=not writes)
    assert bool(house.repo.sha("x")) is writes


RULES = {
    "force": ({"type": "non_fast_forward"}, "Cannot force-push"), "delete": ({"type": "deletion"}, "Cannot delete"),
    "update": ({"type": "update"}, "Cannot update this protected ref"),
    "pull": ({"type": "pull_request", "parameters": {"required_approving_review_count": 0}}, "through a pull request"),
    "check": ({"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": "ci"}]}}, '"ci" is expected'),
    "merge": ({"type": "required_linear_history"}, "must not contain merge commits"),
    "queue": ({"type": "merge_queue"}, "through the merge queue"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("push", "by"),
    [*((one, "push") for one in RULES), ("force", "api"), ("delete", "api"), ("force", "bypass"), ("check", "bypass")],
)
def test_a_rule_refuses_a_push_and_a_bypass_is_told(house, clone, push, by):
    rule, words = RULES[push]
    bypass = [{"actor_type": "Integration", "actor_id": house.enforcer.id, "bypass_mode": "always"}]
    house.repo.rule(rule, bypass_actors=bypass if by == "bypass" else [])
    before = house.repo.sha()
    if push == "force":
        clone.run("commit", "-q", "--amend", "-m", "other")
    elif push == "merge":
        clone.run("checkout", "-qb", "side")
        clone.commit("side.txt")
        clone.run("checkout", "-q", "main")
        clone.run("merge", "-q", "--no-ff", "-m", "merge", "side")
    elif push != "delete":
        clone.commit("a.txt")
    refspec = ":main" if push == "delete" else "+main:main"
    if push == "delete":
        house.repo.git.run("config", "receive.denyDeleteCurrent", "ignore")
    if by == "api":
        clone.run("push", "-q", "origin", "HEAD:refs/heads/other")
        body = {"sha": clone.run("rev-parse", "HEAD"), "force": True}
        answer = house.ask(
            house.enforcing.token(),
            "DELETE" if push == "delete" else "PATCH",
            "git/refs/heads/main",
            None if push == "delete" else body,
        )
        assert answer.status_code == 422
        assert words in answer.json()["message"]
    else:
        said = clone.run("push", "origin", refspec, fails=by == "push")
        assert by == "bypass" or (words in said and "GH013" in said)
    assert (house.repo.sha() == before) is (by != "bypass")
    suite = house.repo.rule_suites[-1]
    assert (suite.result, suite.ref) == ("bypass" if by == "bypass" else "fail", "refs/heads/main")


def test_lanes_of_branches_are_kept_by_rules(house, clone):
    """staging/codex-* and feature/*: creation and update only by whom the ruleset names."""
    only = [{"actor_type": "Integration", "actor_id": house.enforcer.id, "bypass_mode": "always"}]
    where = {"ref_name": {"include": ["refs/heads/feature/**"], "exclude": []}}
    house.repo.rule({"type": "creation"}, {"type": "update"}, conditions=where, bypass_actors=only)
    clone.run("checkout", "-qb", "feature/a/b")
    clone.commit("a.txt")
    said = clone.run("push", house.repo.url_with(house.dev.token()), "feature/a/b", fails=True)
    assert "creations being restricted" in said
    clone.run("push", "-q", "origin", "feature/a/b")


def test_a_workflow_file_needs_its_own_permission(house, clone):
    clone.run("checkout", "-qb", "x")
    clone.commit(".github/workflows/evil.yml", "on: push\n")
    assert "without `workflows` permission" in clone.run("push", "origin", "x", fails=True)
    house.enforcing.permissions["workflows"] = "write"
    clone.run("push", "-q", house.repo.url_with(house.enforcing.token()), "x")


@pytest.mark.parametrize(("protection", "who", "passes"), [
    ({}, "dev", False), ({"enforce_admins": True}, "boss", False), ({"enforce_admins": False}, "boss", True),
    ({"required_status_checks": None}, "dev", True),
])  # fmt: skip
def test_classic_protection_guards_a_push_too(house, clone, protection, who, passes):
    body = {
        "required_status_checks": {"strict": True, "contexts": [], "checks": [{"context": "ci", "app_id": house.gate.id}]},
        "enforce_admins": None, "required_pull_request_reviews": None, "restrictions": None,
    } | protection  # fmt: skip
    made = house.ask(house.boss.token(), "PUT", "branches/main/protection", body)
    assert made.status_code == 200
    clone.commit("a.txt")
    user = house.boss if who == "boss" else house.dev
    said = clone.run("push", house.repo.url_with(user.token()), "main", fails=not passes)
    assert passes or "GH006: Protected branch update failed for refs/heads/main" in said


def test_classic_protection_is_read_changed_and_taken_away(house):
    token = house.boss.token()
    assert house.ask(token, "GET", "branches/main/protection").json()["message"] == "Branch not protected"
    checks = {"strict": True, "contexts": [], "checks": [{"context": "ci", "app_id": house.gate.id}]}
    body = {
        "required_status_checks": checks,
        "enforce_admins": True,
        "required_pull_request_reviews": {"required_approving_review_count": 1},
        "restrictions": None,
    }
    house.ask(token, "PUT", "branches/main/protection", body)
    shown = house.ask(token, "GET", "branches/main/protection").json()
    assert shown["required_status_checks"]["checks"] == checks["checks"]
    assert (shown["enforce_admins"]["enabled"], shown["allow_force_pushes"]["enabled"]) == (True, False)
    assert house.ask(token, "GET", "branches/main").json()["protection"]["enabled"]
    assert house.ask(token, "DELETE", "branches/main/protection/enforce_admins").status_code == 204
    assert not house.ask(token, "GET", "branches/main/protection/enforce_admins").json()["enabled"]
    assert (
        house.ask(token, "PATCH", "branches/main/protection/required_status_checks", {"strict": False}).json()["strict"]
        is False
    )
    assert house.ask(house.dev.token(), "GET", "branches/main/protection").status_code == 403
    assert house.ask(token, "DELETE", "branches/main/protection").status_code == 204
    assert house.ask(token, "GET", "branches/main/protection").status_code == 404


def test_objects_and_refs_by_the_api_are_gits(house):
    token, git = house.enforcing.token(), house.repo.git
    blob = house.ask(
        token, "POST", "git/blobs", {"content": base64.b64encode(b"\0bin").decode(), "encoding": "base64"}
    ).json()["sha"]
    entry = {"path": "dir/bin", "mode": "100644", "type": "blob", "sha": blob}
    tree = house.ask(token, "POST", "git/trees", {"base_tree": house.repo.sha(), "tree": [entry]}).json()["sha"]
    made = house.ask(token, "POST", "git/commits", {"message": "By API", "tree": tree, "parents": [house.repo.sha()]})
    sha = made.json()["sha"]
    assert git.read(sha, "dir/bin") == b"\0bin"
    assert house.ask(token, "POST", "git/refs", {"ref": "refs/heads/staging/codex-1", "sha": sha}).status_code == 201
    assert (
        house.ask(token, "POST", "git/refs", {"ref": "refs/heads/staging/codex-1", "sha": sha}).json()["message"]
        == "Reference already exists"
    )
    assert house.ask(token, "GET", "git/ref/heads/staging/codex-1").json()["object"]["sha"] == sha
    assert house.ask(token, "GET", "git/ref/heads/staging").status_code == 404
    assert [one["ref"] for one in house.ask(token, "GET", "git/matching-refs/heads/stag").json()] == [
        "refs/heads/staging/codex-1"
    ]
    assert house.ask(token, "GET", "branches/staging%2Fcodex-1").json()["name"] == "staging/codex-1"
    assert (
        house.ask(token, "PATCH", "git/refs/heads/staging/codex-1", {"sha": house.repo.sha()}).json()["message"]
        == "Update is not a fast forward"
    )
    assert len(house.ask(token, "GET", f"git/trees/{tree}?recursive=1").json()["tree"]) == 3
    assert base64.b64decode(house.ask(token, "GET", f"git/blobs/{blob}").json()["content"]) == b"\0bin"
    assert house.ask(token, "GET", f"git/commits/{sha}").json()["tree"]["sha"] == tree
    shown = house.ask(token, "GET", "compare/main...staging/codex-1").json()
    assert (shown["status"], shown["ahead_by"], shown["files"][0]["filename"]) == ("ahead", 1, "dir/bin")
    assert house.ask(token, "GET", f"commits/{sha}").json()["stats"]["total"] == 0
    assert [one["sha"] for one in house.ask(token, "GET", "commits?sha=staging/codex-1").json()] == [
        sha,
        house.repo.sha(),
    ]
    assert {one["name"] for one in house.ask(token, "GET", "branches").json()} == {"main", "staging/codex-1"}
    assert house.ask(token, "GET", f"commits/{sha}/branches-where-head").json()[0]["name"] == "staging/codex-1"
    assert house.ask(token, "DELETE", "git/refs/heads/staging/codex-1").status_code == 204
    assert not git.resolve("refs/heads/staging/codex-1")


def test_contents_are_files_at_a_commit(house):
    token = house.enforcing.token()
    assert [one["name"] for one in house.ask(token, "GET", "contents").json()] == ["README.md"]
    assert base64.b64decode(house.ask(token, "GET", "contents/README.md").json()["content"]) == b"hello\n"
    text = base64.b64encode(b"one\n").decode()
    made = house.ask(token, "PUT", "contents/docs/a.md", {"message": "Add", "content": text})
    assert made.status_code == 201
    assert house.repo.git.read("main", "docs/a.md") == b"one\n"
    again = {"message": "Change", "content": text}
    assert house.ask(token, "PUT", "contents/docs/a.md", again).status_code == 422
    assert house.ask(token, "PUT", "contents/docs/a.md", again | {"sha": "0" * 40}).status_code == 409
    sha = made.json()["content"]["sha"]
    assert house.ask(token, "PUT", "contents/docs/a.md", again | {"sha": sha}).status_code == 200
    assert [one["name"] for one in house.ask(token, "GET", "contents/docs").json()] == ["a.md"]
    assert house.ask(token, "DELETE", "contents/docs/a.md", {"message": "No", "sha": sha}).status_code == 200
    assert house.ask(token, "GET", "contents/docs/a.md").status_code == 404
    assert (
        house.ask(token, "GET", "contents/README.md?ref=nowhere").json()["message"]
        == "No commit found for the ref nowhere"
    )
