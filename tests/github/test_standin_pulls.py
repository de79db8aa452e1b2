"""Pull requests, labels, comments, reviews: what the API says of them, and the three ways to merge."""

from __future__ import annotations

import pytest

from tests.support.github.house import House


@pytest.fixture
def pull(house: House):
    house.repo.commit({"a.txt": "one\n"}, branch="feature/a", by=house.dev, message="First")
    house.repo.commit({"b.txt": "two\n"}, branch="feature/a", by=house.dev, message="Second")
    return house.repo.open_pull("feature/a", by=house.dev, title="Add a", body="Why")


def test_one_is_opened_listed_and_edited(house):
    token, sha = house.enforcing.token(), house.repo.commit({"a.txt": "one\n"}, branch="feature/a")
    body = {"title": "Add a", "head": "feature/a", "base": "main", "body": "Why"}
    made = house.ask(token, "POST", "pulls", body)
    shown = made.json()
    assert (made.status_code, shown["head"]["sha"], shown["mergeable"], shown["changed_files"]) == (201, sha, True, 1)
    assert shown["user"]["login"] == "leo-enforcer[bot]"
    again = house.ask(token, "POST", "pulls", body)
    assert (again.status_code, again.json()["errors"][0]["message"]) == (
        422,
        "A pull request already exists for acme:feature/a.",
    )
    assert house.ask(token, "POST", "pulls", body | {"head": "nowhere"}).json()["errors"][0]["field"] == "head"
    house.repo.move("refs/heads/same", house.repo.sha())
    assert (
        "No commits between"
        in house.ask(token, "POST", "pulls", body | {"head": "same"}).json()["errors"][0]["message"]
    )
    for query, count in (
        ("head=acme:feature/a", 1),
        ("head=acme:feature/b", 0),
        ("base=main", 1),
        ("base=release", 0),
        ("state=closed", 0),
        ("state=all&sort=updated", 1),
    ):
        assert len(house.ask(token, "GET", f"pulls?{query}").json()) == count, query
    house.repo.move("refs/heads/release", house.repo.sha())
    edited = house.ask(token, "PATCH", "pulls/1", {"title": "New", "body": "Because", "base": "release"}).json()
    assert (edited["title"], edited["body"], edited["base"]["ref"]) == ("New", "Because", "release")
    assert house.ask(token, "PATCH", "pulls/1", {"state": "closed"}).json()["state"] == "closed"
    assert house.ask(token, "PATCH", "pulls/1", {"state": "open"}).json()["state"] == "open"
    assert house.ask(token, "GET", "pulls/7").status_code == 404


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_merging_writes_what_github_writes(house, pull, method):
    git, base = house.repo.git, house.repo.commit({"c.txt": "base moved\n"})
    answer = house.ask(house.dev.token(), "PUT", "pulls/1/merge", {"merge_method": method, "sha": pull.head_sha})
    tip = git.commit(house.repo.sha())
    assert (answer.status_code, answer.json()["sha"]) == (200, tip.sha)
    assert {git.read(tip.sha, name) for name in ("a.txt", "b.txt", "c.txt")} == {b"one\n", b"two\n", b"base moved\n"}
    expected = {
        "merge": ((base, pull.head_sha), "Merge pull request #1 from acme/feature/a\n\nAdd a"),
        "squash": ((base,), "Add a (#1)\n\n* First\n\n* Second"), "rebase": ((git.resolve(f"{tip.sha}~1"),), "Second"),
    }  # fmt: skip
    assert (tip.parents, tip.message) == expected[method]
    assert tip.committer.name == "GitHub"
    shown = house.ask(house.dev.token(), "GET", "pulls/1").json()
    assert (shown["merged"], shown["state"], shown["merge_commit_sha"], shown["merged_by"]["login"]) == (
        True,
        "closed",
        tip.sha,
        "dev",
    )
    assert house.ask(house.dev.token(), "GET", "pulls/1/merge").status_code == 204
    assert house.ask(house.dev.token(), "PUT", "pulls/1/merge", {}).status_code == 405
    assert house.ask(house.dev.token(), "GET", f"commits/{tip.sha}/pulls").json()[0]["number"] == 1


@pytest.mark.parametrize(("state", "status", "said"), [
    ("conflict", 405, "Pull Request is not mergeable"), ("draft", 405, "Pull Request is still a draft"),
    ("closed", 405, "Pull Request is not mergeable"), ("stale", 409, "Head branch was modified. Review and try the merge again."),
    ("method", 405, "Merge commits are not allowed on this repository."),
])  # fmt: skip
def test_why_one_is_not_merged(house, pull, state, status, said):
    body = {}
    if state == "conflict":
        house.repo.commit({"a.txt": "other\n"})
        assert (pull.mergeable_state, pull.mergeable) == ("dirty", False)
    elif state == "draft":
        pull.draft = True
    elif state == "closed":
        pull.close(house.dev)
    elif state == "stale":
        body = {"sha": house.repo.sha()}
    else:
        house.repo.merge_methods.discard("merge")
    answer = house.ask(house.dev.token(), "PUT", "pulls/1/merge", body)
    assert (answer.status_code, answer.json()["message"]) == (status, said)


def test_a_push_of_the_same_commits_merges_it_too(house, pull):
    house.repo.move("refs/heads/main", pull.head_sha, by=house.boss)
    assert (pull.merged, pull.merged_by, pull.merge_commit_sha) == (True, house.boss, pull.head_sha)


def test_a_pull_request_of_a_fork(house):
    somebody = house.github.create_user("somebody")
    house.repo.add(somebody, "pull")
    fork = house.github.fork(house.repo, somebody)
    sha = fork.commit({"a.txt": "from outside\n"}, branch="patch", by=somebody)
    made = house.ask(somebody.token(), "POST", "pulls", {"title": "Hello", "head": "somebody:patch", "base": "main"})
    assert made.status_code == 201
    assert (made.json()["head"]["repo"]["fork"], made.json()["head"]["label"]) == (True, "somebody:patch")
    assert house.repo.git.resolve("refs/pull/1/head") == sha
    assert not house.repo.sha("patch")
    newer = fork.commit({"a.txt": "changed\n"}, branch="patch", by=somebody)
    assert (house.repo.pulls[1].head_sha, house.repo.git.resolve("refs/pull/1/head")) == (newer, newer)
    house.ask(house.gating.token(), "POST", "check-runs", {"name": "x", "head_sha": newer})
    assert house.repo.check_runs[-1].head_sha == newer
    shown = house.ask(house.gating.token(), "GET", f"commits/{newer}/check-runs").json()["check_runs"][0]
    assert shown["pull_requests"] == []  # GitHub leaves those of forks out
    assert house.ask(house.dev.token(), "GET", "compare/main...somebody:patch").json()["ahead_by"] == 2
    assert house.ask(somebody.token(), "PUT", "pulls/1/merge", {}).status_code == 403


def test_reviews_count_by_who_and_on_what(house, pull):
    house.repo.rule(
        {
            "type": "pull_request",
            "parameters": {"required_approving_review_count": 1, "dismiss_stale_reviews_on_push": True},
        }
    )
    reader = house.github.create_user("reader")
    house.repo.add(reader, "pull")
    answer = house.ask(house.dev.token(), "POST", "pulls/1/reviews", {"event": "APPROVE"})
    assert answer.json()["message"] == "Can not approve your own pull request"
    assert house.ask(reader.token(), "POST", "pulls/1/reviews", {"event": "APPROVE", "body": "fine"}).status_code == 200
    assert not pull.mergeable
    made = house.ask(house.boss.token(), "POST", "pulls/1/reviews", {"event": "APPROVE", "body": "good"}).json()
    assert pull.mergeable
    assert [one["state"] for one in house.ask(house.boss.token(), "GET", "pulls/1/reviews").json()] == [
        "APPROVED",
        "APPROVED",
    ]
    house.repo.commit({"d.txt": "more\n"}, branch="feature/a", by=house.dev)
    assert not pull.mergeable
    path = f"pulls/1/reviews/{made['id']}"
    assert (
        house.ask(house.boss.token(), "PUT", f"{path}/dismissals", {"message": "stale"}).json()["state"] == "DISMISSED"
    )
    assert house.ask(house.boss.token(), "GET", path).json()["commit_id"] != pull.head_sha


def test_what_is_in_one(house, pull):
    token = house.gating.token()
    house.gating.permissions["contents"] = "read"
    assert [one["filename"] for one in house.ask(token, "GET", "pulls/1/files").json()] == ["a.txt", "b.txt"]
    assert [one["commit"]["message"] for one in house.ask(token, "GET", "pulls/1/commits").json()] == [
        "First",
        "Second",
    ]
    assert house.ask(token, "GET", "pulls/1/comments").json() == []
    assert house.ask(token, "GET", "pulls/1/requested_reviewers").json()["users"] == []


def test_mergeability_may_come_late(house, pull):
    house.github.mergeability_is_late = True
    shown = [house.ask(house.dev.token(), "GET", "pulls/1").json() for _ in range(2)]
    assert [(one["mergeable"], one["mergeable_state"]) for one in shown] == [(None, "unknown"), (True, "clean")]


def test_labels_are_made_as_they_are_put_on(house, pull):
    token = house.enforcing.token()
    assert [
        one["name"]
        for one in house.ask(token, "POST", "issues/1/labels", {"labels": ["codex-building", "priority:p1"]}).json()
    ] == ["codex-building", "priority:p1"]
    house.ask(token, "PUT", "issues/1/labels", {"labels": ["gates-passing", "priority:p1"]})
    pull.label("ready-to-merge", by=house.dev)
    assert house.ask(token, "DELETE", "issues/1/labels/ready-to-merge").status_code == 200
    assert house.ask(token, "DELETE", "issues/1/labels/ready-to-merge").json()["message"] == "Label does not exist"
    assert [one["name"] for one in house.ask(token, "GET", "issues/1/labels").json()] == [
        "priority:p1",
        "gates-passing",
    ]
    assert (
        house.ask(token, "POST", "labels", {"name": "leo:override", "color": "ff0000", "description": "d"}).status_code
        == 201
    )
    assert house.ask(token, "POST", "labels", {"name": "leo:override"}).json()["errors"][0]["code"] == "already_exists"
    assert house.ask(token, "PATCH", "labels/leo:override", {"color": "00ff00"}).json()["color"] == "00ff00"
    assert house.ask(token, "GET", "labels/leo:override").json()["description"] == "d"
    assert house.ask(token, "DELETE", "labels/gates-passing").status_code == 204
    assert [one.name for one in pull.labels] == ["priority:p1"]
    events = house.ask(token, "GET", "issues/1/events").json()
    assert [(one["event"], one["actor"]["login"], one["label"]["name"]) for one in events][-2:] == [
        ("labeled", "dev", "ready-to-merge"), ("unlabeled", "leo-enforcer[bot]", "ready-to-merge"),
    ]  # fmt: skip
    assert [one["performed_via_github_app"] and one["performed_via_github_app"]["slug"] for one in events][-2:] == [
        None,
        "leo-enforcer",
    ]
    assert len(house.ask(token, "GET", "issues/events").json()) == len(events)
    assert [one["number"] for one in house.ask(token, "GET", "issues?labels=priority:p1").json()] == [1]
    assert house.ask(token, "GET", "issues/1").json()["pull_request"]["merged_at"] is None


def test_comments_and_reactions_say_whose_they_are(house, pull):
    token = house.enforcing.token()
    made = house.ask(token, "POST", "issues/1/comments", {"body": "status"}).json()
    path = f"issues/comments/{made['id']}"
    assert (made["user"]["login"], made["performed_via_github_app"]["slug"]) == ("leo-enforcer[bot]", "leo-enforcer")
    assert house.ask(token, "PATCH", path, {"body": "edited"}).json()["body"] == "edited"
    reader = house.github.create_user("reader")
    house.repo.add(reader, "pull")
    assert house.ask(reader.token(), "PATCH", path, {"body": "PASS"}).status_code == 403
    assert house.ask(house.dev.token(), "PATCH", path, {"body": "PASS"}).status_code == 200
    said = pull.comment("/leo-verify PR-1", by=house.dev)
    eyes = house.ask(token, "POST", f"issues/comments/{said.id}/reactions", {"content": "eyes"})
    assert eyes.status_code == 201
    assert house.ask(token, "POST", f"issues/comments/{said.id}/reactions", {"content": "eyes"}).status_code == 200
    assert [one["content"] for one in house.ask(token, "GET", f"issues/comments/{said.id}/reactions").json()] == [
        "eyes"
    ]
    assert house.ask(token, "GET", f"issues/comments/{said.id}").json()["reactions"]["eyes"] == 1
    assert house.ask(token, "DELETE", f"issues/comments/{said.id}/reactions/{eyes.json()['id']}").status_code == 204
    assert (
        len(house.ask(token, "GET", "issues/1/comments").json())
        == len(house.ask(token, "GET", "issues/comments").json())
        == 2
    )
    newest = house.ask(token, "GET", "issues/comments?sort=updated&direction=desc&since=2020-01-01T00:00:00Z").json()
    assert {one["id"] for one in newest} == {said.id, made["id"]}
    assert house.ask(token, "DELETE", path).status_code == 204
    said.delete(house.dev)
    assert house.repo.comments == []
    with house.github.contract.ignoring_requests():
        assert house.ask(token, "POST", "issues/1/comments", {"body": " "}).status_code == 422
        assert house.ask(token, "POST", "issues/1/comments", {"body": "x" * 65537}).status_code == 422
        assert house.ask(token, "POST", "issues/1/comments", {}).status_code == 422


def test_settings_of_a_repository(house):
    token = house.boss.token()
    shown = house.ask(token, "PATCH", "", {"allow_merge_commit": False, "delete_branch_on_merge": True}).json()
    assert (shown["allow_merge_commit"], shown["allow_squash_merge"], shown["delete_branch_on_merge"]) == (
        False,
        True,
        True,
    )
    assert "allow_merge_commit" not in house.ask(house.gating.token(), "GET", "").json()
    house.repo.commit({"a": "b"}, branch="x", by=house.dev)
    pull = house.repo.open_pull("x", by=house.dev)
    assert house.ask(house.dev.token(), "PUT", "pulls/1/merge", {"merge_method": "squash"}).status_code == 200
    assert pull.merged
    assert not house.repo.sha("x")
