"""One child process: a session of its own, a log file, and an end that leaves nothing behind.

A session of its own, so that the terminal's Ctrl-C reaches the supervisor alone and the stop is in order.
Each child has a guard, a small shell that waits on a pipe we hold: when we are gone, even by SIGKILL, the pipe
closes and the guard ends the child and its group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from audit.coded import CodedError

IS_LINUX: Final = sys.platform == "linux"
LOG_BYTES: Final = 8 << 20
_GUARD: Final = """
trap '' INT TERM HUP QUIT
if read -r _; then exit 0; fi
kill -s "$1" -- "$2" 2>/dev/null
for _ in $(seq 150); do
    kill -s 0 -- "$2" 2>/dev/null || break
    sleep 0.1
done
kill -s KILL -- "-$2" 2>/dev/null
exit 0
"""


class StackError(CodedError):
    """The stack cannot go on. `code` is stable, `detail` says what happened and the next step."""


class StopRequestedError(Exception):
    """Somebody asked for the stop while something was being waited for."""


def never() -> bool:
    """Nobody interrupts: the default where there is no supervisor."""
    return False


def wait_until(
    condition: Callable[[], bool],
    *,
    seconds: float,
    is_interrupted: Callable[[], bool] = never,
    pause_seconds: float = 0.02,
) -> bool:
    """Whether `condition` came true in time.

    Raises: StopRequestedError as soon as `is_interrupted` says so.
    """
    deadline = time.monotonic() + seconds
    while True:
        if is_interrupted():
            raise StopRequestedError
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_seconds)


@dataclass(frozen=True)
class Command:
    """What to run and how to end it.

    Shape: `stops` is a ladder of (signal, seconds to wait), then comes SIGKILL; `orphaned` is the signal the
    child gets when we are gone, 15 seconds before SIGKILL; `before_exec` runs in the child (drop of privileges).
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stops: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 15.0),)
    orphaned: signal.Signals = signal.SIGTERM
    before_exec: Callable[[], None] | None = None
    is_quiet: bool = True


class Process:
    """A running command."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.log_start = _open_end(command.log)
        self.was_killed = False
        self._is_asked = False
        with command.log.open("ab") as log:
            self.popen = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env=dict(command.environment) or None,
                stdin=subprocess.DEVNULL,
                stdout=log if command.is_quiet else None,
                stderr=subprocess.STDOUT if command.is_quiet else None,
                start_new_session=True,
                preexec_fn=command.before_exec,  # noqa: PLW1509  the supervisor has one thread
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", command.orphaned.name.removeprefix("SIG"), str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id, which is its session's and its group's, too."""
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended: negative for a signal, None while it runs."""
        return self.popen.poll()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def ask_to_stop(self) -> None:
        """Send the first stop signal and do not wait. `stop` then waits without sending it again."""
        if self.is_running and not self._is_asked:
            self.popen.send_signal(self.command.stops[0][0])
            self._is_asked = True

    def stop(self) -> None:
        """Climb the ladder of stop signals, then kill what is left of the group."""
        self.ask_to_stop()
        for step, (signal_, seconds) in enumerate(self.command.stops):
            if step > 0 and self.is_running:
                self.popen.send_signal(signal_)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
        self.was_killed = self.is_running
        self.kill()

    def kill(self) -> None:
        """SIGKILL for it and its group, at once; the guard may go."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        if self._guard.poll() is None:
            self._guard.communicate(b"done\n")

    def log_since_start(self) -> str:
        """What this run wrote to the log, at most the last 64 KiB."""
        with self.command.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self.log_start, end - (64 << 10)))
            return log.read().decode(errors="replace")

    def last_lines(self, count: int = 12, width: int = 200) -> str:
        """The last lines of this run's log, indented and cut."""
        lines = self.log_since_start().splitlines()[-count:]
        return "\n".join(f"    {line[:width]}{'…' if len(line) > width else ''}" for line in lines)


def clean_environment(*, without: Sequence[str] = ()) -> dict[str, str]:
    """Our environment but the variables that start with one of `without`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(tuple(without))}


def _open_end(log: Path) -> int:
    """The log's size in bytes; a log too long is put aside first."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    size = log.stat().st_size if log.exists() else 0
    if size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
        size = 0
    return size
