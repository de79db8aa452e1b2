"""Whether GitHub answers, for all workers that ask it: after failures in a row one of them asks at a time, and rarely.

A row says so, because workers are many processes; who waits looks at that row and asks GitHub nothing. The first answer
ends it. It is no evidence: it delays, and lets nothing pass.
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Final

from django.db.models import F
from django.db.models.functions import Now

from handoffs.forges.protocol import ForgeError
from handoffs.github.failures import OUTAGE_WAIT, SILENT
from handoffs.models import GitHubCircuit

MOST_FAILURES: Final = 3  # in a row, in one process
# Who takes successes back looks at the row each five seconds: with those a minute at most, as before there was a row.
LONGEST: Final = timedelta(seconds=55)
PROBE: Final = timedelta(seconds=30)  # until whoever was to ask is taken for dead
SOON: Final = timedelta(seconds=1)
_dice: Final = SystemRandom()


class Circuit:
    """One GitHub's circuit, as one process sees it."""

    def __init__(self, api_url: str) -> None:
        self._rows = GitHubCircuit.objects.filter(api_url=api_url)
        self._api_url = api_url
        self._failures = 0
        self._probing: datetime | None = None

    def admit(self, *, may_probe: bool) -> None:
        """Let one request through, unless GitHub is silent and it is another's turn to ask, or nobody's yet.

        Raises: ForgeError("github.silent") with when to look again.
        """
        opened = self._rows.exclude(failing_since=None).values_list("failing_since", "next_try_at", Now()).first()
        if opened is None:
            self._probing = None
            return
        since, next_try_at, now = opened
        if self._probing is not None and next_try_at == self._probing:
            return
        self._failures, until = 0, now + PROBE
        if may_probe and next_try_at <= now and self._rows.filter(next_try_at=next_try_at).update(next_try_at=until):
            self._probing = until
            return
        said = f"GitHub has not answered since {since:%Y-%m-%d %H:%M:%S} UTC, next try at {next_try_at:%H:%M:%S} UTC"
        raise ForgeError(SILENT, said, retry_in=max(next_try_at - now, SOON))

    def answered(self) -> None:
        """GitHub answered, if only with a refusal."""
        self._failures = 0
        if self._probing is not None:
            self._rows.update(failing_since=None, tries=0)
            self._probing = None

    def failed(self) -> None:
        """GitHub did not answer, or with its own failure."""
        self._failures += 1
        if self._probing is not None:
            self._probing = None
            tries = self._rows.values_list("tries", flat=True).get() + 1
            self._rows.update(tries=F("tries") + 1, next_try_at=Now() + wait(tries))
        elif self._failures >= MOST_FAILURES:
            GitHubCircuit.objects.get_or_create(api_url=self._api_url)
            closed = self._rows.filter(failing_since=None)
            closed.update(failing_since=Now(), tries=1, next_try_at=Now() + wait(1))


@functools.lru_cache(maxsize=16)
def circuit_of(api_url: str) -> Circuit:
    """This process's one for a GitHub."""
    return Circuit(api_url)


def wait(tries: int) -> timedelta:
    """How long nobody asks after so many vain tries: twice as long each time, a little less than that by chance."""
    most: timedelta = min(OUTAGE_WAIT * 2 ** min(tries - 1, 8), LONGEST)
    return most * _dice.uniform(0.8, 1.0)
