"""`python -m bench`: every figure. One part alone: goals, goal1 to goal5, goal16, bundle (stage by stage), pages."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import bundle, enforcement, goals, pages
from bench.measure import print_machine

TEMPORARY = Path(tempfile.gettempdir())
PARTS = {
    "goals": (goals.run, TEMPORARY),
    "bundle": (bundle.run, TEMPORARY),
    "pages": (pages.run, pages.parent_folder()),
    "goal16": (enforcement.run, pages.parent_folder()),
}
SINGLE: dict[str, tuple[Callable[[Path], None], Path]] = {
    f"goal{n}": (functools.partial(goals.run, only=frozenset({n})), TEMPORARY) for n in range(1, 6)
}


def main(names: list[str]) -> int:
    known = {**PARTS, **SINGLE}
    if not set(names) <= known.keys():
        print(f"usage: python -m bench [{'] ['.join(known)}]")
        return 2
    begin = time.monotonic()
    print_machine()
    for name in names or PARTS:
        run, parent = known[name]
        with tempfile.TemporaryDirectory(prefix="leo-bench-", dir=parent) as folder:
            run(Path(folder))
    print(f"done in {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
