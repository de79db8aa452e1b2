"""What an evidence pack is called, against what it proves: the whole log, a period with its edges, single leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from audit.canonical import JsonValue
from audit.pack_findings import Report
from audit.pack_leaves import extent
from audit.pack_reading import Pack, PackError
from audit.pack_writing import MANIFEST, PROOFS


def check_scope(
    pack: Pack, scope: Mapping[str, JsonValue], size: int, singles: Mapping[int, datetime], report: Report
) -> str:
    """The whole log in one run, or a period's run between two leaves outside of it, or single leaves.

    `singles` are the times of the leaves that have a proof of their own.
    Raises: PackError.
    """
    proofs = list(pack.rows(PROOFS))
    runs = [extent(proof, where) for where, proof in proofs if "end" in proof]
    match scope.get("kind"):
        case "log" if runs != [(0, size)] or len(proofs) > 1:
            raise PackError(PROOFS, f"it is called the whole log of {size} leaves, and proves {runs[:2]}")
        case "period" if len(runs) != 1:
            raise PackError(PROOFS, f"it is called a period, and has {len(runs)} runs of leaves")
        case "period":
            _check_edges(*runs[0], period_of(scope), size, singles)
            if scope.get("last") and runs[0][1] == size:
                held = f"the pack's checkpoint ends with leaf {size - 1}"
                report.gap(
                    "completeness", f"{held}: what was recorded after it in the period is in no pack of this one"
                )
        case "log":
            pass
        case "pull":
            return f"{len(proofs)} single leaves"
        case kind:
            raise PackError(MANIFEST, f"got the scope {str(kind)[:20]}, expected log, period or pull")
    return f"every leaf from {runs[0][0]} to {runs[0][1] - 1} is there, none is between them"


def _check_edges(
    first: int, end: int, period: tuple[datetime | None, datetime | None], size: int, singles: Mapping[int, datetime]
) -> None:
    """The leaf before a period's run is older than the period, the one after it newer; or there is none."""
    start, until = period
    for is_missing, neighbour, bound in ((first > 0, first - 1, start), (end < size, end, until)):
        if not is_missing:
            continue
        side = "before" if neighbour < first else "after"
        if bound is None:
            raise PackError(PROOFS, f"the period is open, and leaf {neighbour} {side} its run is left out")
        at = singles.get(neighbour)
        if at is None:
            raise PackError(PROOFS, f"leaf {neighbour}, the next one {side} the period, is missing: it shows the edge")
        if at >= bound if side == "before" else at < bound:
            raise PackError(f"leaf {neighbour}", f"it is called {side} the period and is of {at}; the edge is {bound}")


def period_of(scope: Mapping[str, JsonValue]) -> tuple[datetime | None, datetime | None]:
    """From the start of the day `first` up to the end of the day `last`, UTC; None where there is no bound.

    Raises: PackError.
    """
    try:
        days = [date.fromisoformat(str(scope[name])) if scope.get(name) else None for name in ("first", "last")]
    except ValueError:
        days = [None, None]
    if days == [None, None]:
        raise PackError(MANIFEST, f"got a period from {scope.get('first')} to {scope.get('last')}, expected days")
    first, last = days
    until = datetime.combine(last + timedelta(days=1), time(), UTC) if last else None
    return datetime.combine(first, time(), UTC) if first else None, until
