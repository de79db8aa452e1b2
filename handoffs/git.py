"""The one door to git repositories: reading objects, judging patches, writing commits, moving refs.

Nothing here uses a work tree unless its name says so, and nothing runs a hook of this repository.
The hooks of a remote that is pushed to do run: they are how a forge refuses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handoffs.git_process import Finished, GitError, run_git

__all__ = ["Git", "GitError", "TreeChange"]

EMPTY_TREES: Final = {40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}
_DIFF_OPTIONS: Final = (
    "-r",
    "--no-renames",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-relative",
    "--submodule=short",
    "--ignore-submodules=none",
)
_PATCH_OPTIONS: Final = (
    "-p",
    "--binary",
    "--full-index",
    "-U3",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)


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


class Git:
    """One repository, bare or with a work tree."""

    def __init__(self, path: Path, *, timeout_seconds: float = 60.0) -> None:
        self.path = path.absolute()
        self.git_dir = _find_git_dir(self.path)
        self.timeout_seconds = timeout_seconds

    # -- running -------------------------------------------------------------------------------

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
        done = self._finish(args, stdin=stdin, env=env, max_output_bytes=max_output_bytes)
        if done.status != 0:
            raise GitError("git.failed", f"git {args[0]}: {done.complaint()}")
        return done.output

    def _finish(
        self,
        args: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 64 << 20,
    ) -> Finished:
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

        Raises: GitError("git.unknown_revision").
        """
        if "\n" not in revision and "\0" not in revision:
            done = self._finish(
                ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"),
            )
            found = done.output.decode("ascii", "replace").strip()
            if done.status == 0 and found:
                return found
        raise GitError("git.unknown_revision", f"got {revision[:200]!r}, expected a commit of this repository")

    def tree_of(self, commit: str) -> str:
        """The tree id of a commit."""
        return self._text("rev-parse", "--verify", "--end-of-options", f"{self.resolve(commit)}^{{tree}}")

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
        done = self._finish(("merge-base", self.resolve(a), self.resolve(b)))
        found = done.output.decode("ascii", "replace").split()
        if done.status != 0 or not found:
            raise GitError("git.no_merge_base", f"got no common ancestor of {a} and {b}")
        return found[0]

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `ancestor` is reachable from `descendant` (a commit is its own ancestor)."""
        done = self._finish(("merge-base", "--is-ancestor", self.resolve(ancestor), self.resolve(descendant)))
        if done.status not in {0, 1}:
            raise GitError("git.failed", f"git merge-base: {done.complaint()}")
        return done.status == 0

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
        return found

    def refs(self, prefix: str) -> dict[str, str]:
        """Every ref under `prefix` (full names), with the commit it names."""
        raw = self.run("for-each-ref", "--format=%(refname)%00%(objectname)%00%(*objectname)", "--", prefix)
        found: dict[str, str] = {}
        for line in raw.decode("utf-8", "replace").splitlines():
            name, direct, peeled = line.split("\0")
            found[name] = peeled or direct
        return found

    # -- trees ---------------------------------------------------------------------------------

    def result_tree(self, base: str, patch: bytes) -> str:
        """The tree that `patch` makes of `base`: zero fuzz, no three-way merge, no work tree.

        Raises: GitError("git.patch_does_not_apply").
        """
        base_tree = self.tree_of(base)
        with tempfile.TemporaryDirectory(prefix="leo-index-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.run("read-tree", base_tree, env=env)
            done = self._finish(("apply", "--cached", "--whitespace=nowarn", "-p1", "-"), stdin=patch, env=env)
            if done.status != 0:
                raise GitError("git.patch_does_not_apply", done.complaint())
            return self.run("write-tree", env=env).decode("ascii").strip()

    def changes(self, base: str, result: str) -> tuple[TreeChange, ...]:
        """Every path that differs between two commits or trees, renames shown as delete and add."""
        raw = self.run("diff-tree", "--raw", "-z", "--full-index", *_DIFF_OPTIONS, base, result)
        fields = raw.split(b"\0")
        found = []
        for meta, name in zip(fields[0::2], fields[1::2], strict=False):
            old_mode, new_mode, old_blob, new_blob, status = meta.decode("ascii").lstrip(":").split(" ")
            path = name.decode("utf-8", "surrogateescape")
            found.append(TreeChange(path, status[0], old_mode, new_mode, old_blob, new_blob))
        return tuple(found)

    def diff(self, base: str, result: str, *, path: str | None = None) -> bytes:
        """The unified diff between two commits or trees; the same bytes whatever the configuration."""
        only = ("--", path) if path is not None else ("--",)
        return self.run("diff-tree", *_PATCH_OPTIONS, *_DIFF_OPTIONS, base, result, *only, max_output_bytes=256 << 20)

    def merge_tree(self, ours: str, theirs: str) -> str:
        """The tree of the merge of two commits.

        Raises: GitError("git.conflict").
        """
        done = self._finish(
            ("merge-tree", "--write-tree", "--name-only", "--no-messages", self.resolve(ours), self.resolve(theirs)),
        )
        lines = done.output.decode("utf-8", "replace").splitlines()
        if done.status == 1:
            names = ", ".join(line for line in lines[1:6] if line)
            raise GitError("git.conflict", f"got conflicts in {names}, expected a clean merge")
        if done.status != 0 or not lines:
            raise GitError("git.failed", f"git merge-tree: {done.complaint()}")
        return lines[0].strip()

    # -- writing -------------------------------------------------------------------------------

    def write_blob(self, content: bytes) -> str:
        """Store one blob and return its id."""
        with tempfile.NamedTemporaryFile(prefix="leo-blob-") as file:
            file.write(content)
            file.flush()
            return self._text("hash-object", "-w", "--no-filters", "--", file.name)

    def with_file(self, base: str, path: str, blob: str) -> str:
        """The tree of `base` (a commit or tree) with one ordinary file put at `path`."""
        with tempfile.TemporaryDirectory(prefix="leo-index-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.run("read-tree", base, env=env)
            entry = f"100644 {blob}\t{path}".encode() + b"\0"
            self.run("update-index", "--add", "-z", "--index-info", stdin=entry, env=env)
            return self.run("write-tree", env=env).decode("ascii").strip()

    def worktree_tree(self) -> str:
        """The tree of the work tree as it lies there: tracked and new files, without ignored ones.

        Raises: GitError("git.no_worktree") for a bare repository.
        """
        if self.git_dir == self.path:
            raise GitError("git.no_worktree", "got a bare repository, expected one with a work tree")
        with tempfile.TemporaryDirectory(prefix="leo-index-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_WORK_TREE": str(self.path)}
            self.run("-C", str(self.path), "read-tree", "HEAD", env=env)
            self.run("-C", str(self.path), "add", "--all", env={**env, "GIT_LITERAL_PATHSPECS": "0"})
            return self.run("write-tree", env=env).decode("ascii").strip()

    def write_commit(
        self, tree: str, parents: Sequence[str], message: str, *, name: str, email: str, when: datetime
    ) -> str:
        """Write a commit object; the same arguments give the same id.

        Units: `when` is stored as whole seconds in UTC.
        Raises: GitError("git.bad_identity") for a name or address git would silently change.
        """
        for text in (name, email):
            if (
                not text.strip()
                or any(c in "<>\n\0" or not c.isprintable() for c in text)
                or text != text.strip(" .,:;\"'")
            ):
                raise GitError("git.bad_identity", f"got {text[:100]!r}, expected printable text without < >")
        stamp = f"@{int(when.timestamp())} +0000"
        env = {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            "GIT_COMMITTER_DATE": stamp,
        }
        links = [part for parent in parents for part in ("-p", parent)]
        raw = self.run("commit-tree", "--no-gpg-sign", *links, "-F", "-", tree, stdin=message.encode(), env=env)
        return raw.decode("ascii").strip()

    def push(self, remote: Path | str, new: str, ref: str, *, old: str, env: Mapping[str, str] | None = None) -> None:
        """Move `ref` of `remote` to the commit `new`, provided it still is at `old` (empty: does not exist).

        The hooks of the remote run, with `env` added to their environment.

        Raises: GitError("git.push_refused") with what the remote said.
        """
        done = self._finish(
            (
                "push",
                "--porcelain",
                "--no-verify",
                "--no-follow-tags",
                f"--force-with-lease={ref}:{old}",
                "--end-of-options",
                str(remote),
                f"{self.resolve(new)}:{ref}",
            ),
            env=env,
        )
        if done.status != 0:
            said = done.output.decode("utf-8", "replace").strip()
            raise GitError("git.push_refused", f"{done.complaint()}\n{said}".strip()[:4000])

    def fetch(self, remote: Path | str, refspec: str) -> None:
        """Fetch one refspec, no tags, into this repository.

        Raises: GitError("git.fetch_failed").
        """
        done = self._finish(
            ("fetch", "--no-tags", "--no-write-fetch-head", "--quiet", "--end-of-options", str(remote), refspec),
        )
        if done.status != 0:
            raise GitError("git.fetch_failed", done.complaint())


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
