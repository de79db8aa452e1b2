"""What the flow needs from a place that hosts repositories: two small protocols.

`LocalGit` and `GitHub` implement them; the flow's code does not know which forge it talks to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from audit.coded import CodedError

ZERO = "0" * 40
ARTIFACT_PATH = ".leo/artifact.tar.gz"


class ForgeError(CodedError):
    """The forge refused or failed. `code` is stable; `detail` holds its own words; `retry_in` is when it may be asked
    again, if it said so."""

    def __init__(self, code: str, detail: str, *, retry_in: timedelta | None = None) -> None:
        super().__init__(code, detail)
        self.retry_in = retry_in


@dataclass(frozen=True)
class StagingCommit:
    """The tip of a staging branch. `artifact` is the object id of the bundle in it, empty when there is none.

    Units: `artifact_bytes` is the bundle's size; nothing of it was read yet. `raw` is the commit object, its signature
    included; empty where it cannot be read.
    """

    branch: str
    commit: str
    subject: str
    artifact: str = ""
    artifact_bytes: int = 0
    raw: bytes = b""


@dataclass(frozen=True)
class NewCommit:
    """A commit to be written. Deterministic: the same fields give the same id."""

    tree: str
    parents: Sequence[str]
    message: str
    name: str
    email: str
    when: datetime


@dataclass(frozen=True)
class NewPull:
    """A pull request to be opened, or to be told what its branch holds now."""

    head: str
    base: str
    title: str
    body: str


class Forge(Protocol):
    """One governed repository, as the enforcer sees it. Every write is safe to repeat."""

    def refresh(self) -> None:
        """Bring what the reads below see up to date with the place itself.

        Raises: ForgeError.
        """
        ...

    def open_pull(self, wanted: NewPull) -> int:
        """The number of the branch's open pull request, opened if there is none; 0 where the portal counts itself.

        Raises: ForgeError.
        """
        ...

    @property
    def git_path(self) -> Path:
        """A bare repository with the objects, for judging trees and reading blobs."""
        ...

    def staging_commits(self, *, known: Callable[[set[str]], set[str]]) -> list[StagingCommit]:
        """The tips of the `staging/codex-*` branches that `known` does not answer for, by branch name."""
        ...

    def commit_object(self, commit: str) -> bytes:
        """A commit as it is stored; empty if it cannot be read."""
        ...

    def contributors(self, base: str, commit: str) -> tuple[str, ...]:
        """E-mail addresses of every author, committer and co-author in base..commit, lower case."""
        ...

    def branch(self, name: str) -> str:
        """The commit a branch points at; empty when there is none."""
        ...

    def branch_in_the_way(self, name: str) -> str:
        """A branch that lies above or below this name in the folders of refs, so that this one cannot be made."""
        ...

    def write_commit(self, commit: NewCommit) -> str:
        """Store a commit without moving any ref; returns its id."""
        ...

    def update_branch(self, name: str, *, old: str, new: str) -> None:
        """Move a branch by a push through the repository's own protection; a repeat is no error.

        Raises: ForgeError("forge.push_refused"), ForgeError("forge.branch_moved").
        """
        ...
