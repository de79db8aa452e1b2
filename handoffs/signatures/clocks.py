"""Whether this machine's clock can be relied on. Certificates, tokens and key windows mean nothing otherwise.

Source: ATT-13 of the threat list.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

MAX_SKEW: Final = timedelta(seconds=120)


def find_skew(now: datetime, others: Mapping[str, datetime]) -> str:
    """Which of the other clocks differs too much from ours, and by how much; empty if none does."""
    found = {name: abs(now - other) for name, other in others.items()}
    return "; ".join(
        f"this clock and {name}'s differ by {skew.total_seconds():.0f} s, at most {MAX_SKEW.total_seconds():.0f} s"
        for name, skew in found.items()
        if skew > MAX_SKEW
    )
