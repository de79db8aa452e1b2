"""What other machines' clocks said lately."""

from __future__ import annotations

from django.db import models


class ClockReading(models.Model):
    """The newest reading of one service's clock, from the Date header of an answer."""

    source = models.CharField(max_length=100, unique=True)
    ahead_seconds = models.FloatField(db_comment="of the database's clock; negative: behind it")
    read_at = models.DateTimeField(db_comment="by the database's clock")

    class Meta:
        db_table = "leo_clock_reading"

    def __str__(self) -> str:
        return f"{self.source}: {self.ahead_seconds:+.0f} s"
