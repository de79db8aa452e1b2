"""How rows that are work are claimed, released and moved by compare-and-set."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.coded import CodedError
from handoffs.scope.secrets import redact

HEX_COMMIT = r"^([0-9a-f]{40}|[0-9a-f]{64})$"


HEX_SHA256 = r"^[0-9a-f]{64}$"


MAX_ATTEMPTS = 5


class HandoffError(CodedError):
    """A refusal in the builder or enforcer lane. `code` is stable."""


class StaleStatusError(Exception):
    """A compare-and-set found another status than it expected: somebody else moved the row."""


class WorkQuerySet[M: models.Model](models.QuerySet[M]):
    """Rows that are their own queue: due, claimed under a lease, released."""

    def claim(self, pk: int, *, lease: timedelta) -> int | None:
        """Take the lease if nobody holds it. Returns the attempt number that fences this run, or None."""
        free = Q(lease_until=None) | Q(lease_until__lt=Now())
        due = Q(next_try_at=None) | Q(next_try_at__lte=Now())
        taken = (
            self.open().filter(free, due, pk=pk).update(lease_until=Now() + lease, attempts=models.F("attempts") + 1)
        )
        return self.values_list("attempts", flat=True).get(pk=pk) if taken else None

    def release(
        self, pk: int, attempt: int, *, error: str = "", retry_in: timedelta | None = None, is_waiting: bool = False
    ) -> None:
        """Give the lease back; after a failure say when to try again. A fenced-off run changes nothing.

        Waiting for somebody else is not failing: it uses no attempt up.
        """
        moment = Now() + retry_in if retry_in else None
        row = self.filter(pk=pk, attempts=attempt)
        if is_waiting:
            row.update(lease_until=None, next_try_at=moment, error=redact(error)[:2000], attempts=0)
        elif error:
            row.update(lease_until=None, next_try_at=moment, error=redact(error)[:2000])
        else:
            row.update(lease_until=None, next_try_at=None, error="", attempts=0)

    def due(self) -> Self:
        """Open rows that nobody works on."""
        free = Q(lease_until=None) | Q(lease_until__lt=Now())
        return self.open().filter(free, Q(next_try_at=None) | Q(next_try_at__lte=Now()), attempts__lt=MAX_ATTEMPTS)

    def stuck(self) -> Self:
        """Open rows that failed too often: they wait for a person."""
        return self.open().filter(attempts__gte=MAX_ATTEMPTS)

    def abandoned(self) -> Self:
        """Stuck rows that nobody works on any more."""
        return self.stuck().filter(Q(lease_until=None) | Q(lease_until__lt=Now()))

    def open(self) -> Self:
        """Rows that still have work. Abstract: each kind of row says which, and one that does not is no queue."""
        raise NotImplementedError
