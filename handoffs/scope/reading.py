"""Following the gates through a repository: workflow, the action or script it uses, the script that one calls.

Both trees are followed, the one before and the one after, so that a change can neither add nor drop a call unseen.
Shape: nothing but the folders of gates is read when there is no workflow; MAX_STEPS steps and MAX_FILES files at most.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from handoffs.git.process import GitError
from handoffs.git.trees import Entry, Trees, canonical_mode
from handoffs.scope.calls import called_by
from handoffs.scope.control_plane import Steering, classify_path

FOLDERS: Final = (".github/workflows", ".gitea/workflows", ".forgejo/workflows", ".circleci", ".ci", ".buildkite",
                  ".husky", ".githooks", ".woodpecker")  # fmt: skip
FILES: Final = (".gitlab-ci.yml", ".travis.yml", "azure-pipelines.yml", "Jenkinsfile", "bitbucket-pipelines.yml",
                ".drone.yml", ".woodpecker.yml", ".pre-commit-config.yaml", "lefthook.yml")  # fmt: skip
MAX_STEPS: Final = 8
MAX_FILES: Final = 400
_MAX_TOTAL: Final = MAX_FILES * (64 << 10)
_LONGEST_LINK: Final = 4_096
_MAX_NAMES: Final = 200_000
_LINK: Final = "120000"
_FILE_MODES: Final = frozenset({"100644", "100755", _LINK})
_GONE_TOO_FAR: Final = "what the gates call could not be followed to its end"


def follow_gates(trees: Trees, roots: Sequence[str]) -> Steering:
    """What the gates of these trees call.

    Raises: GitError.
    """
    seen: dict[str, str] = {}
    new = dict.fromkeys(_first_files(trees, roots), "")
    for _ in range(MAX_STEPS):
        contents = _read(trees, roots, new)
        if contents is None or len(seen) + len(new) > MAX_FILES:
            return Steering(MappingProxyType({**seen, **new}), _GONE_TOO_FAR)
        seen |= new
        named: dict[str, str] = {}
        for path, names in contents:
            for name in names:
                if name not in seen:
                    named.setdefault(name, path)
        new = {name: named[name] for name in _entries(trees, roots, named)}
        if not new:
            return Steering(MappingProxyType({path: by for path, by in seen.items() if by}))
    return Steering(MappingProxyType({**seen, **new}), _GONE_TOO_FAR)


def _first_files(trees: Trees, roots: Sequence[str]) -> list[str]:
    """The files a search starts from: those of the gates' folders, single files at the root, and links that steer."""
    found: dict[str, None] = {}
    for root in roots:
        folders = trees.folders(root, [b"", *(os.fsencode(folder) for folder in FOLDERS)])
        found |= {name: None for name in FILES if os.fsencode(name) in folders[b""]}
        links = (os.fsdecode(name) for name, entry in folders[b""].items() if canonical_mode(entry.mode) == _LINK)
        found |= {name: None for name in links if classify_path(name)}
        for folder in FOLDERS:
            found |= {f"{folder}/{os.fsdecode(name)}": None for name in folders[os.fsencode(folder)]}
    return list(found)


def _entries(trees: Trees, roots: Sequence[str], paths: Iterable[str]) -> dict[str, list[Entry]]:
    """Of the paths, those that are ordinary files in one of the trees, with their entries there."""
    asked = {os.fsencode(path): path for path in paths}
    if len(asked) > _MAX_NAMES:
        raise GitError("git.output_too_long", f"got {len(asked)} names in the workflows, expected {_MAX_NAMES} at most")
    found: dict[str, list[Entry]] = {}
    for root in roots:
        folders = trees.folders(root, {raw.rpartition(b"/")[0] for raw in asked})
        for raw, path in asked.items():
            folder, _, name = raw.rpartition(b"/")
            entry = folders[folder].get(name)
            if entry is not None and canonical_mode(entry.mode) in _FILE_MODES:
                found.setdefault(path, []).append(entry)
    return found


def _read(trees: Trees, roots: Sequence[str], paths: Mapping[str, str]) -> list[tuple[str, set[str]]] | None:
    """What the files of both trees call, each version once, a link its target; None when it is too much to read."""
    entries = _entries(trees, roots, paths)
    wanted = list(dict.fromkeys(entry.object_id for versions in entries.values() for entry in versions))
    try:
        found = trees.git.read_objects(wanted, max_bytes=_MAX_TOTAL)
    except GitError as error:
        if error.code == "git.output_too_long":
            return None
        raise
    versions = {
        (path, canonical_mode(entry.mode) == _LINK, item[1]): None
        for path, listed in entries.items()
        for entry in listed
        if (item := found[entry.object_id]) is not None
    }
    return [
        (path, _target(path, content) if is_link else called_by(path, content)) for path, is_link, content in versions
    ]


def _target(path: str, content: bytes) -> set[str]:
    """Where a symbolic link leads, within the tree."""
    return {posixpath.normpath(posixpath.join(posixpath.dirname(path), os.fsdecode(content[:_LONGEST_LINK])))}
