"""A pack of a period shows its edges: the next leaf on each side, outside of the period, or the end of the log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_packs import BOTH, Said
from tests.support.packs import START, Log, whole_pack

DAY = 24 * 3600 * 1_000_000


class Days(Log):
    """A leaf a day: leaf 0 on 2026-09-21, leaf 5, the last one, on 2026-09-26."""

    @staticmethod
    def time(index: int) -> int:
        return START + DAY * index


class AtMidnight(Log):
    """As `Days`, each leaf in the first moment of its day."""

    @staticmethod
    def time(index: int) -> int:
        return START // DAY * DAY + DAY * index


def period(folder: Path, log: type[Log], *days: str, **changed: Any) -> None:
    named = {name: f"2026-09-{day}" for name, day in zip(("first", "last"), days, strict=True) if day}
    whole_pack(folder, kind="period", log=log(), days=named, **changed)


GOOD: dict[str, tuple[tuple[str, str], tuple[int, int]]] = {
    "in the middle": (("23", "25"), (2, 5)),
    "one day": (("23", "23"), (2, 3)),
    "more than the period": (("23", "24"), (1, 5)),
    "from the first leaf on": (("21", "25"), (0, 5)),
    "from before the first leaf on": (("01", "25"), (0, 5)),
    "without a start": (("", "25"), (0, 5)),
    "up to the last leaf": (("23", "26"), (2, 6)),
    "beyond the last leaf": (("23", "30"), (2, 6)),
    "without an end": (("23", ""), (2, 6)),
}  # fmt: skip


@pytest.mark.parametrize("log", [Days, AtMidnight])
@BOTH
@pytest.mark.parametrize("name", GOOD)
def test_a_period_with_its_edges_holds(tmp_path: Path, verify: Callable[..., Said], name: str, log: type[Log]):
    days, run = GOOD[name]
    period(tmp_path / "pack", log, *days, run=run)
    assert verify(tmp_path / "pack") == Said(0, "")


WRONG: dict[str, tuple[tuple[str, str], tuple[int, int], tuple[int, ...], str]] = {
    "the first leaf is left out": (("23", "25"), (3, 5), (), "leaf 2"),
    "the last leaf is left out": (("23", "25"), (2, 4), (), "leaf 4"),
    "the leaf before is not shown": (("23", "25"), (2, 5), (1,), "leaf 1, the "),
    "the leaf after is not shown": (("23", "25"), (2, 5), (5,), "leaf 5, the "),
    "the first leaf is left out with the one before": (("23", "25"), (3, 5), (2,), "leaf 2, the "),
    "the first leaf of the log is left out": (("01", "25"), (1, 5), (), "leaf 0"),
    "the last leaf of the log is left out": (("23", "30"), (2, 5), (), "leaf 5"),
    "it has no start, and does not begin at the first leaf": (("", "25"), (1, 5), (), "leaf 0"),
    "it has no end, and does not go on to the last leaf": (("23", ""), (2, 5), (), "leaf 5"),
    "it names no day": (("", ""), (0, 6), (), "period"),
    "it names a day that is none": (("31", "25"), (2, 5), (), "period"),
}  # fmt: skip


@pytest.mark.threat("AUD-02")
@pytest.mark.parametrize("log", [Days, AtMidnight])
@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_a_period_whose_edge_is_not_shown_or_not_one_is_refused(
    tmp_path: Path, verify: Callable[..., Said], name: str, log: type[Log]
):
    days, run, without, wrong = WRONG[name]
    period(tmp_path / "pack", log, *days, run=run, without=without)
    said = verify(tmp_path / "pack")
    assert said.status == 5
    (line,) = (line for line in said.wrong.splitlines() if " completeness " in line)
    assert wrong in line


@BOTH
def test_a_period_that_the_checkpoint_does_not_outlast_says_so(tmp_path: Path, verify: Callable[..., Said]):
    for number, (last, run, is_told) in enumerate((("26", (2, 6), True), ("25", (2, 5), False), ("", (2, 6), False))):
        period(tmp_path / str(number), Days, "23", last, run=run)
        assert ("after it in the period" in verify(tmp_path / str(number), with_notes=True).wrong) is is_told
