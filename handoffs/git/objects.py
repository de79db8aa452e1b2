"""Reading a git repository: revisions, commits, files and objects. Handing git its input safely.

Objects and history are read by libgit2 where it can open the repository, else by git processes (`git_library` says
which). Revisions that are not full ids are always named by git.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handoffs.git.library import Library, open_library
from handoffs.git.process import Finished, GitError, Running, start_git

MAX_COMMIT_BYTES: Final = 64 << 20
_FULL_ID: Final = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z")
_SHORT_ID: Final = re.compile(r"[0-9a-f]{40}\Z")
_PEELED: Final = re.compile(rb"(tree|object) ([0-9a-f]{40})\n")
_MAX_PEELS: Final = 8


class GitReader:
    """One repository, bare or with a work tree, as far as reading goes."""

    def __init__(self, path: Path, *, timeout_seconds: float = 60.0) -> None:
        self.path = path.absolute()
        self.git_dir = _find_git_dir(self.path)
        self.timeout_seconds = timeout_seconds

    @functools.cached_property
    def _library(self) -> Library | None:
        return open_library(self.git_dir)

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
        with self.start(args, stdin=stdin, env=env, max_output_bytes=max_output_bytes) as running:
            return running.finish()

    def start(
        self,
        args: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 64 << 20,
    ) -> Running:
        """Start one git command, to be finished later."""
        return start_git(
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
        if _SHORT_ID.match(revision) and self._library is not None:
            found = self._peel(self._library, revision, kind)
            if found is None:
                raise GitError("git.unknown_revision", f"got {revision}, expected a {kind} of this repository")
            return found
        if "\n" not in revision and "\0" not in revision:
            done = self.finish(("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{{kind}}}"))
            found = done.output.decode("ascii", "replace").strip()
            if done.status == 0 and found:
                return found
            if done.errors.strip():
                raise GitError("git.failed", done.complaint())
        raise GitError("git.unknown_revision", f"got {revision[:200]!r}, expected a {kind} of this repository")

    @staticmethod
    def _peel(library: Library, object_id: str, kind: str) -> str | None:
        """Follow tags, and the commit to its tree if a tree is wanted."""
        for _ in range(_MAX_PEELS):
            item = library.read(object_id, max_bytes=MAX_COMMIT_BYTES)
            if item is None or item[0] == kind:
                return object_id if item else None
            link = _PEELED.match(item[1])
            if link is None or item[0] not in {"commit", "tag"} or (item[0] == "commit" and kind != "tree"):
                return None
            object_id = link[2].decode("ascii")
        return None

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
        found = self.resolve(commit)
        item = self.read_objects([found], max_bytes=MAX_COMMIT_BYTES)[found]
        raw = item[1] if item else b""
        head, _, message = raw.partition(b"\n\n")
        lines = head.decode("utf-8", "replace").split("\n")
        pairs = [line.partition(" ") for line in lines if not line.startswith(" ")]
        return [(name, value) for name, _, value in pairs], message

    def merge_base(self, a: str, b: str) -> str:
        """The best common ancestor of two commits.

        Raises: GitError("git.no_merge_base").
        """
        a, b = self._full(a), self._full(b)
        if self._library is not None:
            best = self._library.merge_base(a, b)
        else:
            done = self.finish(("merge-base", a, b))
            best = next(iter(done.output.decode("ascii", "replace").split()), None) if done.status == 0 else None
        if best is None:
            raise GitError("git.no_merge_base", f"got no common ancestor of {a} and {b}")
        return best

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `ancestor` is reachable from `descendant` (a commit is its own ancestor).

        Raises: GitError("git.failed") where one of them is unknown.
        """
        first, last = self._full(ancestor), self._full(descendant)
        if self._library is not None:
            return self._library.is_ancestor(first, last)
        done = self.finish(("merge-base", "--is-ancestor", first, last))
        if done.status not in {0, 1}:
            raise GitError("git.failed", f"git merge-base: {done.complaint()}")
        return done.status == 0

    def count_commits(self, base: str, tip: str, *, at_most: int) -> int:
        """How many commits reach `tip` and not `base`; counting stops at `at_most`.

        Raises: GitError("git.failed").
        """
        base, tip = self._full(base), self._full(tip)
        if self._library is not None:
            return self._library.count_commits(base, tip, at_most=at_most)
        return int(self.run("rev-list", "--count", f"--max-count={at_most}", f"{base}..{tip}", "--"))

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

        Raises: GitError("git.missing_object"), GitError("git.output_too_long") beyond `max_bytes`.
        """
        return self.read_blobs([blob], max_bytes=max_bytes)[blob]

    def read_blobs(self, blobs: Sequence[str], *, max_bytes: int) -> dict[str, bytes]:
        """The content of many blobs. Units: `max_bytes` over all of them.

        Raises: GitError("git.missing_object"), GitError("git.output_too_long").
        """
        wanted = list(dict.fromkeys(blobs))
        found = self.read_objects(wanted, max_bytes=max_bytes)
        for name in wanted:
            if found[name] is None:
                raise GitError("git.missing_object", f"got no object {name}")
        return {name: content[1] for name, content in found.items() if content is not None}

    def read_objects(self, ids: Sequence[str], *, max_bytes: int) -> dict[str, tuple[str, bytes] | None]:
        """Kind and content of many objects by their full ids; None where there is none.

        Units: `max_bytes` over all of them.
        Raises: GitError("git.output_too_long"), GitError("git.failed").
        """
        if self._library is None:
            return self._read_by_process(ids, max_bytes) if ids else {}
        found: dict[str, tuple[str, bytes] | None] = {}
        left = max_bytes
        for object_id in ids:
            if object_id not in found:
                item = self._library.read(object_id, max_bytes=left)
                found[object_id] = item
                left -= len(item[1]) if item else 0
        return found

    def _read_by_process(self, ids: Sequence[str], max_bytes: int) -> dict[str, tuple[str, bytes] | None]:
        stdin = b"".join(name.encode("ascii") + b"\n" for name in ids)
        raw = self.run("cat-file", "--batch", stdin=stdin, max_output_bytes=max_bytes + 200 * len(ids))
        found: dict[str, tuple[str, bytes] | None] = {}
        at = 0
        for name in ids:
            end = raw.index(b"\n", at)
            fields = raw[at:end].split(b" ")
            if fields[1:] == [b"missing"]:
                found[name] = None
                at = end + 1
                continue
            if len(fields) != 3 or not fields[2].isdigit():
                raise GitError("git.failed", f"got {raw[at:end][:200]!r} for the object {name[:200]!r}")
            size = int(fields[2])
            found[name] = (fields[1].decode("ascii"), raw[end + 1 : end + 1 + size])
            at = end + size + 2
        if sum(len(item[1]) for item in found.values() if item is not None) > max_bytes:
            raise GitError("git.output_too_long", f"got more than {max_bytes} bytes of objects")
        return found

    def write_objects(self, kind: str, contents: Sequence[bytes]) -> list[str]:
        """Store objects in the order given (what others refer to comes first) and return their ids.

        Raises: GitError("git.failed").
        """
        if self._library is not None:
            return [self._library.write(kind, content) for content in contents]
        with tempfile.TemporaryDirectory(prefix="leo-objects-") as folder:
            paths = [Path(folder) / str(number) for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            stdin = "".join(f"{path}\n" for path in paths).encode()
            return (
                self.run("hash-object", "-t", kind, "-w", "--no-filters", "--stdin-paths", stdin=stdin)
                .decode("ascii")
                .split()
            )


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
