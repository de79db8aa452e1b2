"""Folders of a repository: read once each, compared as git compares them.

Source: git's tree-walk.c and tree-diff.c; `git diff-tree -r --raw --no-renames` gives the same list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from handoffs.git.objects import GitReader
from handoffs.git.process import GitError

TREE_MODE: Final = "40000"
MAX_TREES_BYTES: Final = 256 << 20
MAX_DEPTH: Final = 1_000
NO_MODE: Final = "000000"
_ENTRIES: Final = {
    20: re.compile(rb"([0-7]{5,7}) ([^\0/]+)\0(.{20})", re.DOTALL),
    32: re.compile(rb"([0-7]{5,7}) ([^\0/]+)\0(.{32})", re.DOTALL),
}
_FIXED: Final = 2  # the space and the NUL of an entry


class Entry(NamedTuple):
    """One line of a tree or index: a mode in octal as it is stored, and an object id."""

    mode: str
    object_id: str

    @property
    def is_folder(self) -> bool:
        """Whether the entry is another tree."""
        return _kind(self.mode) == 0o4


type Folder = dict[bytes, Entry]


@dataclass(frozen=True)
class TreeChange:
    """One changed path between two trees.

    Units: `status` is A, M, D or T (type changed); modes are git's six octal digits and blobs full
    object ids, all zeros where the path does not exist on that side. `path` holds what is not UTF-8
    as lone surrogates (PEP 383).
    """

    path: str
    status: str
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str


class Trees:
    """The tree objects of one repository, each read once."""

    def __init__(self, git: GitReader) -> None:
        self.git = git
        self._folders: dict[str, Folder] = {}
        self._made: list[tuple[str, bytes]] = []
        self._left = MAX_TREES_BYTES

    def folder(self, object_id: str) -> Folder:
        """One folder.

        Raises: GitError("git.missing_object"), ("git.bad_tree").
        """
        self._load([object_id])
        return self._folders[object_id]

    def folders(self, root: str, paths: Iterable[bytes]) -> dict[bytes, Folder]:
        """The folders at some paths below a tree, empty where there is none; the root is the empty path."""
        found: dict[bytes, Folder] = {}
        waiting = {path: (path.split(b"/") if path else [], root) for path in paths}
        while waiting:
            self._load(object_id for _, object_id in waiting.values())
            below = {}
            for path, (parts, object_id) in waiting.items():
                folder = self._folders[object_id]
                if not parts:
                    found[path] = folder
                    continue
                entry = folder.get(parts[0])
                if entry is not None and entry.is_folder:
                    below[path] = (parts[1:], entry.object_id)
                else:
                    found[path] = {}
            waiting = below
        return found

    def changes(self, base: str, result: str) -> tuple[TreeChange, ...]:
        """Every path that differs between two trees, renames shown as delete and add.

        Raises: GitError("git.missing_object"), ("git.bad_tree").
        """
        zeros = "0" * len(base)
        found: list[tuple[bytes, TreeChange]] = []
        pairs = [(b"", base, result)] if base != result else []
        for _ in range(MAX_DEPTH):
            if not pairs:
                break
            self._load(object_id for _, *sides in pairs for object_id in sides if object_id)
            below = []
            for prefix, *sides in pairs:
                before, after = (self._folders[side] if side else {} for side in sides)
                for name in {name for name, _ in before.items() ^ after.items()}:
                    old, new = before.get(name), after.get(name)
                    old_tree, new_tree = (e.object_id if e and e.is_folder else "" for e in (old, new))
                    if old_tree != new_tree:
                        below.append((prefix + name + b"/", old_tree, new_tree))
                    change = _change(prefix + name, old, new, zeros)
                    if change is not None:
                        found.append((prefix + name, change))
            pairs = below
        if pairs:
            raise GitError("git.bad_tree", f"got folders deeper than {MAX_DEPTH}")
        return tuple(change for _, change in sorted(found, key=lambda item: item[0]))

    def add(self, made: Iterable[tuple[str, bytes, Folder]]) -> None:
        """Know folders that the repository need not have, children first: id, bytes and entries of each."""
        fresh = [item for item in made if item[0] not in self._folders]
        self._made += [(object_id, raw) for object_id, raw, _ in fresh]
        self._folders.update({object_id: folder for object_id, _, folder in fresh})

    def store(self) -> None:
        """Write the folders that were added into the repository.

        Raises: GitError("git.failed").
        """
        if self.git.write_objects("tree", [raw for _, raw in self._made]) != [object_id for object_id, _ in self._made]:
            raise GitError("git.failed", "got other tree ids than the entries give")

    def _load(self, ids: Iterable[str]) -> None:
        missing = [object_id for object_id in dict.fromkeys(ids) if object_id not in self._folders]
        if not missing:
            return
        for object_id, item in self.git.read_objects(missing, max_bytes=self._left).items():
            if item is None or item[0] != "tree":
                raise GitError("git.missing_object", f"got no tree {object_id}")
            self._left -= len(item[1])
            self._folders[object_id] = read_tree(item[1], len(object_id) // 2)


def read_tree(raw: bytes, id_bytes: int) -> Folder:
    """The entries of a raw tree object: `mode SP name NUL id`, again and again.

    Raises: GitError("git.bad_tree") for what git itself would never write.
    """
    entries = _ENTRIES[id_bytes].findall(raw)
    folder = {name: Entry(mode.decode("ascii"), object_id.hex()) for mode, name, object_id in entries}
    length = sum(len(mode) + len(name) for mode, name, _ in entries) + (_FIXED + id_bytes) * len(entries)
    if length != len(raw) or len(folder) != len(entries):
        raise GitError("git.bad_tree", "got a tree with a malformed or repeated entry")
    return folder


@lru_cache(maxsize=64)  # there are five in a repository
def _kind(mode: str) -> int:
    """The type of an entry: 4 folder, 8 or 9 file, 10 link, 14 submodule."""
    return int(mode, 8) >> 12


def _change(path: bytes, old: Entry | None, new: Entry | None, zeros: str) -> TreeChange | None:
    """One path, if what is not a folder differs on the two sides."""
    before = (canonical_mode(old.mode), old.object_id) if old and not old.is_folder else (NO_MODE, zeros)
    after = (canonical_mode(new.mode), new.object_id) if new and not new.is_folder else (NO_MODE, zeros)
    if before == after:
        return None
    if before[0] == NO_MODE:
        status = "A"
    elif after[0] == NO_MODE:
        status = "D"
    else:
        status = "M" if _kind(before[0]) == _kind(after[0]) else "T"
    return TreeChange(path.decode("utf-8", "surrogateescape"), status, before[0], after[0], before[1], after[1])


def canonical_mode(mode: str) -> str:
    """A stored mode as git shows it: six digits, files only with or without their executable bit."""
    kind = _kind(mode)
    if kind == 0o10:
        return "100755" if int(mode, 8) & 0o100 else "100644"
    return {0o4: "040000", 0o12: "120000"}.get(kind, "160000")
