"""`make sabotage`: every guard of the list is taken out once. ARGS=word runs those whose file or test holds it."""

from __future__ import annotations

import sys

from tests.sabotage.engine import run
from tests.sabotage.guards import GUARDS


def main() -> int:
    """Status 1 where a guard could be taken out unnoticed."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [guard for guard in GUARDS if word in f"{guard.file} {guard.test}"]
    if not chosen:
        sys.exit(f"got {word!r}, expected a part of a guard's file or test")
    wrong = run(chosen, workers=2, with_database=True, say=lambda text: print(text, flush=True))
    for problem in wrong:
        print(problem, file=sys.stderr)
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} guards: their test fails without them")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
