"""The door to git: what it reads, what it refuses, what it never runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoffs.git.index import read_index, write_index
from handoffs.git.process import GitError, start_git
from handoffs.git.repository import PATCH_OPTIONS, Git
from handoffs.git.trees import Entry
from tests.support.bundles import (
    BASE_FILES,
    CHANGE,
    WHEN,
    changed,
    honest_handover,
    init_repository,
    sentinel,
    write_commit,
    write_tree,
)

HONEST = honest_handover()
GIT = HONEST.git


def refusal(action, *args, **kwargs) -> str:
    with pytest.raises(GitError) as caught:
        action(*args, **kwargs)
    return caught.value.code


def test_commits_are_read():
    assert GIT.resolve(HONEST.head[:12]) == HONEST.head
    assert GIT.parents_of(HONEST.head) == (HONEST.base,)
    assert GIT.message_of(HONEST.head) == "change\n"
    assert GIT.committed_at(HONEST.head) == WHEN
    assert GIT.merge_base(HONEST.base, HONEST.head) == HONEST.base
    assert GIT.is_ancestor(HONEST.base, HONEST.head)
    assert not GIT.is_ancestor(HONEST.head, HONEST.base)


@pytest.mark.threat("BUN-04")
@pytest.mark.parametrize(
    "name",
    [
        "--help",
        "-c",
        "--upload-pack=touch x",
        "$(touch x)",
        "`touch x`",
        "a\nb",
        "a\0b",
        "HEAD\n",
        "",
        "ext::sh -c x",
        "@{-1}",
    ],
)
def test_hostile_names_are_only_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(GIT.resolve, name) == "git.unknown_revision"
    assert refusal(GIT.tree_of, name) == "git.unknown_revision"
    assert not list(tmp_path.iterdir())


@pytest.mark.threat("BUN-04")
def test_only_files_and_https_are_transports(tmp_path):
    with sentinel(tmp_path) as path:
        for remote in (
            f"ext::sh -c touch% {path}",
            "git://localhost/x",
            "ssh://localhost/x",
            f"--upload-pack=touch {path}",
        ):
            assert refusal(GIT.fetch, remote, "refs/heads/x:refs/heads/y") == "git.fetch_failed"
            assert refusal(GIT.push, remote, HONEST.head, "refs/heads/x", old="") == "git.push_refused"


def test_files_and_blobs_are_read_within_a_limit():
    assert GIT.read_file(HONEST.head, "src/pay.py", max_bytes=1000) == CHANGE["src/pay.py"]
    assert refusal(GIT.read_file, HONEST.head, "src/pay.py", max_bytes=10) == "git.output_too_long"
    assert refusal(GIT.read_file, HONEST.head, "src", max_bytes=10) == "git.missing_path"
    assert refusal(GIT.read_file, HONEST.head, "../x", max_bytes=10) in {"git.missing_path", "git.failed"}
    assert refusal(GIT.read_blobs, ["0" * 40], max_bytes=10) == "git.missing_object"


def test_a_process_that_hangs_is_ended():
    started = time.monotonic()
    hanging = ("-c", "alias.wait=!sleep 30", "wait")
    with start_git(GIT.git_dir, hanging, stdin=b"", env={}, timeout_seconds=0.3, max_output_bytes=10) as running:
        assert refusal(running.finish) == "git.timeout"
    assert time.monotonic() - started < 5


def test_a_process_that_nobody_waited_for_is_ended_too():
    with GIT.start(("-c", "alias.wait=!sleep 30", "wait")) as running:
        number = running.number
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_input_larger_than_the_pipe_arrives_whole():
    raw = b"x" * (1 << 20)
    assert (
        GIT.run("hash-object", "--stdin", stdin=raw).decode().strip()
        == hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
    )


def test_changes_show_every_side():
    found = {change.path: change.status for change in GIT.changes(HONEST.base, HONEST.head)}
    assert found == {"src/pay.py": "M", "src/retry.py": "A", "src/__init__.py": "A"}


@pytest.mark.parametrize(
    "after",
    [
        changed(BASE_FILES, CHANGE),
        changed(BASE_FILES, {"src/moved.py": BASE_FILES["src/pay.py"]}, "src/pay.py"),
        changed(BASE_FILES, {"run.sh": ("100644", b"#!/bin/sh\nexit 0\n"), "src/cut.txt": b"no line end\n"}),
        changed(BASE_FILES, {"src/crlf.txt": b"one\r\n2\r\nthree\r\n", "src/logo.bin": bytes(range(255)) * 8}),
        changed(BASE_FILES, {'a b/ü "q".txt': b"x", "tab\tname": b"y", "new\nline": b"z"}),
        {"only": b"one\n"},
        {},
    ],
)
def test_a_diff_applied_gives_the_tree_it_was_made_of(after):
    base, tree = GIT.tree_of(HONEST.base), write_tree(GIT, after)
    assert GIT.result_tree(HONEST.base, GIT.diff(base, tree)) == tree
    assert GIT.result_tree(base, GIT.diff(base, tree)) == tree


def test_the_diff_does_not_depend_on_configuration(tmp_path):
    honest = GIT.diff(HONEST.base, HONEST.head)
    config = GIT.git_dir / "config"
    before = config.read_text()
    config.write_text(
        before
        + "[diff]\n\tnoprefix = true\n\tcontext = 9\n\talgorithm = patience\n\trenames = copies\n[core]\n\tabbrev = 5\n\tquotePath = false\n"
    )
    try:
        assert GIT.diff(HONEST.base, HONEST.head) == honest
    finally:
        config.write_text(before)


@pytest.mark.threat("PAT-05")
@pytest.mark.parametrize(
    "variables",
    [
        {"GIT_OBJECT_DIRECTORY": "/nonexistent"},
        {"GIT_DIFF_OPTS": "--unified=9"},
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.compression", "GIT_CONFIG_VALUE_0": "none"},
        {"GIT_CONFIG_PARAMETERS": "broken"},
        {"GIT_NAMESPACE": "other", "GIT_SHALLOW_FILE": "/dev/zero", "GIT_TRACE": "1"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_the_workers_environment_reaches_no_git(variables, monkeypatch):
    honest = GIT.finish(("diff-tree", *PATCH_OPTIONS, HONEST.base, HONEST.head))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert GIT.finish(("diff-tree", *PATCH_OPTIONS, HONEST.base, HONEST.head)) == honest


@pytest.mark.threat("PAT-09")
@pytest.mark.parametrize(
    "patch",
    [
        b"",
        b"nothing\n",
        b"diff --git a/README.md b/README.md\n--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-# Other\n+# New\n",
        b"diff --git a/missing b/missing\n--- a/missing\n+++ b/missing\n@@ -1 +1 @@\n-a\n+b\n",
        b"diff --git a/README.md b/README.md\nnew file mode 100644\n--- /dev/null\n+++ b/README.md\n@@ -0,0 +1 @@\n+x\n",
        b"diff --git a/README.md/x b/README.md/x\nnew file mode 100644\n--- /dev/null\n+++ b/README.md/x\n@@ -0,0 +1 @@\n+x\n",
        b"diff --git a/src b/src\nnew file mode 100644\n--- /dev/null\n+++ b/src\n@@ -0,0 +1 @@\n+x\n",
    ],
)
def test_what_does_not_apply_is_refused(patch):
    assert refusal(GIT.result_tree, HONEST.base, patch) == "git.patch_does_not_apply"


def test_a_commit_written_twice_is_the_same_commit():
    tree = GIT.tree_of(HONEST.head)
    ids = {
        GIT.write_commit(tree, [HONEST.base], "message\n", name="Ann", email="a@acme.example", when=when)
        for when in (WHEN, WHEN.astimezone(UTC), datetime.fromtimestamp(WHEN.timestamp(), UTC))
    }
    assert len(ids) == 1
    for name, email in (("", "a@x"), ("Ann <x>", "a@x"), ("Ann\nX", "a@x"), ("Ann", "a>b"), ("Ann.", "a@x")):
        assert refusal(GIT.write_commit, tree, [], "m", name=name, email=email, when=WHEN) == "git.bad_identity"


def test_merges_are_made_without_a_work_tree():
    left = write_commit(GIT, changed(BASE_FILES, {"left": b"1\n"}), HONEST.base)
    right = write_commit(GIT, changed(BASE_FILES, {"right": b"2\n"}), HONEST.base)
    assert GIT.merge_tree(left, right) == write_tree(GIT, changed(BASE_FILES, {"left": b"1\n", "right": b"2\n"}))
    other = write_commit(GIT, changed(BASE_FILES, {"left": b"3\n"}), HONEST.base)
    assert refusal(GIT.merge_tree, left, other) == "git.conflict"


def test_pushing_compares_and_the_remote_decides(tmp_path):
    remote = init_repository(tmp_path / "remote.git")
    ref = "refs/heads/main"
    GIT.push(remote.path, HONEST.base, ref, old="")
    assert remote.refs("refs/heads/") == {ref: HONEST.base}
    assert refusal(GIT.push, remote.path, HONEST.head, ref, old="") == "git.push_refused"
    assert refusal(GIT.push, remote.path, HONEST.head, ref, old=HONEST.head) == "git.push_refused"
    GIT.push(remote.path, HONEST.head, ref, old=HONEST.base)
    hook = remote.git_dir / "hooks" / "update"
    hook.write_text('#!/bin/sh\necho "not today, $WHO" >&2\nexit 1\n')
    hook.chmod(0o755)
    with pytest.raises(GitError, match="not today, Ann"):
        GIT.push(remote.path, HONEST.base, ref, old=HONEST.head, env={"WHO": "Ann"})
    assert remote.refs("refs/heads/") == {ref: HONEST.head}


def test_fetching_moves_a_ref(tmp_path):
    remote = init_repository(tmp_path / "remote.git")
    GIT.push(remote.path, HONEST.head, "refs/heads/main", old="")
    here = init_repository(tmp_path / "here.git")
    here.fetch(remote.path, "refs/heads/main:refs/heads/copy")
    assert here.refs("refs/heads/copy") == {"refs/heads/copy": HONEST.head}


def test_a_work_tree_is_read_as_it_lies_there(tmp_path):
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(tmp_path)], check=True)
    git = Git(tmp_path)
    (tmp_path / "a").write_bytes(b"a\n")
    (tmp_path / ".gitignore").write_bytes(b"ignored\n")
    first = git.write_commit(git.run("mktree", stdin=b"").decode().strip(), [], "m\n", name="A", email="a@x", when=WHEN)
    git.run("update-ref", "refs/heads/main", first)
    (tmp_path / "ignored").write_bytes(b"x")
    tree = git.worktree_tree()
    assert [change.path for change in git.changes(first, tree)] == [".gitignore", "a"]
    assert not (tmp_path / ".git" / "index").exists()
    assert refusal(GIT.worktree_tree) == "git.no_worktree"


@pytest.mark.threat("PAT-05")
def test_reading_a_work_tree_runs_nothing_that_its_configuration_names(tmp_path):
    work = tmp_path / "work"
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(work)], check=True)
    git = Git(work)
    (work / "a").write_bytes(b"a\n")
    first = git.write_commit(git.run("mktree", stdin=b"").decode().strip(), [], "m\n", name="A", email="a@x", when=WHEN)
    git.run("update-ref", "refs/heads/main", first)
    with sentinel(tmp_path) as path:
        git.run("config", "core.fsmonitor", f"touch {path}")
        for name in ("post-index-change", "pre-commit"):
            hook = work / ".git" / "hooks" / name
            hook.write_text(f"#!/bin/sh\ntouch {path}\n")
            hook.chmod(0o755)
        git.worktree_tree()


def test_no_repository_is_said_so(tmp_path):
    assert refusal(Git, tmp_path) == "git.no_repository"
    assert refusal(Git, Path("nowhere")) == "git.no_repository"


PATHS = st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path)
IDS = st.binary(min_size=20, max_size=20).map(bytes.hex)


@settings(max_examples=100)
@given(
    st.dictionaries(PATHS, st.builds(Entry, st.sampled_from(["100644", "100755", "120000", "160000"]), IDS), max_size=8)
)
def test_an_index_is_read_as_it_was_written(entries):
    assert read_index(write_index(entries, 20), 20) == entries


def test_git_reads_the_index_we_write(tmp_path):
    blob = GIT.write_blob(b"x\n")
    entries = {b"b": Entry("100755", blob), b"a/\xc3\xa9": Entry("100644", blob)}
    (tmp_path / "index").write_bytes(write_index(entries, 20))
    listed = GIT.run("ls-files", "--stage", "-z", env={"GIT_INDEX_FILE": str(tmp_path / "index")})
    assert listed == f"100644 {blob} 0\ta/é\0".encode() + f"100755 {blob} 0\tb\0".encode()


def test_repositories_with_long_ids_work_too(tmp_path):
    folder = tmp_path / "long.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--object-format=sha256", str(folder)], check=True)
    git = Git(folder)
    base, after = write_tree(git, BASE_FILES), write_tree(git, changed(BASE_FILES, CHANGE))
    assert len(base) == 64
    assert git.result_tree(base, git.diff(base, after)) == after
