"""`python -m bench`: every figure. One alone: goals, goal1 to goal5, appends (goals 6 and 7), goal16, webhooks (goals
10 and 11), bundle (stage by stage), pages, trail, goal8, goal9, goal12, goal14. `--rows=5000000` is how long a log the
last five are measured at, in one and the same database where several are asked for; 100,000 if not said.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import appending, bundle, enforcement, goals, pages
from bench.measure import print_machine, print_table
from bench.packs import goal9

TEMPORARY = Path(tempfile.gettempdir())
PARTS: dict[str, tuple[Callable[[Path], None], Path]] = {
    "goals": (goals.run, TEMPORARY),
    "bundle": (bundle.run, TEMPORARY),
    "pages": (pages.run, pages.parent_folder()),
    "appends": (appending.run, TEMPORARY),
    "goal16": (enforcement.run, pages.parent_folder()),
    "webhooks": (functools.partial(pages.run, child=("bench.webhooks",)), pages.parent_folder()),
}
SINGLE: dict[str, tuple[Callable[[Path], None], Path]] = {
    f"goal{n}": (functools.partial(goals.run, only=frozenset({n})), TEMPORARY) for n in range(1, 6)
}


ON_THE_LOG: Final = ("goal8", "goal12", "goal14")


def measure_trail(folder: Path, *, goals: tuple[str, ...], rows: int) -> None:
    """Goals of the trail: those on a database by a child that loads Django."""
    if "goal9" in goals:
        print_table(("goal", "above", "below", "ratio", "goal", ""), [row.row() for row in goal9(folder, rows)])
    if on_the_log := [name for name in goals if name in ON_THE_LOG]:
        pages.run(folder, ("bench.trail", ",".join(on_the_log), str(rows)))


def main(arguments: list[str]) -> int:
    names = [name for name in arguments if not name.startswith("--rows=")]
    rows = next((int(name[7:]) for name in arguments if name.startswith("--rows=")), 100_000)
    everything = ("goal9", *ON_THE_LOG)
    known = {**PARTS, **SINGLE}
    if not set(names) <= {*known, "trail", *everything}:
        print(f"usage: python -m bench [{'] ['.join((*known, 'trail', *everything))}] [--rows=100000]")
        return 2
    trail = everything if not names or "trail" in names else tuple(name for name in everything if name in names)
    runs = [known[name] for name in (names or PARTS) if name in known]
    if trail:
        runs.append((functools.partial(measure_trail, goals=trail, rows=rows), pages.parent_folder()))
    begin = time.monotonic()
    print_machine()
    for run, parent in runs:
        with tempfile.TemporaryDirectory(prefix="leo-bench-", dir=parent) as folder:
            run(Path(folder))
    print(f"done in {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
