"""Following the gates through a repository: workflow, the action or script it uses, the script that one calls.

Both trees are followed, the one before and the one after, so that a change can neither add nor drop a call unseen.
Shape: nothing is read when there is no workflow; else two git processes for each step, MAX_STEPS at most.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from handoffs.calls import called_by
from handoffs.git_index import read_tree
from handoffs.git_objects import GitReader
from handoffs.git_process import GitError
from handoffs.scope import Steering

FOLDERS: Final = (".github/workflows", ".gitea/workflows", ".forgejo/workflows", ".circleci", ".ci", ".buildkite",
                  ".husky", ".githooks", ".woodpecker")  # fmt: skip
FILES: Final = (".gitlab-ci.yml", ".travis.yml", "azure-pipelines.yml", "Jenkinsfile", "bitbucket-pipelines.yml",
                ".drone.yml", ".woodpecker.yml", ".pre-commit-config.yaml", "lefthook.yml")  # fmt: skip
MAX_STEPS: Final = 8
MAX_FILES: Final = 400
MAX_FILE_BYTES: Final = 1 << 20
_MAX_TOTAL: Final = MAX_FILES * (64 << 10)
_MAX_NAMES: Final = 200_000
_GONE_TOO_FAR: Final = "what the gates call could not be followed to its end"

type Objects = Mapping[str, tuple[str, bytes] | None]


def root_names(trees: Sequence[str]) -> list[str]:
    """The names of everything a search starts from, to be read with `read_objects`."""
    return [f"{tree}:{path}" for tree in trees for path in (*FOLDERS, *FILES)]


def follow_gates(git: GitReader, trees: Sequence[str], roots: Objects) -> Steering:
    """What the gates of these trees call. `roots` answers `root_names`.

    Raises: GitError.
    """
    files = {path: "" for tree in trees for path in FILES if roots.get(f"{tree}:{path}")}
    for tree in trees:
        for folder in FOLDERS:
            item = roots.get(f"{tree}:{folder}")
            if item is not None and item[0] == "tree":
                names = read_tree(item[1], len(tree) // 2)
                files |= {f"{folder}/{os.fsdecode(name)}": "" for name in names if b"\n" not in name}
    seen: dict[str, str] = {}
    new: dict[str, str] = files
    for _ in range(MAX_STEPS):
        contents = _read(git, trees, new)
        if contents is None or len(seen) + len(new) > MAX_FILES:
            return Steering(MappingProxyType({**seen, **new}), _GONE_TOO_FAR)
        seen |= new
        named: dict[str, str] = {}
        for path, content in contents:
            for name in called_by(path, content):
                if name not in seen:
                    named.setdefault(name, path)
        new = _existing(git, trees, named)
        if not new:
            return Steering(MappingProxyType({path: by for path, by in seen.items() if by}))
    return Steering(MappingProxyType({**seen, **new}), _GONE_TOO_FAR)


def _existing(git: GitReader, trees: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Of the names, those that are files of one of the trees."""
    if not named:
        return {}
    if len(named) > _MAX_NAMES:
        raise GitError("git.output_too_long", f"got {len(named)} names in the workflows, expected {_MAX_NAMES} at most")
    order = [(tree, name) for tree in trees for name in sorted(named)]
    kinds = _kinds(git, [f"{tree}:{name}" for tree, name in order])
    return {name: named[name] for (_, name), (kind, _) in zip(order, kinds, strict=True) if kind == "blob"}


def _read(git: GitReader, trees: Sequence[str], paths: Iterable[str]) -> list[tuple[str, bytes]] | None:
    """The contents of files in both trees, each version once; None when it is too much to read."""
    order = [(tree, path) for path in paths for tree in trees]
    names = [f"{tree}:{path}" for tree, path in order]
    if not names:
        return []
    small = [
        (name, path)
        for name, (_, path), (kind, size) in zip(names, order, _kinds(git, names), strict=True)
        if kind == "blob" and size <= MAX_FILE_BYTES
    ]
    try:
        found = git.read_objects([name for name, _ in small], max_bytes=_MAX_TOTAL)
    except GitError as error:
        if error.code == "git.output_too_long":
            return None
        raise
    pairs = {(path, item[1]): None for name, path in small if (item := found[name]) is not None}
    return list(pairs)


def _kinds(git: GitReader, names: Sequence[str]) -> list[tuple[str, int]]:
    """Type and size of each name; an empty type where there is no such object."""
    stdin = b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names)
    raw = git.run("cat-file", "--batch-check=%(objecttype) %(objectsize)", "-z", stdin=stdin)
    found = []
    for line in raw.split(b"\n")[:-1]:
        kind, _, size = line.rpartition(b" ")
        found.append((kind.decode("ascii"), int(size)) if size.isdigit() and b" " not in kind else ("", 0))
    return found
