"""Reading a git repository: revisions, commits, files and objects. Handing git its input safely."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handoffs.git_process import Finished, GitError, run_git

_FULL_ID: Final = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z")


class GitReader:
    """One repository, bare or with a work tree, as far as reading goes."""

    def __init__(self, path: Path, *, timeout_seconds: float = 60.0) -> None:
        self.path = path.absolute()
        self.git_dir = _find_git_dir(self.path)
        self.timeout_seconds = timeout_seconds

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 64 << 20,
    ) -> bytes:
        """Run one git command and return what it wrote.

        Raises: GitError("git.failed") when it ends with another status than 0.
        """
        done = self.finish(args, stdin=stdin, env=env, max_output_bytes=max_output_bytes)
        if done.status != 0:
            raise GitError("git.failed", f"git {args[0]}: {done.complaint()}")
        return done.output

    def finish(
        self,
        args: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 64 << 20,
    ) -> Finished:
        """Run one git command and return how it ended, whatever the status."""
        return run_git(
            self.git_dir,
            args,
            stdin=stdin,
            env=env or {},
            timeout_seconds=self.timeout_seconds,
            max_output_bytes=max_output_bytes,
        )

    def _text(self, *args: str) -> str:
        return self.run(*args).decode("utf-8", "surrogateescape").strip()

    # -- commits -------------------------------------------------------------------------------

    def resolve(self, revision: str) -> str:
        """The full id of the commit a revision names.

        Raises: GitError("git.unknown_revision"); ("git.failed") where git refuses to look at all, e.g. for its owner.
        """
        return self._parse_revision(revision, "commit")

    def _parse_revision(self, revision: str, kind: str) -> str:
        if "\n" not in revision and "\0" not in revision:
            done = self.finish(("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{{kind}}}"))
            found = done.output.decode("ascii", "replace").strip()
            if done.status == 0 and found:
                return found
            if done.errors.strip():
                raise GitError("git.failed", done.complaint())
        raise GitError("git.unknown_revision", f"got {revision[:200]!r}, expected a {kind} of this repository")

    def tree_of(self, commit: str) -> str:
        """The tree id of a commit or tree.

        Raises: GitError("git.unknown_revision").
        """
        return self._parse_revision(commit, "tree")

    def parents_of(self, commit: str) -> tuple[str, ...]:
        """The parents of a commit, in order."""
        headers, _ = self._commit(commit)
        return tuple(value for name, value in headers if name == "parent")

    def message_of(self, commit: str) -> str:
        """The whole message of a commit; what is not UTF-8 is replaced."""
        return self._commit(commit)[1].decode("utf-8", "replace")

    def committed_at(self, commit: str) -> datetime:
        """The committer date of a commit, in UTC."""
        headers, _ = self._commit(commit)
        seconds = next(value for name, value in headers if name == "committer").rsplit(" ", 2)[1]
        return datetime.fromtimestamp(int(seconds), UTC)

    def _commit(self, commit: str) -> tuple[list[tuple[str, str]], bytes]:
        raw = self.run("cat-file", "commit", self.resolve(commit))
        head, _, message = raw.partition(b"\n\n")
        lines = head.decode("utf-8", "replace").split("\n")
        pairs = [line.partition(" ") for line in lines if not line.startswith(" ")]
        return [(name, value) for name, _, value in pairs], message

    def merge_base(self, a: str, b: str) -> str:
        """The best common ancestor of two commits.

        Raises: GitError("git.no_merge_base").
        """
        done = self.finish(("merge-base", self._full(a), self._full(b)))
        found = done.output.decode("ascii", "replace").split()
        if done.status != 0 or not found:
            raise GitError("git.no_merge_base", f"got no common ancestor of {a} and {b}")
        return found[0]

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `ancestor` is reachable from `descendant` (a commit is its own ancestor)."""
        done = self.finish(("merge-base", "--is-ancestor", *map(self._full, (ancestor, descendant))))
        if done.status not in {0, 1}:
            raise GitError("git.failed", f"git merge-base: {done.complaint()}")
        return done.status == 0

    def _full(self, revision: str) -> str:
        """A revision as an id; what already is a full id is left to the command to find or refuse."""
        return revision if _FULL_ID.match(revision) else self.resolve(revision)

    # -- content -------------------------------------------------------------------------------

    def read_file(self, commit: str, path: str, *, max_bytes: int) -> bytes:
        """The content of a file of a commit or tree.

        Raises: GitError("git.missing_path"), GitError("git.output_too_long").
        """
        for entry in self.run("ls-tree", "-z", commit, "--", path).split(b"\0"):
            meta, _, name = entry.partition(b"\t")
            if name == path.encode("utf-8", "surrogateescape") and meta.split()[1:2] == [b"blob"]:
                return self.read_blob(meta.split()[2].decode("ascii"), max_bytes=max_bytes)
        raise GitError("git.missing_path", f"got no file {path[:200]!r} in {commit}")

    def read_blob(self, blob: str, *, max_bytes: int) -> bytes:
        """The content of one blob.

        Raises: GitError("git.output_too_long") beyond `max_bytes`.
        """
        return self.run("cat-file", "blob", blob, max_output_bytes=max_bytes)

    def read_blobs(self, blobs: Sequence[str], *, max_bytes: int) -> dict[str, bytes]:
        """The content of many blobs in one process. Units: `max_bytes` over all of them.

        Raises: GitError("git.missing_object"), GitError("git.output_too_long").
        """
        wanted = list(dict.fromkeys(blobs))
        found = self.read_objects(wanted, max_bytes=max_bytes)
        for name in wanted:
            if found[name] is None:
                raise GitError("git.missing_object", f"got no object {name}")
        return {name: content[1] for name, content in found.items() if content is not None}

    def read_objects(self, names: Sequence[str], *, max_bytes: int) -> dict[str, tuple[str, bytes] | None]:
        """Type and content of many objects, by any name git understands; None where there is none."""
        if not names:
            return {}
        stdin = b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names)
        raw = self.run("cat-file", "--batch", "-z", stdin=stdin, max_output_bytes=max_bytes + 200 * len(names))
        found: dict[str, tuple[str, bytes] | None] = {}
        at = 0
        for name in names:
            absent = name.encode("utf-8", "surrogateescape") + b" missing\n"
            if raw.startswith(absent, at):
                found[name] = None
                at += len(absent)
                continue
            end = raw.index(b"\n", at)
            fields = raw[at:end].split(b" ")
            if len(fields) != 3 or not fields[2].isdigit():
                raise GitError("git.failed", f"got {raw[at:end][:200]!r} for the object {name[:200]!r}")
            size = int(fields[2])
            found[name] = (fields[1].decode("ascii"), raw[end + 1 : end + 1 + size])
            at = end + size + 2
        if sum(len(item[1]) for item in found.values() if item is not None) > max_bytes:
            raise GitError("git.output_too_long", f"got more than {max_bytes} bytes of objects")
        return found


def _find_git_dir(path: Path) -> Path:
    """The git directory of a bare repository, a work tree or a linked work tree.

    Raises: GitError("git.no_repository").
    """
    inside = path / ".git"
    if inside.is_dir():
        return inside
    if inside.is_file():
        pointer = inside.read_text("utf-8").strip()
        if pointer.startswith("gitdir: "):
            return (path / pointer.removeprefix("gitdir: ")).resolve()
    if (path / "HEAD").is_file() and (path / "objects").is_dir():
        return path
    raise GitError("git.no_repository", f"got {path}, expected a git repository")
