"""What a repository or an environment can make git run: each vector bites plain git and never the portal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from handoffs.git.repository import Git
from tests.support.bundles import BASE_FILES, CHANGE, Handover, changed, hand_over, with_patch, write_commit, write_tree

CLEAN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@x",
         "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@x", "GIT_TERMINAL_PROMPT": "0"}  # fmt: skip


class Scene:
    """A repository with an honest bundle, and a program that leaves a trace when it runs."""

    def __init__(self, folder: Path) -> None:
        self.handover = hand_over(folder / "repository.git", BASE_FILES, changed(BASE_FILES, CHANGE))
        self.path = folder / "repository.git"
        self.trace = folder / "executed"
        self.program = folder / "program"
        self.program.write_text(f"#!/bin/sh\ntouch {self.trace}\ncat\n")
        self.program.chmod(0o755)
        self.environment: dict[str, str] = {}

    def configure(self, *pairs: str) -> None:
        for pair in pairs:
            name, _, value = pair.partition("=")
            subprocess.run(["git", "-C", str(self.path), "config", "--add", name, value], check=True, env=CLEAN)

    def hook(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in (
            "post-index-change",
            "pre-applypatch",
            "applypatch-msg",
            "reference-transaction",
            "post-checkout",
            "pre-auto-gc",
        ):
            (folder / name).write_text(f"#!/bin/sh\ntouch {self.trace}\n")
            (folder / name).chmod(0o755)

    def attributes(self, text: str) -> None:
        (self.path / "info").mkdir(exist_ok=True)
        (self.path / "info" / "attributes").write_text(text)

    def plain(self, *arguments: str, stdin: bytes = b"") -> None:
        """Git as somebody would call it by hand."""
        env = {**CLEAN, **self.environment, "GIT_INDEX_FILE": str(self.path / "scratch")}
        subprocess.run(
            ["git", *arguments], cwd=self.path, env=env, input=stdin, check=False, capture_output=True, timeout=30
        )

    def plain_apply(self) -> None:
        self.plain("read-tree", self.handover.base)
        self.plain("apply", "--cached", "-", stdin=self.handover.members["changes.patch"])


def by_hooks(scene: Scene) -> Callable[[], None]:
    scene.hook(scene.path / "hooks")
    return scene.plain_apply


def by_hooks_path(scene: Scene) -> Callable[[], None]:
    scene.hook(scene.path / "elsewhere")
    scene.configure(f"core.hooksPath={scene.path / 'elsewhere'}")
    return scene.plain_apply


def by_fsmonitor(scene: Scene) -> Callable[[], None]:
    scene.configure(f"core.fsmonitor={scene.program}")
    work = scene.path.parent / "work"
    work.mkdir()

    def look() -> None:
        scene.plain("--work-tree", str(work), "read-tree", scene.handover.base)
        scene.plain("--work-tree", str(work), "-c", "core.bare=false", "update-index", "--fsmonitor")
        scene.plain("--work-tree", str(work), "-c", "core.bare=false", "status")

    return look


def by_filter(scene: Scene) -> Callable[[], None]:
    scene.configure(f"filter.x.clean={scene.program}", f"filter.x.smudge={scene.program}", "filter.x.required=true")
    scene.attributes("* filter=x text\n")
    return lambda: scene.plain("hash-object", "-w", "--path", "src/pay.py", "--stdin", stdin=b"x\n")


def by_external_diff(scene: Scene) -> Callable[[], None]:
    scene.configure(f"diff.external={scene.program}")
    return lambda: scene.plain("diff", scene.handover.base, scene.handover.head)


def by_text_conversion(scene: Scene) -> Callable[[], None]:
    scene.configure(f"diff.x.textconv={scene.program}", f"diff.x.command={scene.program}")
    scene.attributes("* diff=x\n")
    return lambda: scene.plain("diff", scene.handover.base, scene.handover.head)


def by_signing(scene: Scene) -> Callable[[], None]:
    scene.configure(f"gpg.program={scene.program}", "commit.gpgSign=true", "user.signingKey=x")
    return lambda: scene.plain("commit-tree", "-S", "-m", "x", scene.handover.git.tree_of(scene.handover.base))


def by_environment(scene: Scene) -> Callable[[], None]:
    scene.environment = {"GIT_EXTERNAL_DIFF": str(scene.program), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor",
                         "GIT_CONFIG_VALUE_0": str(scene.program), "GIT_PAGER": str(scene.program), "GIT_EDITOR": str(scene.program),
                         "GIT_SSH_COMMAND": str(scene.program), "GIT_ASKPASS": str(scene.program)}  # fmt: skip
    return lambda: scene.plain("diff", scene.handover.base, scene.handover.head)


def by_included_configuration(scene: Scene) -> Callable[[], None]:
    more = scene.path / "more"
    more.write_text(f'[diff]\n\texternal = {scene.program}\n[core]\n\tpager = {scene.program}\n\teditor = {scene.program}\n\tsshCommand = {scene.program}\n\taskPass = {scene.program}\n\talternateRefsCommand = {scene.program}\n[credential]\n\thelper = "!{scene.program}"\n[alias]\n\tapply = "!{scene.program}"\n')  # fmt: skip
    scene.configure(f"include.path={more}")
    return lambda: scene.plain("diff", scene.handover.base, scene.handover.head)


VECTORS = (by_hooks, by_hooks_path, by_fsmonitor, by_filter, by_external_diff, by_text_conversion, by_signing, by_environment,
           by_included_configuration)  # fmt: skip


@pytest.mark.threat("PAT-05")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.__name__)
def test_what_bites_plain_git_never_runs_for_a_bundle(tmp_path, monkeypatch, vector):
    scene = Scene(tmp_path)
    bite = vector(scene)
    for name, value in scene.environment.items():
        monkeypatch.setenv(name, value)
    act(scene.handover)
    assert not scene.trace.exists(), "something was executed"
    bite()
    assert scene.trace.exists(), "the vector does not bite, so the test shows nothing"


def act(handover: Handover) -> None:
    """All that happens to a repository on a bundle's way to the feature branch, but for pushing."""
    git = Git(handover.git.path)
    attributes = write_tree(
        git, changed(BASE_FILES, {".gitattributes": b"* filter=x diff=x merge=x\n", "src/new.py": b"x = 1\n"})
    )
    raw = with_patch(Handover(git, handover.base, handover.head, handover.raw), git.diff(handover.base, attributes))
    assert Handover(git, handover.base, handover.head, raw).verify(raw, max_commits_behind=10).result_tree == attributes
    commit = write_commit(git, changed(BASE_FILES, CHANGE), handover.base)
    assert git.read_file(commit, "src/retry.py", max_bytes=100)
    assert git.merge_tree(handover.base, commit) == git.tree_of(commit)
    git.message_of(commit)


@pytest.mark.threat("PAT-05")
def test_the_patch_is_applied_without_a_work_tree_even_where_there_is_one(tmp_path):
    work = tmp_path / "work"
    subprocess.run(["git", "init", "--quiet", str(work)], check=True)
    git = Git(work)
    base = write_commit(git, BASE_FILES)
    tree = write_tree(git, changed(BASE_FILES, CHANGE))
    assert git.result_tree(base, git.diff(base, tree)) == tree
    assert sorted(path.name for path in work.iterdir()) == [".git"]
