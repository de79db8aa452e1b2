"""`python -m bench`: the first figures. `python -m bench bundle` and `python -m bench pages` give one part."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench import bundle, pages
from bench.measure import print_machine

PARTS = {"bundle": (bundle.run, Path(tempfile.gettempdir())), "pages": (pages.run, pages.parent_folder())}


def main(names: list[str]) -> int:
    if not set(names) <= PARTS.keys():
        print(f"usage: python -m bench [{'] ['.join(PARTS)}]")
        return 2
    begin = time.monotonic()
    print_machine()
    for name in names or PARTS:
        run, parent = PARTS[name]
        with tempfile.TemporaryDirectory(prefix="leo-bench-", dir=parent) as folder:
            run(Path(folder))
    print(f"done in {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
