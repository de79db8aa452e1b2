"""The LocalGit forge: a bare repository on disk whose own hooks enforce the portal's rules.

Every ref moves through `git push`, so the update hook (`handoffs.forges.hook`) judges the portal's own writes too.
Not checked: whoever may write the repository's files on disk can bypass any hook; run it under its own account.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handoffs.forges.protocol import ARTIFACT_PATH, ZERO, ForgeError, NewCommit, StagingCommit
from handoffs.git.process import GitError
from handoffs.git.repository import Git

MAX_PUSH_BYTES: Final = 256 << 20
STAGING: Final = "refs/heads/staging/codex-"
MAX_COMMIT_OBJECT: Final = 1 << 20
DEAD_LOCK_SECONDS: Final = 60.0  # no push may take longer
_CO_AUTHOR = re.compile(r"^co-authored-by:[^<>\n]{0,200}<([^<>\s]{1,254})>\s*$", re.IGNORECASE | re.MULTILINE)

HOOK: Final = """#!{python} -I
# Written by leoportal. Removing it does not open the repository to the portal's users, only to this machine's.
import sys
sys.path[:0] = [{code!r}]
from handoffs.forges.{module} import {function}
sys.exit({function}({config!r}))
"""


@dataclass(frozen=True)
class HookConfig:
    """What the hooks need to know. Stored beside the repository, readable by its owner only."""

    database_url: str
    broker_url: str
    code: Path


class LocalGit:
    """One bare repository. Implements `handoffs.forges.protocol.Forge`."""

    def __init__(self, path: Path) -> None:
        self.git_path = path
        self._git = Git(path)

    def protect(self, config: HookConfig) -> None:
        """Write the hooks and their settings; safe to repeat."""
        settings = self.git_path / "leo-hook.json"
        draft = settings.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(
            json.dumps(
                {
                    "database_url": config.database_url,
                    "broker_url": config.broker_url,
                    "path": str(self.git_path),
                }
            )
        )
        draft.replace(settings)
        for name, module, function in (
            ("update", "hook", "update"),
            ("post-receive", "hook_receive", "post_receive"),
        ):
            hook = self.git_path / "hooks" / name
            hook.parent.mkdir(exist_ok=True)
            fresh = hook.with_suffix(f".{os.getpid()}")
            fresh.write_text(
                HOOK.format(
                    python=sys.executable, code=str(config.code), module=module, function=function, config=str(settings)
                )
            )
            fresh.chmod(0o755)
            fresh.replace(hook)
        self._git.run("config", "core.hooksPath", str((self.git_path / "hooks").absolute()))
        self._git.run("config", "receive.denyDeletes", "false")  # the update hook refuses them, with a code
        self._git.run("config", "receive.denyDeleteCurrent", "ignore")
        self._git.run("config", "receive.fsckObjects", "true")
        self._git.run("config", "receive.maxInputSize", str(MAX_PUSH_BYTES))

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

    def update_branch(self, name: str, *, old: str, new: str) -> None:
        """Move a branch by a push that its own hook judges; doing it again is no error."""
        if self.branch(name) == new:
            return
        self._remove_dead_lock(name)
        try:
            self._git.push(self.git_path, new, f"refs/heads/{name}", old=old)
        except GitError as error:
            found = self.branch(name)
            if found == new:
                return
            if found != old:
                raise ForgeError(
                    "forge.branch_moved", f"{name} is at {found or ZERO}, expected {old or ZERO}"
                ) from None
            raise ForgeError("forge.push_refused", error.detail) from None

    def _remove_dead_lock(self, name: str) -> None:
        """Remove the lock of a push that was killed. Git holds it for milliseconds and never removes a dead one."""
        lock = self.git_path / "refs" / "heads" / f"{name}.lock"
        with contextlib.suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > DEAD_LOCK_SECONDS:
                lock.unlink()
