"""The copy of a repository on GitHub, and pushes that GitHub judges: over HTTP, with real git on both sides."""

from __future__ import annotations

import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from handoffs.forges.protocol import ForgeError, NewCommit, NewPull
from handoffs.git.repository import Git
from handoffs.github.connection import App, Connection, Installation
from handoffs.github.forge import GitHub
from handoffs.github.mirror import Mirror
from handoffs.github.pulls import END, fenced, with_block, without_block
from tests.support.github.house import House


@pytest.fixture
def forge(house: House, tmp_path: Path) -> GitHub:
    identity = Installation(App(house.enforcer.id, house.enforcer.private_key()), house.enforcing.id)
    made = GitHub(
        tmp_path / "mirror.git",
        full_name=house.repo.full_name,
        git_url=house.repo.clone_url,
        connection=Connection(house.github.api, identity),
    )
    made.refresh()
    return made


def commit_on(forge: GitHub, base: str, message: str = "Change") -> str:
    git = Git(forge.git_path)
    tree = git.with_file(base, "more.txt", git.write_blob(message.encode()))
    when = git.committed_at(base)
    return forge.write_commit(NewCommit(tree, (base,), message, "Leo", "leo@leo.invalid", when))


def test_branches_come_go_and_are_forced(house: House, forge: GitHub):
    first = house.repo.commit({"a.txt": "1"}, branch="topic")
    forge.refresh()
    assert forge.branch("topic") == first
    forced = house.repo.commit({"a.txt": "2"}, branch="topic", parent=house.repo.sha(), force=True)
    forge.refresh()
    assert forge.branch("topic") == forced
    house.repo.delete_branch("topic")
    forge.refresh()
    assert forge.branch("topic") == ""
    assert Git(forge.git_path).tree_of(first)  # what was seen once can still be read


@pytest.mark.parametrize("name", ["--upload-pack=x", "a;touch|x", "staging/codex-$(x)", "refs/heads/main"])
def test_names_of_branches_are_only_names(house: House, forge: GitHub, name: str):
    house.repo.git.run("update-ref", f"refs/heads/{name}", house.repo.sha())
    forge.refresh()
    assert forge.branch(name) == house.repo.sha()


def test_objects_that_git_would_refuse_do_not_come_in(house: House, forge: GitHub):
    bad = house.repo.git.run(
        "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=b"100644 .git\0" + b"\1" * 20
    )
    raw = f"tree {bad.strip()}\nauthor a <a@a> 1 +0000\ncommitter a <a@a> 1 +0000\n\nbad\n".encode()
    bad_commit = house.repo.git.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw).strip()
    house.repo.git.run("update-ref", "refs/heads/bad", bad_commit)
    with pytest.raises(ForgeError, match=r"forge\.fetch_failed"):
        forge.refresh()
    assert forge.branch("bad") == ""


class Elsewhere(BaseHTTPRequestHandler):
    """Sends whoever comes to another host, and notes what that one is told. Answers as git's smart HTTP."""

    told: ClassVar[list[str]]

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        if self.headers["Host"].startswith("127.0.0.1"):
            self.send_response(301)
            self.send_header("Location", f"http://localhost:{port}{self.path}")
            self.end_headers()
            return
        ref = b"1" * 40 + b" refs/heads/main\0side-band-64k\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.end_headers()
        self.wfile.write(b"001e# service=git-upload-pack\n0000" + b"%04x" % (len(ref) + 4) + ref + b"0000")

    def do_POST(self) -> None:
        self.told.append(self.headers.get("Authorization", ""))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_the_token_goes_to_no_other_host(tmp_path: Path):
    Elsewhere.told = []
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = Mirror(
            tmp_path / "m.git", f"http://127.0.0.1:{server.server_port}/acme/payments.git", lambda: "secret"
        )
        with pytest.raises(ForgeError, match=r"forge\.fetch_failed"):
            mirror.fetch()
        server.shutdown()
    assert Elsewhere.told == []


def test_a_branch_whose_name_ends_like_another_is_another(house: House, forge: GitHub):
    new = commit_on(forge, house.repo.sha())
    house.repo.git.run("update-ref", "refs/heads/a/refs/heads/feature/x", house.repo.sha())
    house.github.chaos.plant("reset", method="POST", path="git-receive-pack", after=True)
    forge.update_branch("feature/x", old="", new=new)  # the answer is lost, so it is looked up
    assert house.repo.sha("feature/x") == new
    house.repo.git.run("update-ref", "-d", "refs/heads/feature/x")
    with pytest.raises(ForgeError, match=r"forge\.branch_moved.*is at 0{40}"):
        forge.update_branch("feature/x", old=new, new=commit_on(forge, new))


def test_a_push_moves_a_branch_once_and_knows_who_else_moved_it(house: House, forge: GitHub):
    new = commit_on(forge, house.repo.sha())
    forge.update_branch("feature/x", old="", new=new)
    forge.update_branch("feature/x", old="", new=new)
    assert house.repo.sha("feature/x") == forge.branch("feature/x") == new
    theirs = house.repo.commit({"b.txt": "x"}, branch="feature/x")
    with pytest.raises(ForgeError, match=r"forge\.branch_moved.*" + theirs):
        forge.update_branch("feature/x", old=new, new=commit_on(forge, new))
    assert house.repo.sha("feature/x") == theirs


def test_a_push_whose_answer_was_lost_is_not_made_again(house: House, forge: GitHub):
    new = commit_on(forge, house.repo.sha())
    house.github.chaos.plant("reset", method="POST", path="git-receive-pack", after=True)
    forge.update_branch("feature/x", old="", new=new)
    assert house.repo.sha("feature/x") == forge.branch("feature/x") == new


def test_a_rule_refuses_a_push_and_says_so(house: House, forge: GitHub):
    house.repo.rule({"type": "pull_request", "parameters": {}})
    old = house.repo.sha()
    with pytest.raises(ForgeError, match=r"forge\.push_refused"):
        forge.update_branch("main", old=old, new=commit_on(forge, old))
    assert house.repo.sha() == forge.branch("main") == old


def test_an_outage_is_told_from_a_refusal(house: House, forge: GitHub):
    house.github.chaos.outage(503)
    with pytest.raises(ForgeError, match=r"github\.unreachable") as refused:
        forge.refresh()
    assert refused.value.retry_in is not None


def test_the_token_is_in_no_argument_no_file_and_no_error(house: House, forge: GitHub, monkeypatch):
    token = forge.connection.token()
    seen: list[list[str]] = []
    start = subprocess.Popen.__init__

    def watch(self, arguments, *rest, **more):
        seen.append([os.fsdecode(word) for word in arguments])
        start(self, arguments, *rest, **more)

    monkeypatch.setattr(subprocess.Popen, "__init__", watch)
    forge.refresh()
    forge.update_branch("feature/x", old="", new=commit_on(forge, house.repo.sha()))
    house.github.chaos.outage(503)
    with pytest.raises(ForgeError) as refused:
        forge.refresh()
    assert seen
    assert not [word for words in seen for word in words if token in word or "Authorization" in word]
    assert token not in str(refused.value)
    for file in forge.git_path.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes()


def test_a_process_without_a_key_reads_the_copy_and_writes_nothing(house: House, forge: GitHub):
    reader = GitHub(forge.git_path, full_name=house.repo.full_name, git_url=house.repo.clone_url, connection=None)
    assert reader.branch("main") == house.repo.sha()
    before = len(house.github.requests)
    new = commit_on(forge, house.repo.sha())
    for act in (
        reader.refresh,
        lambda: reader.update_branch("feature/x", old="", new=new),
        lambda: reader.open_pull(NewPull("feature/x", "main", "x", "x")),
    ):
        with pytest.raises(ForgeError, match=r"github\.no_key"):
            act()
    assert len(house.github.requests) == before


def test_a_pull_request_is_opened_once_also_when_the_answer_is_lost(house: House, forge: GitHub):
    house.repo.commit({"a.txt": "1"}, branch="feature/x")
    wanted = NewPull("feature/x", "main", "Add a", "Bundle: sha256 …")
    house.github.chaos.plant("reset", method="POST", path="/pulls", after=True)
    with pytest.raises(ForgeError, match=r"github\.unreachable"):
        forge.open_pull(wanted)
    assert forge.open_pull(wanted) == forge.open_pull(wanted) == 1
    assert list(house.repo.pulls) == [1]
    assert fenced("Bundle: sha256 …") in (house.repo.pulls[1].body or "")


def test_a_pull_request_that_somebody_opens_meanwhile_is_found(house: House, forge: GitHub):
    house.repo.commit({"a.txt": "1"}, branch="feature/x")

    def open_first(request) -> None:
        if request.method == "POST" and request.path.endswith("/pulls") and not house.repo.pulls:
            house.repo.open_pull("feature/x", by=house.dev)

    house.github.before_request(open_first)
    assert forge.open_pull(NewPull("feature/x", "main", "Add a", "x")) == 1


def test_what_github_refuses_for_another_reason_stays_refused(house: House, forge: GitHub):
    with pytest.raises(ForgeError, match=r"github\.refused"):
        forge.open_pull(NewPull("feature/none", "main", "Add a", "x"))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "mine",
        "mine\n\n" + fenced("old") + "\nmore",
        "<!-- leoportal:begin -->\nstray\n\n" + fenced("old"),
        END + "\nx",
    ],
)
def test_the_block_is_replaced_and_everything_else_is_kept(body: str):
    mended = with_block(body, "new")
    assert mended.count(fenced("new")) == 1
    assert fenced("old") not in mended
    assert without_block(mended).split() == without_block(body).split()
    assert with_block(mended, "new") == mended
