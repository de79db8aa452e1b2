"""What is done around the log and may be late without stopping it: the second copy, the anchors in git and in Rekor."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

ANCHOR_REF: Final = "refs/heads/log"
"""The branch of the anchors in git. A clone of it elsewhere keeps what was signed, whatever happens here."""


class Upkeep(models.TextChoices):
    """What there is to do."""

    COPY = "copy", "Second copy"
    GIT = "git", "Anchor in git"
    REKOR = "rekor", "Anchor in Rekor"
    CHECK = "check", "Nightly check"


class LogUpkeepQuerySet(models.QuerySet["LogUpkeep"]):
    """Reads and writes of how it stands."""

    def is_due(self, name: Upkeep, *, first_after: timedelta) -> bool:
        """Whether its next try has come; the first one comes so long after the first look."""
        now = timezone.now()
        row, _ = self.get_or_create(name=name, defaults={"next_try_at": now + first_after})
        return row.next_try_at <= now

    def record_done(self, name: Upkeep, size: int, *, again: timedelta) -> None:
        """It worked, for a checkpoint of `size` leaves."""
        now = timezone.now()
        self._record(name, size=size, done_at=now, code="", error="", next_try_at=now + again)

    def record_failed(self, name: Upkeep, code: str, error: str, *, again: timedelta) -> None:
        """It did not; it is tried again then."""
        self._record(name, code=code[:60], error=error[:500], next_try_at=timezone.now() + again)

    def _record(self, name: Upkeep, **values: object) -> None:
        self.update_or_create(name=name, defaults=values)

    def for_page(self) -> Self:
        """All of it, in one order."""
        return self.order_by("name")


class LogUpkeep(models.Model):
    """How one of them stands. Not evidence: what is in the copy, in git and in Rekor speaks for itself."""

    name = models.CharField(max_length=5, choices=Upkeep, unique=True)
    size = models.BigIntegerField(default=0, db_comment="of the checkpoint that it was last done for")
    done_at = models.DateTimeField(null=True)
    code = models.CharField(max_length=60, blank=True, db_comment="of the last failure; empty: it worked")
    error = models.CharField(max_length=500, blank=True)
    next_try_at: models.DateTimeField[datetime, datetime] = models.DateTimeField()

    objects = LogUpkeepQuerySet.as_manager()

    class Meta:
        db_table = "leo_log_upkeep"
        constraints = [models.CheckConstraint(name="log_upkeep_known", condition=Q(name__in=Upkeep.values))]

    def __str__(self) -> str:
        return f"{self.name}: {self.code or self.size}"


class LogAnchor(models.Model):
    """A signed checkpoint's digest in Rekor, with everything it takes to check that offline. Append-only."""

    checkpoint = models.OneToOneField("audit.LogCheckpoint", models.PROTECT, related_name="anchor")
    digest = models.CharField(max_length=64, db_comment="SHA-256 of the signed note")
    bundle = models.TextField(db_comment="Sigstore bundle v0.3: hashedrekord entry with its inclusion proof")
    log_index = models.BigIntegerField()
    identity = models.CharField(max_length=300)
    issuer = models.CharField(max_length=300)
    root_digest = models.CharField(max_length=64, db_comment="of the Sigstore trusted root it was checked with")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "leo_log_anchor"

    def __str__(self) -> str:
        return f"{self.checkpoint_id} in Rekor as {self.log_index}"
