"""A library's work in a process of its own, which is killed at its deadline and ends with its parent.

For libraries that have no time limit of their own, or take a second to import. The process gets a scrubbed environment
and its work as one JSON document; it answers in JSON lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PASSED_ON: Final = (
    "PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "VIRTUAL_ENV",
)  # fmt: skip
ROOT: Final = Path(__file__).resolve().parents[2]


def run_in_process(module: str, question: Mapping[str, object], *, seconds: float) -> tuple[bytes, bool]:
    """What the module wrote, and whether it was killed for being late. Its one argument is a pipe to end with."""
    ours, theirs = _pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"HOME": "/nonexistent"},
            pass_fds=(theirs,),
        )
    finally:
        os.close(theirs)
    try:
        with process:
            return _wait(process, json.dumps(question).encode(), seconds)
    finally:
        os.close(ours)


def end_with_parent(pipe: int) -> None:
    """Nobody writes to this pipe: it closes when the process that holds its other end is gone. For a thread."""
    os.read(pipe, 1)
    os._exit(1)


def _pipe() -> tuple[int, int]:
    """A pipe nobody writes to: our end, held open as long as we live, and the end that the other process reads."""
    reading, writing = os.pipe()
    return writing, reading


def _wait(process: subprocess.Popen[bytes], question: bytes, seconds: float) -> tuple[bytes, bool]:
    try:
        return process.communicate(question, timeout=seconds)[0], False
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0], True
    except BaseException:
        process.kill()
        raise
