"""`python -m bench`: the first figures. `python -m bench bundle` or `pages` for one of them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench import bundle
from bench.measure import print_machine


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="leo-bench-") as folder:
        print_machine()
        bundle.run(Path(folder))


if __name__ == "__main__":
    main()
