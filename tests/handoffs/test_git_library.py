"""What libgit2 and our own walk say, against what git says of the same repository."""

from __future__ import annotations

import os
import random
import shutil
import subprocess

import pytest

from handoffs.bundles.building import create_bundle
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.git.trees import Trees, read_tree
from tests.support.bundles import (
    BASE_FILES,
    CHANGE,
    Handover,
    changed,
    hand_over,
    honest_handover,
    init_repository,
    request,
    with_patch,
    write_commit,
    write_tree,
)

HONEST = honest_handover()
NAMES = [b"a", b"a-b", b"a.c", b"ab", b"b", b"\xff", b"caf\xc3\xa9", b"z z", b'q"', b"new\nline"]
MODES = ["100644", "100644", "100755", "120000", "160000", "100664"]


def random_tree(git: Git, randomly: random.Random, blobs: list[str], depth: int) -> str:
    """A tree as git stores it; the names are few, so that two trees have much in common."""
    lines = []
    for name in NAMES:
        kind = randomly.random()
        if kind < 0.55:
            continue
        if kind < 0.75 and depth:
            mode = "040000" if kind < 0.57 else "40000"
            lines.append((name + b"/", mode, name, random_tree(git, randomly, blobs, depth - 1)))
        else:
            lines.append((name, randomly.choice(MODES), name, randomly.choice(blobs)))
    raw = b"".join(
        b"%b %b\0%b" % (mode.encode(), name, bytes.fromhex(object_id)) for _, mode, name, object_id in sorted(lines)
    )
    return git.write_objects("tree", [raw])[0]


def test_trees_are_compared_as_git_compares_them(tmp_path):
    git, randomly = init_repository(tmp_path / "a.git"), random.Random(3)
    blobs = git.write_objects("blob", [b"1", b"2", b"3"])
    trees = [random_tree(git, randomly, blobs, depth=3) for _ in range(400)]
    pairs = [(randomly.choice(trees), randomly.choice(trees)) for _ in range(3_000)]
    asked = "".join(f"{a} {b}\n" for a, b in pairs).encode()
    options = ("--stdin", "-r", "--raw", "-z", "--full-index", "--no-renames", "--ignore-submodules=none")
    said = git.run("diff-tree", *options, stdin=asked, max_output_bytes=1 << 30)
    at = 0
    for a, b in pairs:
        head = f"{a} {b}\n".encode()
        assert said.startswith(head, at)
        at += len(head)
        found = []
        while said[at : at + 1] == b":":
            meta, name, _ = said[at:].split(b"\0", 2) if len(said) - at < 4096 else said[at : at + 4096].split(b"\0", 2)
            at += len(meta) + len(name) + 2
            old_mode, new_mode, old, new, status = meta.decode().lstrip(":").split(" ")
            found.append((name.decode("utf-8", "surrogateescape"), status, old_mode, new_mode, old, new))
        ours = [(c.path, c.status, c.old_mode, c.new_mode, c.old_blob, c.new_blob) for c in git.changes(a, b)]
        assert ours == found
    assert at == len(said)


@pytest.mark.parametrize(
    "raw",
    [b"100644 a\0" + bytes(19), b"100644 \0" + bytes(20), b"100644 a/b\0" + bytes(20), b"x00644 a\0" + bytes(20),
     b"100644 a\0" + bytes(20) + b"100755 a\0" + bytes(20), b"100644 a\0" + bytes(20) + b"x", b"\0"],
)  # fmt: skip
def test_a_tree_git_would_not_write_is_refused(raw):
    with pytest.raises(GitError, match=r"git\.bad_tree"):
        read_tree(raw, 20)


def random_history(git: Git, randomly: random.Random, *, spread: int) -> list[str]:
    """Commits with up to three parents; dates grow by a hundred seconds, give or take `spread`."""
    tree = git.write_objects("tree", [b""])[0]
    commits: list[str] = []
    for number in range(60):
        recent = commits[-8:]
        parents = randomly.sample(recent, min(len(recent), randomly.choice([0, 1, 1, 1, 2, 3])))
        links = "".join(f"parent {parent}\n" for parent in parents)
        who = f"A <a@x> {1_700_000_000 + 100 * number + randomly.randint(-spread, spread)} +0000"
        raw = f"tree {tree}\n{links}author {who}\ncommitter {who}\n\n{number}\n"
        commits += git.write_objects("commit", [raw.encode()])
    return commits


@pytest.mark.threat("PAT-09")
@pytest.mark.parametrize(("seed", "spread"), [(0, 0), (1, 10_000), (2, 10_000)])
def test_ancestors_and_distances_are_gits_and_backward_dates_only_add(tmp_path, seed, spread):
    git, randomly = init_repository(tmp_path / "a.git"), random.Random(seed)
    commits = random_history(git, randomly, spread=spread)
    listed = {commit: set(git.run("rev-list", commit, "--").decode().split()) for commit in commits}
    for first in commits:
        for last in randomly.sample(commits, 12):
            assert git.is_ancestor(first, last) is (first in listed[last])
            truth, found = len(listed[last] - listed[first]), git.count_commits(first, last, at_most=1000)
            assert found == truth if spread == 0 else found >= truth
            assert git.count_commits(first, last, at_most=2) == min(2, found)
            if listed[first] & listed[last]:
                best = git.run("merge-base", "--all", first, last).decode().split()
                assert git.merge_base(first, last) in best
            else:
                with pytest.raises(GitError, match=r"git\.no_merge_base"):
                    git.merge_base(first, last)


def test_the_result_really_lies_in_the_repository(tmp_path):
    handover = hand_over(tmp_path / "a.git", BASE_FILES, changed(BASE_FILES, CHANGE))
    fresh = tmp_path / "b.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(fresh)], check=True)
    Git(handover.git.path).push(fresh, handover.base, "refs/heads/main", old="")
    there = Handover(Git(fresh), handover.base, "", handover.raw)
    tree = there.git.result_tree(there.base, handover.members["changes.patch"])
    assert tree == there.verify(handover.raw).result_tree == handover.git.tree_of(handover.head)
    commit = there.git.write_commit(
        tree, [there.base], "m\n", name="A", email="a@x", when=there.git.committed_at(there.base)
    )
    there.git.run("update-ref", "refs/heads/main", commit)
    there.git.run("fsck", "--full", "--strict", "--connectivity-only")
    assert there.git.read_file(commit, "src/retry.py", max_bytes=100) == CHANGE["src/retry.py"]


def test_one_process_verifies_a_bundle(tmp_path, monkeypatch):
    log, real = tmp_path / "log", shutil.which("git")
    wrapper = tmp_path / "git"
    wrapper.write_text(f'#!/bin/sh\nfor a in "$@"; do case "$a" in apply|cat-file|diff-tree|rev-*|merge-*|mktree|hash-*) echo "$a" >> {log};; esac; done\nexec {real} "$@"\n')  # fmt: skip
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert HONEST.verify(HONEST.raw, max_commits_behind=1000).is_verified
    assert log.read_text().split() == ["apply"]


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_both_object_formats_give_the_same_verdicts(tmp_path, form):
    path = tmp_path / "a.git"
    subprocess.run(["git", "init", "--quiet", "--bare", f"--object-format={form}", str(path)], check=True)
    git = Git(path)
    base = write_commit(git, BASE_FILES)
    head = write_commit(git, changed(BASE_FILES, CHANGE), base)
    raw = create_bundle(git, base=base, commit=head, request=request())
    handover = Handover(git, base, head, raw)
    report = handover.verify(raw, max_commits_behind=0)
    assert (report.is_verified, report.result_tree) == (True, git.tree_of(head))
    assert (len(base), git._library is None) == ({"sha1": 40, "sha256": 64}[form], form == "sha256")
    later = write_commit(git, changed(BASE_FILES, {"x": b"x\n"}), base)
    stranger = write_commit(git, {"x": b"x\n"}, message="stranger\n")
    assert handover.failures(raw, target_branch_sha=later, max_commits_behind=0) == {"merge_base.recent"}
    assert handover.failures(raw, target_branch_sha=stranger) == {"merge_base.ancestor"}
    broken = handover.members["changes.patch"].replace(b"    return amount\n", b"    return  amount\n")
    assert "patch.applies" in handover.failures(with_patch(handover, broken))
    tree = git.tree_of(base)
    assert git.tree_of(tree) == tree
    for missing in ("0" * len(base), "ab" * (len(base) // 2)):
        with pytest.raises(GitError, match=r"git\.unknown_revision"):
            git.tree_of(missing)
    with pytest.raises(GitError, match=r"git\.(unknown_revision|failed)"):
        git.resolve(tree)
    with pytest.raises(GitError, match=r"git\.output_too_long"):
        git.read_objects([tree, tree], max_bytes=10)


def test_tags_are_followed_and_replacements_are_not():
    git = HONEST.git
    git.run("update-ref", f"refs/replace/{HONEST.head}", HONEST.base)
    try:
        assert git.parents_of(HONEST.head) == (HONEST.base,)
        raw = f"object {HONEST.head}\ntype commit\ntag v1\ntagger A <a@x> 1700000000 +0000\n\nv1\n"
        tag = git.write_objects("tag", [raw.encode()])[0]
        assert git.resolve(tag) == HONEST.head
        assert git.tree_of(tag) == git.tree_of(HONEST.head)
    finally:
        git.run("update-ref", "-d", f"refs/replace/{HONEST.head}")


def test_a_packed_repository_and_borrowed_objects_are_read(tmp_path):
    first = hand_over(tmp_path / "a.git", BASE_FILES, changed(BASE_FILES, CHANGE))
    first.git.run("update-ref", "refs/heads/main", first.head)
    git = Git(tmp_path / "a.git")
    assert git.tree_of(first.base)
    git.run("gc", "--quiet", "--prune=now")
    assert git.parents_of(first.head) == (first.base,)
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", "--shared", str(tmp_path / "a.git"), str(tmp_path / "b.git")], check=True
    )
    borrowed = Handover(Git(tmp_path / "b.git"), first.base, first.head, first.raw)
    assert borrowed.verify(first.raw).is_verified


def test_a_wide_repository_costs_what_the_patch_costs(tmp_path):
    git = init_repository(tmp_path / "a.git")
    wide = {f"d{number:03}/f{inner:02}": b"x\n" for number in range(60) for inner in range(20)}
    base, after = write_tree(git, wide), write_tree(git, {**wide, "d007/f03": b"y\n"})
    trees = Trees(git)
    assert len(trees.changes(base, after)) == 1
    assert len(trees._folders) == 4
