"""Objects and history of one repository by libgit2: what needs no judgement of git's needs no process either.

Nothing of the repository can make libgit2 run anything here: no hook, filter or attribute is involved in reading and
writing objects, configuration outside the repository is not looked at, and replacement refs are unknown to it.
Repositories with SHA-256 ids, and any other that libgit2 cannot open, are left to git itself.

Source: libgit2 1.9, git_odb, git_graph_descendant_of, git_revwalk.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import ConfigLevel, ObjectType, RepositoryOpenFlag, SortMode

from handoffs.git.process import GitError

_KINDS: Final = {
    ObjectType.COMMIT: "commit",
    ObjectType.TREE: "tree",
    ObjectType.BLOB: "blob",
    ObjectType.TAG: "tag",
}
_TYPES: Final = {kind: number for number, kind in _KINDS.items()}

# The path is given, not searched for: whose it is was decided by who named it, as with `git --git-dir`.
pygit2.settings.owner_validation = False
for _level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
    pygit2.settings.search_path[_level] = ""


class Library:
    """One opened repository. Not for two threads at once, and to be opened again after a fork."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository
        self._objects = repository.odb

    def read(self, object_id: str, *, max_bytes: int) -> tuple[str, bytes] | None:
        """Kind and content of one object, None where there is none; its size is looked at before its content.

        Raises: GitError("git.output_too_long"), GitError("git.failed") for a broken object.
        """
        try:
            number, size = self._objects.read_header(object_id)
            if size > max_bytes:
                raise GitError("git.output_too_long", f"got an object of {size} bytes, expected at most {max_bytes}")
            return _KINDS[number], self._objects.read(object_id)[1]
        except KeyError:
            return None
        except (pygit2.GitError, ValueError) as error:
            raise GitError("git.failed", f"object {object_id}: {str(error)[:500]}") from None

    def write(self, kind: str, content: bytes) -> str:
        """Store one object and return its id.

        Raises: GitError("git.failed").
        """
        try:
            return str(self._objects.write(_TYPES[kind], content))
        except (pygit2.GitError, OSError) as error:
            raise GitError("git.failed", f"a {kind} could not be stored: {str(error)[:500]}") from None

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `ancestor` is reachable from `descendant` (a commit is its own ancestor).

        Raises: GitError("git.failed") where one of them is not a commit of the repository.
        """
        try:
            kinds = {self._objects.read_header(commit)[0] for commit in (ancestor, descendant)}
            if kinds != {ObjectType.COMMIT}:
                raise GitError("git.failed", f"got {ancestor} and {descendant}, expected two commits")
            return ancestor == descendant or bool(self._repository.descendant_of(descendant, ancestor))
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise GitError("git.failed", f"{ancestor} and {descendant}: {str(error)[:500]}") from None

    def merge_base(self, a: str, b: str) -> str | None:
        """The best common ancestor of two commits.

        Raises: GitError("git.failed").
        """
        try:
            found = self._repository.merge_base(a, b)
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise GitError("git.failed", f"{a} and {b}: {str(error)[:500]}") from None
        return str(found) if found is not None else None

    def count_commits(self, base: str, tip: str, *, at_most: int) -> int:
        """How many commits reach `tip` and not `base`; counting stops at `at_most`.

        Where committer dates run backwards it may be too many, never too few.
        Raises: GitError("git.failed").
        """
        try:
            walk = self._repository.walk(tip, SortMode.NONE)
            walk.hide(base)
            return sum(1 for _ in islice(walk, at_most))
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise GitError("git.failed", f"{base}..{tip}: {str(error)[:500]}") from None


def open_library(git_dir: Path) -> Library | None:
    """The repository by libgit2; None where it cannot be opened, and git itself has to be asked."""
    try:
        return Library(pygit2.Repository(str(git_dir), RepositoryOpenFlag.NO_SEARCH))
    except (pygit2.GitError, ValueError, KeyError):
        return None
