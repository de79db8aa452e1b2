"""The one door to git repositories: reading objects, judging patches, writing commits, moving refs.

Nothing here uses a work tree unless its name says so, and nothing runs a hook of this repository.
The hooks of a remote that is pushed to do run: they are how a forge refuses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from handoffs.git.index import result_of
from handoffs.git.objects import GitReader
from handoffs.git.process import GitError
from handoffs.git.trees import TreeChange, Trees

__all__ = ["Git", "GitError", "TreeChange"]

# No --no-ext-diff and no --no-textconv: diff-tree runs another program only if it is asked to.
PATCH_OPTIONS: Final = (
    "-p",
    "--binary",
    "--full-index",
    "-U3",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "-r",
    "--no-renames",
    "--no-color",
    "--no-relative",
    "--submodule=short",
    "--ignore-submodules=none",
)


class Git(GitReader):
    """One repository, bare or with a work tree."""

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
        """The tree that `patch` makes of `base`, written: zero fuzz, no three-way merge, no work tree.

        Raises: GitError("git.patch_does_not_apply").
        """
        trees = Trees(self)
        found = result_of(trees, self.tree_of(base), patch)
        trees.store()
        return found

    def changes(self, base: str, result: str) -> tuple[TreeChange, ...]:
        """Every path that differs between two commits or trees, renames shown as delete and add."""
        return Trees(self).changes(self.tree_of(base), self.tree_of(result))

    def diff(self, base: str, result: str, *, path: str | None = None) -> bytes:
        """The unified diff between two commits or trees; the same bytes whatever the configuration."""
        only = ("--", path) if path is not None else ("--",)
        return self.run("diff-tree", *PATCH_OPTIONS, base, result, *only, max_output_bytes=256 << 20)

    def merge_tree(self, ours: str, theirs: str) -> str:
        """The tree of the merge of two commits.

        Raises: GitError("git.conflict").
        """
        done = self.finish(
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
        return self.write_objects("blob", [content])[0]

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
        done = self.finish(
            (
                "push",
                "--porcelain",
                "--no-verify",
                "--no-follow-tags",
                f"--force-with-lease={ref}:{old}",
                "--end-of-options",
                _address(remote),
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
        done = self.finish(
            ("fetch", "--no-tags", "--no-write-fetch-head", "--quiet", "--end-of-options", _address(remote), refspec),
        )
        if done.status != 0:
            raise GitError("git.fetch_failed", done.complaint())


def _address(remote: Path | str) -> str:
    """A remote as git must be told: paths absolute, because git does not run where the caller does."""
    return str(remote.absolute()) if isinstance(remote, Path) else remote
