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
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


def run_git(
    git_dir: Path,
    args: Sequence[str],
    *,
    stdin: bytes,
    env: Mapping[str, str],
    timeout_seconds: float,
    max_output_bytes: int,
) -> Finished:
    """Run `git <args>` on `git_dir`; `env` is added to the fixed environment.

    The working directory is the git directory, so that no attributes file of a work tree is read.

    Raises: GitError("git.timeout"), GitError("git.output_too_long"), GitError("git.not_available").
    """
    command = ["git", "--no-pager", f"--git-dir={git_dir}", *_ARGUMENTS, *args]
    environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **env}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=git_dir,
            start_new_session=True,
        )
    except OSError as error:
        raise GitError("git.not_available", f"git could not be started: {error.strerror}") from None
    try:
        return _converse(process, stdin, timeout_seconds, max_output_bytes)
    finally:
        _end(process)


@functools.cache
def git_version() -> str:
    """Name and version of the git that is run, asked once in each process: `git 2.39.5`.

    Raises: GitError("git.not_available").
    """
    done = run_git(Path("/"), ("version",), stdin=b"", env={}, timeout_seconds=10.0, max_output_bytes=1000)
    said = done.output.decode("utf-8", "replace").split()
    if done.status != 0 or said[:2] != ["git", "version"] or len(said) < 3:
        raise GitError("git.not_available", f"git did not say its version: {done.complaint()}")
    return f"git {said[2]}"


def _converse(process: subprocess.Popen[bytes], stdin: bytes, timeout_seconds: float, cap: int) -> Finished:
    """Write the input and read both outputs until they end, the deadline passes or the cap is reached."""
    deadline = time.monotonic() + timeout_seconds
    output, errors = bytearray(), bytearray()
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream, sink in ((process.stdout, output), (process.stderr, errors)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, sink)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise GitError("git.timeout", f"got no end after {timeout_seconds:g} s")
            for key, _ in selector.select(remaining):
                if key.data is None:
                    rest = _write_some(process, rest)
                    if not rest:
                        selector.unregister(key.fileobj)
                        _close_input(process)
                    continue
                block = os.read(key.fd, _CHUNK)
                if not block:
                    selector.unregister(key.fileobj)
                key.data.extend(block)
            if len(output) > cap:
                raise GitError("git.output_too_long", f"got more than {cap} bytes")
            del errors[MAX_ERROR_BYTES:]
    try:
        status = _status_of(process, max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise GitError("git.timeout", f"got no end after {timeout_seconds:g} s") from None
    return Finished(status, bytes(output), bytes(errors))


def _status_of(process: subprocess.Popen[bytes], timeout_seconds: float) -> int:
    """Wait for the end; where the system can tell us of it, without the polling of Popen.wait."""
    if process.poll() is None and hasattr(os, "pidfd_open"):
        handle = os.pidfd_open(process.pid)
        try:
            select.select([handle], [], [], timeout_seconds)
        finally:
            os.close(handle)
    return process.wait(timeout_seconds)


def _write_some(process: subprocess.Popen[bytes], rest: memoryview) -> memoryview:
    """Write what the pipe takes; a git that stopped reading gets no more."""
    if process.stdin is None:
        return rest[:0]
    try:
        return rest[os.write(process.stdin.fileno(), rest[:_CHUNK]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process and no pipe behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _close_input(process)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
