"""What the flow reads of a bare repository, whichever forge it is the repository or the copy of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from handoffs.forges.protocol import ARTIFACT_PATH, NewCommit, StagingCommit
from handoffs.git.process import GitError
from handoffs.git.repository import Git

STAGING: Final = "refs/heads/staging/codex-"
MAX_COMMIT_OBJECT: Final = 1 << 20
_CO_AUTHOR = re.compile(r"^co-authored-by:[^<>\n]{0,200}<([^<>\s]{1,254})>\s*$", re.IGNORECASE | re.MULTILINE)


class BareReads:
    """The reads of `handoffs.forges.protocol.Forge`, and writing commits, which moves no ref."""

    def __init__(self, path: Path) -> None:
        self.git_path = path
        self._git = Git(path)

    def staging_commits(self, *, known: Callable[[set[str]], set[str]]) -> list[StagingCommit]:
        """The tips of the `staging/codex-*` branches that `known` does not answer for, by branch name."""
        tips = {ref: tip for ref, tip in self._git.refs("refs/heads/staging/").items() if ref.startswith(STAGING)}
        old = known(set(tips.values()))
        new = [(ref.removeprefix("refs/heads/"), tip) for ref, tip in sorted(tips.items()) if tip not in old]
        artifacts = self._artifacts([tip for _, tip in new])
        return [
            StagingCommit(branch, tip, self._subject(tip), *artifacts[tip], self.commit_object(tip))
            for branch, tip in new
        ]

    def _artifacts(self, tips: list[str]) -> dict[str, tuple[str, int]]:
        """Object id and size of the bundle in each commit, without reading it; empty and 0 where there is none."""
        if not tips:
            return {}
        asked = "".join(f"{tip}:{ARTIFACT_PATH}\n" for tip in tips)
        raw = self._git.run("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", stdin=asked.encode())
        found: dict[str, tuple[str, int]] = {}
        for tip, line in zip(tips, raw.decode("ascii", "replace").splitlines(), strict=True):
            match line.split():
                case [blob, "blob", size]:
                    found[tip] = (blob, int(size))
                case _:
                    found[tip] = ("", 0)
        return found

    def _subject(self, commit: str) -> str:
        """The first line of a message; empty for a commit that cannot be read, so that it stops nobody else."""
        try:
            return self._git.message_of(commit).partition("\n")[0][:1000]
        except GitError:
            return ""

    def commit_object(self, commit: str) -> bytes:
        """A commit as it is stored; empty if it cannot be read."""
        try:
            found = self._git.read_objects([commit], max_bytes=MAX_COMMIT_OBJECT)[commit]
        except GitError:
            return b""
        return found[1] if found is not None else b""

    def contributors(self, base: str, commit: str) -> tuple[str, ...]:
        """E-mail addresses of authors, committers and co-authors in base..commit, lower case, sorted.

        Where a commit names none, a text that is nobody's address: whoever that is stays unknown.
        """
        raw = self._git.run("log", "--no-mailmap", "-z", "--format=%H%n%ae%n%ce%n%B", f"{base}..{commit}")
        found: set[str] = set()
        for record in raw.decode("utf-8", "replace").removesuffix("\0").split("\0") if raw else ():
            commit_id, author, committer, body = record.split("\n", 3)
            nobody = f"nobody, in commit {commit_id[:12]}"
            found |= {author.strip().lower() or nobody, committer.strip().lower() or nobody}
            found |= {address.lower() for address in _CO_AUTHOR.findall(body)}
        return tuple(sorted(found))

    def branch(self, name: str) -> str:
        """The commit a branch points at; empty when there is none."""
        return self._git.refs(f"refs/heads/{name}").get(f"refs/heads/{name}", "")

    def branch_in_the_way(self, name: str) -> str:
        """A branch that lies above or below this name in the folders of refs, so that this one cannot be made."""
        below = sorted(ref for ref in self._git.refs(f"refs/heads/{name}/"))
        parts = name.split("/")
        above = [f"refs/heads/{'/'.join(parts[:count])}" for count in range(1, len(parts))]
        found = [*(ref for ref in above if self._git.refs(ref).get(ref)), *below]
        return found[0].removeprefix("refs/heads/") if found else ""

    def write_commit(self, commit: NewCommit) -> str:
        """Store a commit object; no ref moves."""
        return self._git.write_commit(
            commit.tree, commit.parents, commit.message, name=commit.name, email=commit.email, when=commit.when
        )
