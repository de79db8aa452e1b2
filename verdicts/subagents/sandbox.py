"""Run a scanner on a copy of the changed files, so that the code it judges cannot steer it.

The copy lies in a fresh folder under neutral names (`f0001.py`): no `.git`, no project configuration, no folder or
file name that a tool would skip, no name that is an option. Suppression comments are blanked. The scanner gets no
environment, no standard input, low limits and, where the kernel allows it, no network.
Not checked: the scanner may read other files of the machine; scanners are ours, and none runs the code it reads.
Source: libraries.md section 7.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from verdicts.findings import AgentOutcome, Tool
from verdicts.subagents.change import SCRIPT_SUFFIXES, TEMPLATE_SUFFIXES, Change, ChangedFile, suffix_of
from verdicts.subagents.suppressions import blank

TIMEOUT_SECONDS: Final = 120.0
MAX_FILE_BYTES: Final = 2 << 20
MAX_OUTPUT_BYTES: Final = 32 << 20
LAUNCHER: Final = Path(__file__).with_name("launcher.py")
# Only these suffixes are kept: a tool that knows a suffix could also know it as one to leave alone (.lock, .svg).
_KEPT_SUFFIXES: Final = SCRIPT_SUFFIXES | TEMPLATE_SUFFIXES | {".py", ".pyi", ".sql", ".sh", ".bash", ".yml", ".yaml"}
# zizmor knows an action by its file name only.
_KEPT_NAMES: Final = frozenset({"action.yml", "action.yaml"})


@dataclass(frozen=True, slots=True)
class Workspace:
    """The copy: a folder, and which neutral name stands for which changed file."""

    root: Path
    files: dict[str, ChangedFile]

    def names(self, accepts: Callable[[ChangedFile], bool]) -> tuple[str, ...]:
        """The neutral names of the files that a scanner wants, in order."""
        return tuple(name for name, file in self.files.items() if name.startswith("f") and accepts(file))

    def add(self, file: ChangedFile, suffix: str, content: bytes) -> str:
        """Write a second copy for a file, such as the SQL inside it; answers its neutral name."""
        name = f"d{len(self.files) + 1:04}{suffix}"
        (self.root / "files" / name).write_bytes(blank(content))
        self.files[name] = file
        return name


@dataclass(frozen=True, slots=True)
class Execution:
    """How a scanner ended. `problem` is empty when its output may be read; `outcome` says what a problem amounts to."""

    tool: Tool
    output: bytes
    problem: str
    outcome: AgentOutcome
    is_isolated: bool


@contextlib.contextmanager
def workspace(change: Change) -> Iterator[Workspace]:
    """Copy the changed files that can be read as text, and remove the copy afterwards."""
    with tempfile.TemporaryDirectory(prefix="leo-scan-") as folder:
        root = Path(folder).resolve()
        files = {}
        (root / "files").mkdir()
        for number, file in enumerate(change.files, start=1):
            if file.is_deleted or len(file.content) > MAX_FILE_BYTES:
                continue
            name = _neutral_name(number, file.path)
            target = root / "files" / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(blank(file.content))
            files[name] = file
        yield Workspace(root, files)


def run(
    scanners: Path, tool: Tool, names: tuple[str, ...], place: Workspace, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> Execution:
    """Run one scanner over the named files of the copy.

    Shape: `tool.arguments` are the options; a `{out}` in them becomes a file of its own, whose content is the output.
    """
    program = scanners.absolute() / tool.name
    if not program.is_file() or not os.access(program, os.X_OK):
        return Execution(tool, b"", f"{tool.name} is not installed", AgentOutcome.MISSING, is_isolated=False)
    with tempfile.TemporaryDirectory(dir=place.root, prefix=f"{tool.name}-") as folder:
        home = Path(folder)
        written = home / "out"
        options = [option.replace("{out}", str(written)) for option in tool.arguments]
        started = time.monotonic()
        code, word = _execute([str(program), *options, *names], place.root / "files", home, timeout_seconds)
        took = round((time.monotonic() - started) * 1000)
        source = written if any("{out}" in option for option in tool.arguments) else home / "stdout"
        output = source.read_bytes()[: MAX_OUTPUT_BYTES + 1] if source.is_file() else b""
    ended = Tool(tool.name, tool.version, (*tool.arguments, f"({len(names)} files)"), code, took, tool.rules_digest)
    problem = ""
    if code is None:
        problem = f"{tool.name} did not end within {timeout_seconds:g} s"
    elif not word:
        problem = f"{tool.name} could not be started"
    elif code < 0:
        problem = f"{tool.name} was killed by signal {-code}"
    elif len(output) > MAX_OUTPUT_BYTES:
        problem = f"{tool.name} wrote more than {MAX_OUTPUT_BYTES} bytes"
    return Execution(
        ended, output, problem, AgentOutcome.ERROR if problem else AgentOutcome.PASSED, is_isolated=word != b"0"
    )


def version_of(scanners: Path, distribution: str) -> str:
    """The installed version of a scanner, read from its package's metadata: starting it would cost more."""
    pattern = f"lib/python*/site-packages/{distribution}-*.dist-info"
    found = sorted(path.name.removeprefix(f"{distribution}-") for path in scanners.parent.glob(pattern))
    return found[-1].removesuffix(".dist-info") if found else "unknown"


def _execute(command: list[str], folder: Path, home: Path, timeout_seconds: float) -> tuple[int | None, bytes]:
    """The exit code (None after a timeout) and the launcher's word: `1` no network, `0` network, empty not started."""
    reading, writing = os.pipe()
    try:
        with (home / "stdout").open("wb") as stdout:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), str(writing), *command],
                cwd=folder,
                env={"HOME": str(home), "TMPDIR": str(home), "PATH": "", "LANG": "C.UTF-8", "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                pass_fds=(writing,),
                start_new_session=True,
            )
        os.close(writing)
        writing = -1
        try:
            code: int | None = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return code, os.read(reading, 1)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def _neutral_name(number: int, path: str) -> str:
    name = PurePosixPath(path).name.lower()
    if name in _KEPT_NAMES:
        return f"f{number:04}/{name}"
    suffix = suffix_of(path)
    return f"f{number:04}{suffix if suffix in _KEPT_SUFFIXES else '.txt'}"
