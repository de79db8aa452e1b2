"""`make fuzz`: the long form. `python -m tests.fuzz archive --seed 1 --first 17 --rounds 1` runs one case again."""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz import archives, documents, patches
from tests.fuzz.engine import Target, run

ROUNDS = {
    "archive": 100_000,
    "json": 100_000,
    "manifest": 20_000,
    "sbom": 20_000,
    "attestation": 20_000,
    "marker": 50_000,
    "policy": 3_000,
    "workflow": 20_000,
    "patch": 100_000,
    "patch-result": 3_000,
}


def all_targets() -> dict[str, Target]:
    """What can be fuzzed, by name."""
    found = (archives.TARGET, *documents.TARGETS, patches.reader(), patches.result())
    return {target.name: target for target in found}


def main() -> int:
    """Run the targets one after the other; the first broken property ends with status 1."""
    targets = all_targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *targets], metavar="target", help=", ".join(targets))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    for name in options.names or targets:
        begin = time.monotonic()
        rounds = options.rounds or ROUNDS[name]
        try:
            tally = run(targets[name], rounds=rounds, seed=options.seed, first=options.first)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{name:13} {rounds:>7,} mutations: {tally}; {time.monotonic() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
