"""Timing side by side: rotated rounds, medians, and the tables they are printed in."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGES: Final = ("Django", "psycopg", "jsonschema_rs", "orjson", "pydantic")


@dataclass(frozen=True)
class Series:
    """Times of one candidate. Units: milliseconds."""

    times: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(min(self.times))}-{_short(max(self.times))})"


def interleave(candidates: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 2) -> dict[str, Series]:
    """Time every candidate once in each round, each round beginning with another one."""
    names = list(candidates)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            begin = time.perf_counter()
            candidates[name]()
            elapsed = (time.perf_counter() - begin) * 1000
            if number >= 0:
                times[name].append(elapsed)
    return {name: Series(tuple(found)) for name, found in times.items()}


def ratio(above: Series | None, below: Series | None) -> str:
    """How many times longer `above` takes, by the medians; a dash where one side does not exist."""
    return f"{_short(above.median / below.median)}x" if above and below else "-"


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; the first one to the left."""
    widths = [max(len(row[index]) for row in (heads, *rows)) for index in range(len(heads))]
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip())
    print(flush=True)


def print_machine() -> None:
    """What ran where: the figures mean nothing without it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    system, load = f"{platform.system()} {platform.release()}", os.getloadavg()[0]
    processor = f"{os.cpu_count()} x {_processor()}"
    print(f"machine: {processor}, {memory:.0f} GiB, {system}, load {load:.1f} at the start")
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    print(f"versions: Python {sys.version.split()[0]}, {first_line('git', '--version')}, {packages}")
    print("Read the ratios: both sides of each ran in the same rounds. The times move with the machine's other work.\n")


def first_line(*command: str) -> str:
    """The first line a command prints about itself."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _short(number: float) -> str:
    """Three digits that matter."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
