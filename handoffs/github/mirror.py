"""A bare copy of a repository on GitHub, kept by git over HTTPS. Credentials go by the environment, never by argv.

What was fetched once stays: nothing is collected, so that a staging commit can be read after its branch moved on.
Not checked: the remote's rules; GitHub applies them to every push.
Source: gitprotocol-http(5); git-config(1), GIT_CONFIG_COUNT and http.<url>.extraHeader.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from handoffs.forges.protocol import ZERO, ForgeError
from handoffs.git.process import GitError, start_git
from handoffs.git.repository import Git
from handoffs.github.connection import refuse_plain_http
from handoffs.github.failures import OUTAGE_WAIT

FETCH_SECONDS: Final = 600.0
_AWAY: Final = ("could not resolve host", "failed to connect", "couldn't connect", "timed out", "error: 5", "reset by")


class Mirror:
    """One repository's copy at `path`. `url` ends in .git; `token` is asked for each time."""

    def __init__(self, path: Path, url: str, token: Callable[[], str]) -> None:
        refuse_plain_http(url)
        self.path, self._url, self._token = path, url, token

    def make(self) -> None:
        """The empty repository, if there is none yet.

        Raises: ForgeError("forge.no_mirror").
        """
        if not (self.path / "HEAD").exists():
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            words = ("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
            with start_git(
                self.path, words, stdin=b"", env={}, timeout_seconds=10.0, max_output_bytes=10_000
            ) as running:
                done = running.finish()
            if done.status != 0:
                raise ForgeError("forge.no_mirror", f"{self.path} cannot be made: {done.complaint()}")

    def fetch(self, *names: str) -> None:
        """Bring these branches up to date, all of them without a name; those that are gone go away here, too.

        Raises: ForgeError("forge.fetch_failed").
        """
        self.make()
        git = Git(self.path, timeout_seconds=FETCH_SECONDS)
        wanted = [f"+refs/heads/{name}:refs/heads/{name}" for name in names or ("*",)]
        words = ("fetch", "--prune", "--no-tags", "--no-write-fetch-head", "--quiet", "--force", "--end-of-options")
        done = git.finish((*words, self._url, *wanted), env=self._environment())
        if done.status != 0:
            raise self._failed("forge.fetch_failed", done.complaint())

    def push(self, name: str, *, old: str, new: str) -> None:
        """Move a branch on GitHub, provided it still is at `old` (empty: does not exist), and in the copy.

        Raises: ForgeError("forge.push_refused"), ("forge.branch_moved").
        """
        git = Git(self.path, timeout_seconds=FETCH_SECONDS)
        try:
            git.push(self._url, new, f"refs/heads/{name}", old=old, env=self._environment())
        except GitError as error:
            found = self.remote_branch(name)
            if found != new:
                if found != old:
                    detail = f"{name} is at {found or ZERO}, expected {old or ZERO}"
                    raise ForgeError("forge.branch_moved", detail) from None
                raise self._failed("forge.push_refused", error.detail) from None
        git.run("update-ref", f"refs/heads/{name}", new)

    def remote_branch(self, name: str) -> str:
        """Where a branch is on GitHub now; empty when there is none.

        Raises: ForgeError("forge.fetch_failed").
        """
        words = ("ls-remote", "--quiet", "--refs", "--end-of-options", self._url, f"refs/heads/{name}")
        done = Git(self.path, timeout_seconds=FETCH_SECONDS).finish(words, env=self._environment())
        if done.status != 0:
            raise self._failed("forge.fetch_failed", done.complaint())
        lines = (line.split("\t") for line in done.output.decode("utf-8", "replace").splitlines())
        return next((sha for sha, ref in lines if ref == f"refs/heads/{name}"), "")  # git finds x/refs/heads/name, too

    def remote_tags(self) -> tuple[str, ...]:
        """The names of the tags on GitHub now; none of them is fetched.

        Raises: ForgeError("forge.fetch_failed").
        """
        words = ("ls-remote", "--quiet", "--refs", "--tags", "--end-of-options", self._url)
        done = Git(self.path, timeout_seconds=FETCH_SECONDS).finish(words, env=self._environment())
        if done.status != 0:
            raise self._failed("forge.fetch_failed", done.complaint())
        lines = done.output.decode("utf-8", "replace").splitlines()
        return tuple(line.partition("\t")[2].removeprefix("refs/tags/") for line in lines)

    def _environment(self) -> Mapping[str, str]:
        parts = urlsplit(self._url)
        secret = base64.b64encode(f"x-access-token:{self._token()}".encode()).decode()
        settings = {
            f"http.{parts.scheme}://{parts.netloc}/.extraHeader": f"Authorization: Basic {secret}",
            # git sends the header on to wherever it is redirected; a new name is followed by the repository's number
            "http.followRedirects": "false",
            "transfer.fsckObjects": "true",
            "fetch.fsckObjects": "true",
        }
        if parts.scheme == "http":  # a loopback address: see refuse_plain_http
            settings["protocol.http.allow"] = "always"
        pairs = list(settings.items())
        keys = {f"GIT_CONFIG_KEY_{place}": key for place, (key, _) in enumerate(pairs)}
        values = {f"GIT_CONFIG_VALUE_{place}": value for place, (_, value) in enumerate(pairs)}
        return {"GIT_CONFIG_COUNT": str(len(pairs)), **keys, **values}

    def _failed(self, code: str, said: str) -> ForgeError:
        is_away = any(word in said.lower() for word in _AWAY)
        return ForgeError("github.unreachable" if is_away else code, said, retry_in=OUTAGE_WAIT if is_away else None)
