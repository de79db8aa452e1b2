"""The LocalGit forge: a bare repository on disk whose own hooks enforce the portal's rules.

Every ref moves through `git push`, so the update hook (`handoffs.forges.hook`) judges the portal's own writes too.
Not checked: whoever may write the repository's files on disk can bypass any hook; run it under its own account.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handoffs.forges.bare import BareReads
from handoffs.forges.protocol import ZERO, ForgeError, NewPull
from handoffs.git.process import GitError

MAX_PUSH_BYTES: Final = 256 << 20
DEAD_LOCK_SECONDS: Final = 60.0  # no push may take longer

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


class LocalGit(BareReads):
    """One bare repository. Implements `handoffs.forges.protocol.Forge`."""

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

    def refresh(self) -> None:
        """Nothing: what is read is the place itself."""

    def open_pull(self, wanted: NewPull) -> int:
        """0: a repository on disk has no pull requests of its own, the portal numbers them."""
        del wanted
        return 0

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
