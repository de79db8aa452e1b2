"""What the stand-in asks of a real bare repository: git's plumbing, nothing remembered beside it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, cast

NOBODY = "0" * 40
QUIET = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
FORMAT = "%H%n%T%n%P%n%an%n%ae%n%aI%n%cn%n%ce%n%cI%n%B%x00"


class GitError(Exception):
    """git refused."""


@dataclass(frozen=True)
class Person:
    name: str
    email: str
    date: str

    def show(self) -> dict[str, str]:
        return {"name": self.name, "email": self.email, "date": self.date}


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


def once[**P, R](method: Callable[Concatenate[Git, P], R]) -> Callable[Concatenate[Git, P], R]:
    """What is said of commits by their full names never changes: git is asked once."""

    def asked(git: Git, /, *arguments: P.args, **more: P.kwargs) -> R:
        if more or not all(isinstance(one, str) and len(one) == 40 for one in arguments):
            return method(git, *arguments, **more)
        key = (method.__name__, *arguments)
        if key not in git.known:
            git.known[key] = method(git, *arguments, **more)
        return cast("R", git.known[key])

    return asked


class Git:
    """One bare repository."""

    def __init__(self, path: Path, env: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.env = {**os.environ, **QUIET, **(env or {})}
        self.known: dict[tuple[object, ...], object] = {}

    def within(self, env: Mapping[str, str]) -> Git:
        """The same repository with more in its environment: a quarantine, for instance."""
        return Git(self.path, env)

    def raw(
        self, *arguments: str, stdin: bytes = b"", ok: tuple[int, ...] = (0,), env: Mapping[str, str] | None = None
    ) -> bytes:
        """Raises: GitError."""
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            input=stdin, capture_output=True, env={**self.env, **(env or {})}, check=False,
        )  # fmt: skip
        if done.returncode not in ok:
            raise GitError(done.stderr.decode(errors="replace").strip() or f"git {arguments[0]}: {done.returncode}")
        return done.stdout

    def run(
        self, *arguments: str, stdin: bytes = b"", ok: tuple[int, ...] = (0,), env: Mapping[str, str] | None = None
    ) -> str:
        return self.raw(*arguments, stdin=stdin, ok=ok, env=env).decode(errors="replace").strip()

    def resolve(self, name: str, kind: str = "commit") -> str:
        """The object behind a name. Empty: there is none."""
        if name.startswith("-"):
            return ""
        suffix = "" if ":" in name else f"^{{{kind}}}"
        found = self.run("rev-parse", "--verify", "-q", f"{name}{suffix}", ok=(0, 1, 128))
        if found and ":" in name and self.run("cat-file", "-t", found) != kind:
            return ""
        return found

    def find_commit(self, name: str) -> str:
        """A commit by branch, tag, full ref or sha. Empty: there is none."""
        for full in (f"refs/heads/{name}", f"refs/tags/{name}", name if name.startswith("refs/") else f"refs/{name}"):
            if found := self.resolve(full):
                return found
        is_sha = 7 <= len(name) <= 40 and all(letter in "0123456789abcdef" for letter in name)
        return self.resolve(name) if is_sha or name == "HEAD" else ""

    def refs(self, prefix: str = "refs/") -> dict[str, tuple[str, str]]:
        """Shape: name of each ref to (sha, type of the object)."""
        lines = self.run("for-each-ref", "--format=%(refname) %(objectname) %(objecttype)").splitlines()
        found = (line.split(" ") for line in lines)
        return {name: (sha, kind) for name, sha, kind in found if name.startswith(prefix)}

    def commits(self, *selection: str, limit: int = 1000) -> list[Commit]:
        text = self.raw("log", f"--max-count={limit}", f"--format={FORMAT}", *selection, "--").decode(errors="replace")
        found = []
        for part in text.split("\0"):
            lines = part.lstrip("\n").split("\n")
            if len(lines) < 10:
                continue
            author, committer = Person(*lines[3:6]), Person(*lines[6:9])
            message = "\n".join(lines[9:]).rstrip("\n")
            found.append(Commit(lines[0], lines[1], tuple(lines[2].split()), author, committer, message))
        return found

    @once
    def commit(self, sha: str) -> Commit:
        return self.commits("-1", sha)[0]

    @once
    def is_ancestor(self, older: str, newer: str) -> bool:
        done = subprocess.run(
            ["git", "-C", str(self.path), "merge-base", "--is-ancestor", older, newer],
            capture_output=True, env=self.env, check=False,
        )  # fmt: skip
        return done.returncode == 0

    @once
    def merge_base(self, one: str, other: str) -> str:
        return self.run("merge-base", one, other, ok=(0, 1))

    @once
    def count(self, without: str, up_to: str) -> int:
        """How many commits one has that the other has not."""
        return int(self.run("rev-list", "--count", f"{without}..{up_to}"))

    @once
    def merge_tree(self, ours: str, theirs: str) -> str:
        """The tree of a merge. Empty: there are conflicts."""
        done = subprocess.run(
            ["git", "-C", str(self.path), "merge-tree", "--write-tree", ours, theirs],
            capture_output=True, env=self.env, check=False,
        )  # fmt: skip
        return done.stdout.decode().split("\n")[0] if done.returncode == 0 else ""

    def write_commit(self, tree: str, parents: list[str], message: str, author: Person, committer: Person) -> str:
        env = {
            "GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email, "GIT_AUTHOR_DATE": author.date,
            "GIT_COMMITTER_NAME": committer.name, "GIT_COMMITTER_EMAIL": committer.email,
            "GIT_COMMITTER_DATE": committer.date,
        }  # fmt: skip
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self.run("commit-tree", tree, *flags, "-F", "-", stdin=message.encode(), env=env)

    def write_tree(self, base: str, changes: Mapping[str, bytes | None]) -> str:
        """A tree with some files changed. Shape: `base` a tree or commit, or empty; None takes a file away."""
        index = self.path / f"index.{os.getpid()}.{id(changes)}"
        env = {"GIT_INDEX_FILE": str(index)}
        try:
            if base:
                self.run("read-tree", base, env=env)
            lines = []
            for name, content in changes.items():
                if content is None:
                    lines.append(f"0 {NOBODY}\t{name}")
                else:
                    blob = self.run("hash-object", "-w", "--stdin", stdin=content)
                    lines.append(f"100644 {blob}\t{name}")
            self.run("update-index", "--add", "--index-info", stdin=("\n".join(lines) + "\n").encode(), env=env)
            return self.run("write-tree", env=env)
        finally:
            index.unlink(missing_ok=True)

    def update_ref(self, name: str, new: str, old: str | None = None) -> None:
        """Raises: GitError when it is not at `old` any more. `new` of zeroes deletes."""
        if new == NOBODY:
            self.run("update-ref", "-d", name, *([old] if old else []))
        else:
            self.run("update-ref", name, new, *([old] if old is not None else []))

    def tree(self, name: str, *, recursive: bool = False) -> list[tuple[str, str, str, str, int]]:
        """Shape: (mode, type, sha, path, size) of each entry; size is -1 for what is no blob."""
        flags = ["-r", "-t"] if recursive else []
        found = []
        for line in self.raw("ls-tree", "-z", "-l", *flags, name).decode(errors="surrogateescape").split("\0"):
            if line:
                head, _, path = line.partition("\t")
                mode, kind, sha, size = head.split()
                found.append((mode, kind, sha, path, -1 if size == "-" else int(size)))
        return found

    def read(self, revision: str, path: str) -> bytes | None:
        try:
            return self.raw("cat-file", "blob", f"{revision}:{path}")
        except GitError:
            return None

    @once
    def changed(self, base: str, head: str) -> list[tuple[str, str, str, str, int, int]]:
        """Shape: (status, path, earlier path, blob, lines added, lines deleted)."""
        kinds = {"A": "added", "M": "modified", "D": "removed", "R": "renamed", "C": "copied", "T": "changed"}
        counts = {}
        for line in (
            self.raw("diff-tree", "-r", "-M", "-z", "--numstat", base, head).decode(errors="replace").split("\0")
        ):
            parts = line.split("\t")
            if len(parts) == 3 and parts[2]:
                counts[parts[2]] = tuple(0 if part == "-" else int(part) for part in parts[:2])
        fields = self.raw("diff-tree", "-r", "-M", "-z", "--raw", base, head).decode(errors="replace").split("\0")
        found, place = [], 0
        while place < len(fields) and fields[place].startswith(":"):
            _, _, old_blob, blob, status = fields[place][1:].split(" ")
            twice = status[0] in "RC"
            earlier, path = (fields[place + 1], fields[place + 2]) if twice else ("", fields[place + 1])
            place += 3 if twice else 2
            added, deleted = counts.get(path, (0, 0))
            sha = old_blob if status[0] == "D" else blob
            found.append((kinds[status[0]], path, earlier, self.full(sha), added, deleted))
        return found

    def full(self, sha: str) -> str:
        return sha if len(sha) == 40 else self.resolve(sha, "object")

    def patch(self, base: str, head: str, path: str) -> str:
        text = self.run("diff-tree", "-p", "-r", base, head, "--", path)
        return text[text.index("@@") :] if "@@" in text else ""
