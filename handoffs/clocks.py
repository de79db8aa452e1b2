"""The clocks that this portal can compare with its own: the database's, and those of services that answered lately.

While one of them differs by more than 120 seconds, nothing is signed, released, merged or published as a success, in no
process; reading, and whatever only lowers a result, goes on. It ends by itself when the clocks agree again.
Source: ATT-13 of the threat list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from handoffs.models import ClockReading, HandoffError
from handoffs.signatures.clocks import find_skew
from handoffs.signatures.service_clocks import read_date

CLOCK_RETRY: Final = timedelta(seconds=30)
READING_HOLDS: Final = timedelta(minutes=10)
type Clock = Callable[[], datetime]


class ClockSkewError(HandoffError):
    """A clock is wrong, and nobody here can say whose. Nothing was done; it is tried again in `CLOCK_RETRY`."""

    CODE: Final = "clock.skew"

    def __init__(self, detail: str) -> None:
        super().__init__(self.CODE, f"{detail}; set this machine's and the database's clocks (NTP), nothing else")


def current_skew(clock: Clock = timezone.now) -> str:
    """Which clock differs too much from this process's, and by how much; empty while all agree."""
    database_now = _database_now()
    others = {"the database": database_now}
    for reading in ClockReading.objects.filter(read_at__gte=Now() - READING_HOLDS):
        others[reading.source] = database_now + timedelta(seconds=reading.ahead_seconds)
    return find_skew(clock(), others)


def refuse_skew(clock: Clock = timezone.now) -> None:
    """Raises: ClockSkewError while a clock differs too much."""
    if skew := current_skew(clock):
        raise ClockSkewError(skew)


def read_services(addresses: Mapping[str, str]) -> int:
    """Note what time the services say it is. One that does not answer says nothing. Returns how many answered."""
    count = 0
    for source, address in addresses.items():
        said = read_date(address)
        if said is not None:
            note_reading(source, said)
            count += 1
    return count


def note_reading(source: str, said: datetime) -> None:
    """What a service's clock said just now, kept as its distance from the database's clock."""
    ahead = (said - _database_now()).total_seconds()
    ClockReading.objects.update_or_create(source=source[:100], defaults={"ahead_seconds": ahead, "read_at": Now()})


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime)  # noqa: S101 - narrows the type
    return now
