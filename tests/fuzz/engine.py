"""Mutating, judging, timing. A case is decided by seed, target and number alone, so any one can be run again."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SLOW_SECONDS = 0.05


@dataclass(frozen=True)
class Target:
    """One reader under test.

    `judge` tells whether it accepts some bytes; it raises AssertionError when an accepted input breaks a property. Any
    other exception is a crash.
    """

    name: str
    seeds: Sequence[bytes]
    judge: Callable[[bytes], bool]
    mutate: Callable[[bytes, random.Random], bytes]
    slow_seconds: float = SLOW_SECONDS


@dataclass
class Tally:
    """What a campaign found. Units: seconds of this thread's own processor time."""

    accepted: int = 0
    refused: int = 0
    times: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        worst, median = max(self.times) * 1000, statistics.median(self.times) * 1000
        return f"{self.accepted:,} accepted, {self.refused:,} refused, median {median:.3f} ms, slowest {worst:.1f} ms"


def run(target: Target, *, rounds: int, seed: int, first: int = 0) -> Tally:
    """Judge mutations number `first` to `first + rounds`.

    A slow case is run twice more and counts with its fastest time: another process cannot make it fail.
    """
    tally = Tally()
    for number in range(first, first + rounds):
        randomly = random.Random(f"{seed}:{target.name}:{number}")
        raw = target.mutate(randomly.choice(target.seeds), randomly)
        try:
            seconds, accepted = _timed(target, raw)
            for _ in range(2):
                if seconds <= target.slow_seconds:
                    break
                seconds = min(seconds, _timed(target, raw)[0])
            assert seconds <= target.slow_seconds, f"took {seconds * 1000:.0f} ms for {len(raw)} bytes"
        except Exception as error:
            raise AssertionError(_report(target, raw, seed, number, error)) from error
        tally.times.append(seconds)
        tally.accepted += accepted
        tally.refused += not accepted
    return tally


def _timed(target: Target, raw: bytes) -> tuple[float, bool]:
    begin = time.thread_time()
    accepted = target.judge(raw)
    return time.thread_time() - begin, accepted


def _report(target: Target, raw: bytes, seed: int, number: int, error: Exception) -> str:
    with tempfile.NamedTemporaryFile(prefix=f"leo-fuzz-{target.name}-", suffix=".bin", delete=False) as file:
        file.write(raw)
    return (
        f"{target.name}, seed {seed}, case {number}: {type(error).__name__}: {str(error)[:500]}\n"
        f"{len(raw)} bytes in {Path(file.name)}, beginning {raw[:200].hex()}\n"
        f"again: python -m tests.fuzz {target.name} --seed {seed} --first {number} --rounds 1"
    )


INTERESTING = (
    b"", b"\0", b"\n", b"\r\n", b"\xff", b"\xef\xbb\xbf", b"{}", b"[]", b'"', b"\\", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"NaN",
    b"9007199254740993", b"null", b"true", b",", b":", b"..", b"/", b"\xc3\xa9", b"e\xcc\x81", b"\xe2\x80\xae", b"%00", b"=", b"[" * 70,
)  # fmt: skip


def mutate_bytes(raw: bytes, randomly: random.Random) -> bytes:
    """One to four small changes: flips, replacements, insertions, deletions, copies, cuts."""
    content = bytearray(raw)
    for _ in range(randomly.choice((1, 1, 1, 2, 2, 3, 4))):
        at = randomly.randrange(len(content) + 1)
        span = min(randomly.choice((1, 1, 2, 4, 16, 64)), len(content) - at)
        match randomly.randrange(7):
            case 0 if at < len(content):
                content[at] ^= 1 << randomly.randrange(8)
            case 1 if at < len(content):
                content[at] = randomly.randrange(256)
            case 2:
                content[at:at] = randomly.choice(INTERESTING)
            case 3:
                content[at : at + span] = randomly.choice(INTERESTING)
            case 4:
                del content[at : at + span]
            case 5:
                to = randomly.randrange(len(content) + 1)
                content[to:to] = content[at : at + span]
            case _ if randomly.random() < 0.1:
                del content[at:]
    return bytes(content)


def mutate_lines(raw: bytes, randomly: random.Random) -> bytes:
    """Whole lines moved, copied, dropped or changed in one byte: most of the grammar survives."""
    lines = raw.split(b"\n")
    for _ in range(randomly.choice((1, 1, 2, 3))):
        at = randomly.randrange(len(lines))
        match randomly.randrange(6):
            case 0:
                lines.insert(randomly.randrange(len(lines) + 1), lines[at])
            case 1 if len(lines) > 1:
                del lines[at]
            case 2:
                other = randomly.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[at] = mutate_bytes(lines[at], randomly)
            case 4:
                digits = [place for place, byte in enumerate(lines[at]) if 0x30 <= byte <= 0x39]
                if digits:
                    place = randomly.choice(digits)
                    lines[at] = (
                        lines[at][:place] + b"%d" % randomly.choice((0, 1, 2, 7, 10, 99999)) + lines[at][place + 1 :]
                    )
            case _:
                kind = randomly.choice((b"+", b"-", b" ", b"\\", b"@"))
                lines[at] = kind + lines[at][1:]
    return b"\n".join(lines)
