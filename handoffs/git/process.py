"""Running git: argument lists only, a scrubbed environment, a deadline and an output cap.

What a repository could make git execute is switched off here and nowhere else: hooks, fsmonitor,
external diffs, attributes of the work tree, credential helpers, every transport but the ones named.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from audit.coded import CodedError

SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.attributesFile=/dev/null",
    "attr.tree=refs/leo/no-attributes",  # git 2.43 and newer would read .gitattributes of a bare repository's HEAD
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.quotePath=true",
    "core.pager=cat",
    "core.askPass=",
    "credential.helper=",
    "index.version=2",
    "index.sparse=false",
    "index.threads=1",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    "apply.whitespace=nowarn",
    "apply.ignoreWhitespace=no",
    "diff.suppressBlankEmpty=false",
    "diff.indentHeuristic=true",
    "diff.orderFile=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "push.gpgSign=false",
    "protocol.allow=never",
    "protocol.file.allow=always",
    "protocol.https.allow=always",
)
ENVIRONMENT: Final[Mapping[str, str]] = {
    "HOME": "/dev/null",
    "XDG_CONFIG_HOME": "/dev/null",
    "LC_ALL": "C",
    "TZ": "UTC",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_IMPLICIT_WORK_TREE": "0",
    "GIT_EDITOR": "false",
    "GIT_PAGER": "cat",
}
MAX_ERROR_BYTES: Final = 64 << 10
_CHUNK: Final = 1 << 16
_ARGUMENTS: Final = tuple(part for setting in SETTINGS for part in ("-c", setting))


class GitError(CodedError):
    """Git refused, or gave what was not expected. `code` is stable, `detail` says got and expected."""


@dataclass(frozen=True)
class Finished:
    """One finished git process. Units: bytes as git wrote them; `errors` is cut at 64 KiB."""

    status: int
    output: bytes
    errors: bytes

    def complaint(self) -> str:
        """What git said, as text for a person, at most 2,000 characters."""
        text = self.errors.decode("utf-8", "replace").strip()
        return text[:2000] or f"git ended with status {self.status} and said nothing"


class Running:
    """A git process that works while its caller does something else.

    A context manager: whatever happens inside, no process and no pipe is left behind.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, seconds: float, max_bytes: int) -> None:
        self._process, self._seconds, self._max_bytes = process, seconds, max_bytes
        self._deadline = time.monotonic() + seconds

    def __enter__(self) -> Self:
        """It works already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it still runs."""
        _end(self._process)

    @property
    def number(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def finish(self) -> Finished:
        """Read both outputs until they end.

        Raises: GitError("git.timeout"), GitError("git.output_too_long").
        """
        process, output, errors = self._process, bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            for stream, sink in ((process.stdout, output), (process.stderr, errors)):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ, sink)
            while selector.get_map():
                if self._left() <= 0:
                    raise self._late()
                for key, _ in selector.select(self._left()):
                    block = os.read(key.fd, _CHUNK)
                    if not block:
                        selector.unregister(key.fileobj)
                    key.data.extend(block)
                if len(output) > self._max_bytes:
                    raise GitError("git.output_too_long", f"got more than {self._max_bytes} bytes")
                del errors[MAX_ERROR_BYTES:]
        try:
            status = _status_of(process, max(0.1, self._left()))
        except subprocess.TimeoutExpired:
            raise self._late() from None
        return Finished(status, bytes(output), bytes(errors))

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _late(self) -> GitError:
        return GitError("git.timeout", f"got no end after {self._seconds:g} s")


def start_git(
    git_dir: Path,
    args: Sequence[str],
    *,
    stdin: bytes,
    env: Mapping[str, str],
    timeout_seconds: float,
    max_output_bytes: int,
) -> Running:
    """Start `git <args>` on `git_dir`; `env` is added to the fixed environment. The time runs from now on.

    The working directory is the git directory, so that no attributes file of a work tree is read. The input is a file
    without a name, in memory where there is such a thing: git reads it whenever it comes to it, nobody has to feed it.

    Raises: GitError("git.not_available").
    """
    command = ["git", "--no-pager", f"--git-dir={git_dir}", *_ARGUMENTS, *args]
    environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **env}
    try:
        with _input(stdin) as source:
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=git_dir,
                start_new_session=True,
            )
    except OSError as error:
        raise GitError("git.not_available", f"git could not be started: {error.strerror}") from None
    return Running(process, seconds=timeout_seconds, max_bytes=max_output_bytes)


@contextlib.contextmanager
def _input(content: bytes) -> Iterator[BinaryIO | int]:
    """What a process is given to read these bytes from."""
    if not content:
        yield subprocess.DEVNULL
        return
    in_memory = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("input"), "w+b") if in_memory else tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


@functools.cache
def git_version() -> str:
    """Name and version of the git that is run, asked once in each process: `git 2.39.5`.

    Raises: GitError("git.not_available").
    """
    with start_git(Path("/"), ("version",), stdin=b"", env={}, timeout_seconds=10.0, max_output_bytes=1000) as git:
        done = git.finish()
    said = done.output.decode("utf-8", "replace").split()
    if done.status != 0 or said[:2] != ["git", "version"] or len(said) < 3:
        raise GitError("git.not_available", f"git did not say its version: {done.complaint()}")
    return f"git {said[2]}"


def _status_of(process: subprocess.Popen[bytes], timeout_seconds: float) -> int:
    """Wait for the end; where the system can tell us of it, without the polling of Popen.wait."""
    if process.poll() is None and hasattr(os, "pidfd_open"):
        handle = os.pidfd_open(process.pid)
        try:
            select.select([handle], [], [], timeout_seconds)
        finally:
            os.close(handle)
    return process.wait(timeout_seconds)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process and no pipe behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
