"""Looking at hostile bytes in a forked child with limits: what goes wrong there ends the child, never the worker.

The child starts warm, as a copy of its parent, but holds none of the parent's connections (its descriptors are
pointed at /dev/null), runs none of its exit code and answers with JSON that is read by type. It must not be forked
from a process with busy threads: a lock one of them held would never be released.

Source: getrlimit(2); the limits count for every program the child starts, git included.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from audit.coded import CodedError
from handoffs.checks.wire import WireError, pack, unpack

IS_LINUX: Final = sys.platform == "linux"
LIMITS: Final = "archive.limits"
CRASHED: Final = "verify.crashed"
_CHUNK: Final = 1 << 16
_SPENT: Final = frozenset({errno.ENOMEM, errno.EFBIG, errno.EAGAIN, errno.EMFILE})


@dataclass(frozen=True)
class Ceiling:
    """What one look may cost. Units: `memory_bytes` of address space beyond what the parent has, files by size.

    `processes` is how many more than the whole system had at the start; it stops a fork bomb, nothing finer.
    """

    cpu_seconds: int = 20
    wall_seconds: float = 45.0
    memory_bytes: int = 768 << 20
    file_bytes: int = 256 << 20
    answer_bytes: int = 64 << 20
    processes: int = 64


class IsolationError(CodedError):
    """The child gave no answer. `code` is `archive.limits` or `verify.crashed`, `detail` says what is known."""


@dataclass(frozen=True)
class _Answer:
    code: str
    detail: str


def run_isolated[T](kind: type[T], work: Callable[[], T], ceiling: Ceiling) -> T:
    """What `work` returns, computed in a forked child under the limits.

    Raises: IsolationError("archive.limits") when a limit ended it, IsolationError("verify.crashed").
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: see above
        child = os.fork()
    if child == 0:
        _live(work, writing, ceiling)
    os.close(writing)
    said, problem = b"", "interrupted"
    try:
        said, problem = _read(reading, ceiling)
    finally:
        os.close(reading)
        if problem:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if problem:
        raise IsolationError(LIMITS, problem)
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != 0:
        raise _death(status)
    head, _, body = said.partition(b"\n")
    try:
        answer = unpack(_Answer, head)
        if answer.code:
            raise IsolationError(answer.code, answer.detail)
        return unpack(kind, body)
    except WireError as error:
        raise IsolationError(CRASHED, str(error)) from None


def _read(reading: int, ceiling: Ceiling) -> tuple[bytes, str]:
    """All the child says until it ends, or which limit it passed while it was listened to."""
    deadline = time.monotonic() + ceiling.wall_seconds
    said = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return b"", f"got no end after {ceiling.wall_seconds:g} s"
        block = os.read(reading, _CHUNK)
        if not block:
            return bytes(said), ""
        said += block
        if len(said) > ceiling.answer_bytes:
            return b"", f"got an answer of more than {ceiling.answer_bytes} bytes"


def _death(status: int) -> IsolationError:
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        code = LIMITS if number in {signal.SIGXCPU, signal.SIGXFSZ, signal.SIGALRM} else CRASHED
        return IsolationError(code, f"the child was ended by {number.name}")
    return IsolationError(CRASHED, f"the child ended with status {os.WEXITSTATUS(status)}")


def _live(work: Callable[[], object], writing: int, ceiling: Ceiling) -> NoReturn:
    """The child's whole life. It leaves without cleaning up what is its parent's."""
    status = 1
    try:
        gc.freeze()  # nothing of the parent's is collected here: a connection would say goodbye on its behalf
        _detach(writing)
        _limit(ceiling)
        _say(writing, _attempt(work))
        status = 0
    finally:
        os._exit(status)


def _attempt(work: Callable[[], object]) -> bytes:
    try:
        return pack(_Answer("", "")) + b"\n" + pack(work())
    except MemoryError:
        return pack(_Answer(LIMITS, "got more memory needed than allowed"))
    except OSError as error:
        return pack(_Answer(LIMITS if error.errno in _SPENT else CRASHED, f"{type(error).__name__}: {error.strerror}"))
    except BaseException as error:  # noqa: BLE001 - the parent has to hear of anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        return pack(_Answer(CRASHED, f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"))


def _say(writing: int, raw: bytes) -> None:
    rest = memoryview(raw)
    while rest:
        rest = rest[os.write(writing, rest) :]


def _detach(writing: int) -> None:
    """Default signals, a session of its own, and nothing open but the pipe and the standard streams."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) not in {1, 2, writing, null}:
            with suppress(OSError):
                os.fstat(int(name))
                os.dup2(null, int(name), inheritable=name == "0")


def _limit(ceiling: Ceiling) -> None:
    wanted = {
        resource.RLIMIT_CPU: (ceiling.cpu_seconds, ceiling.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (ceiling.file_bytes, ceiling.file_bytes),
        resource.RLIMIT_CORE: (0, 0),
    }
    if IS_LINUX:
        memory, tasks = _address_space() + ceiling.memory_bytes, _tasks() + ceiling.processes
        wanted |= {resource.RLIMIT_AS: (memory, memory), resource.RLIMIT_NPROC: (tasks, tasks)}
    for kind, limits in wanted.items():
        most = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, limits if most == resource.RLIM_INFINITY else (min(limits[0], most), most))
    signal.setitimer(signal.ITIMER_REAL, ceiling.wall_seconds)


def _address_space() -> int:
    """How much the process has mapped already. Units: bytes."""
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def _tasks() -> int:
    """How many processes and threads the system has."""
    return int(Path("/proc/loadavg").read_bytes().split()[3].partition(b"/")[2])
