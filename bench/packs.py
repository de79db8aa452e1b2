"""Goal 9: the leaves of an evidence pack checked offline, against hashing the file and against canonical JSON again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from audit.checkpoint import Checkpoint
from audit.merkle import Frontier, leaf_hash
from audit.pack_leaves import check_tree
from audit.pack_reading import Pack
from audit.pack_writing import PackWriter
from bench.goals import Measured
from bench.measure import interleave

ROOT: Final = Path(__file__).resolve().parents[1]
BATCH: Final = 10_000


def leaf(number: int) -> bytes:
    """A leaf as long as the database writes it."""
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    content = f'{{"bodySha256":"{digest}","kind":"gate.reported","principal":{number % 97},"role":"REPORTER"'
    head = f"leo-audit/v1 {number + 1} {1_790_000_000_000_000 + number * 1000} leo_verifier/leo_plan"
    return f'{head}\n{content},"subject":"H-{number // 40}"}}'.encode()


def write_leaves(folder: Path, size: int) -> Checkpoint:
    """The two files that the check reads, and the tree head they belong to."""
    writer, tree = PackWriter(folder), Frontier()
    with (folder / "leaves.txt").open("wb") as file:
        for start in range(0, size, BATCH):
            leaves = [leaf(number) for number in range(start, min(start + BATCH, size))]
            file.write(b"".join(found + b"\n" for found in leaves))
            tree = tree.extend(map(leaf_hash, leaves))
    writer.add_rows("proofs.jsonl", [{"first": 0, "end": size, "left": [], "right": []}])
    return Checkpoint("bench", size, tree.root)


def check(folder: Path, head: Checkpoint) -> None:
    """What `leo audit verify` does with them."""
    check_tree(Pack(folder), head)


def canonical_again(folder: Path, head: Checkpoint) -> None:
    """What an export of JSON objects would ask for: parse, write canonically, hash, and the same tree."""
    with (folder / "leaves.txt").open("rb") as file:
        tree = Frontier().extend(
            hashlib.sha256(
                b"\0" + first + json.dumps(json.loads(second), sort_keys=True, separators=(",", ":")).encode()
            ).digest()
            for first, second in zip(file, file, strict=True)
        )
    if tree.root != head.root:
        raise AssertionError("the rival computes another root")


def peak_of(folder: Path, head: Checkpoint) -> int:
    """The most memory of a process that does nothing else. Units: bytes."""
    program = """
import sys
from pathlib import Path
from audit.checkpoint import Checkpoint
from bench.packs import check
check(Path(sys.argv[1]), Checkpoint("bench", int(sys.argv[2]), bytes.fromhex(sys.argv[3])))
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(fields["VmHWM"].split()[0]) * 1024)
"""
    command = [sys.executable, "-c", program, str(folder), str(head.size), head.root.hex()]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def goal9(folder: Path, rows: int) -> list[Measured]:
    """Goal 9 at `rows` leaves."""
    small, large = write_leaves(folder / "small", 10_000), write_leaves(folder / "large", rows)
    file = folder / "large" / "leaves.txt"
    rivals: dict[str, Callable[[], object]] = {
        "x": lambda: check(folder / "large", large),
        "L": lambda: subprocess.run(["sha256sum", str(file)], check=True, capture_output=True),
        "A": lambda: canonical_again(folder / "large", large),
    }
    found = interleave(rivals, rounds=5 if rows > 200_000 else 9, warm_up=1)
    per_second = rows / found["x"].median * 1000
    print(
        f"  goal 9: {rows:,} leaves, {file.stat().st_size / rows:.0f} bytes each, {per_second:,.0f} a second",
        flush=True,
    )
    many, few = peak_of(folder / "large", large), peak_of(folder / "small", small)
    mib = 1 << 20
    return [
        Measured("9", "canonical JSON again / check of the leaves", found["A"], found["x"], 5, at_most=False),
        Measured("9", "check of the leaves / sha256sum of the file", found["x"], found["L"], 2.5, at_most=True),
        Measured("9", f"peak MiB at {rows:,} / 10,000 leaves", many / mib, few / mib, 1.1, at_most=True),
    ]
