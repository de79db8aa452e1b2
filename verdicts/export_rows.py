"""Rows of exports: what an auditor asked for, and how far its file is."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q

from audit.models import LogEntry, Principal
from handoffs.models import WorkQuerySet


class ExportStatus(models.TextChoices):
    """Of an export's file."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class ExportQuerySet(WorkQuerySet["Export"]):
    """Reads of exports."""

    def open(self) -> Self:
        """Exports whose file is not finished."""
        return self.filter(status=ExportStatus.WAITING)

    def for_list(self) -> Self:
        """Newest first, for a page."""
        return (
            self.select_related("log_entry", "principal")
            .defer("log_entry__leaf")
            .order_by("-pk")
            .fetch_mode(models.FETCH_RAISE)
        )


class Export(models.Model):
    """A file an auditor asked for. Its row is the queue of its windows; the act itself is in the log.

    `position`, `offset` and `row_count` are what is on disk for certain: a worker that dies goes on from there.
    """

    content = models.CharField(max_length=40, db_comment="a table's name, or evidence-pack")
    file_format = models.CharField(max_length=10)
    filters = models.JSONField(default=dict, db_comment="as the form has them")
    principal = models.ForeignKey(Principal, models.PROTECT, related_name="+", db_comment="who asked for it")
    tree_size = models.BigIntegerField(db_comment="of the tree head the export is made at")
    root = models.CharField(max_length=64)
    status = models.CharField(max_length=7, choices=ExportStatus, default=ExportStatus.WAITING)
    first = models.BigIntegerField(null=True, db_comment="smallest key of its rows; null until it is begun")
    last = models.BigIntegerField(default=-1, db_comment="largest key of its rows")
    position = models.BigIntegerField(default=0, db_comment="the next key to write")
    offset = models.BigIntegerField(default=0, db_comment="bytes written")
    row_count = models.BigIntegerField(default=0, db_comment="rows written")
    sha256 = models.CharField(max_length=64, blank=True, db_comment="of the finished file")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)
    seal = models.OneToOneField(
        LogEntry, models.PROTECT, null=True, related_name="sealed_export", db_comment="the leaf of a pack's manifest"
    )

    objects = ExportQuerySet.as_manager()

    class Meta:
        db_table = "leo_export"
        constraints = [
            models.CheckConstraint(name="export_status_known", condition=Q(status__in=ExportStatus.values)),
            models.CheckConstraint(name="export_done_has_digest", condition=~Q(status="done") | ~Q(sha256="")),
        ]
        indexes = [models.Index(fields=["created_at"], name="export_open", condition=Q(status=ExportStatus.WAITING))]

    def __str__(self) -> str:
        return f"export {self.pk}"

    @property
    def file_name(self) -> str:
        """What the file is called when it is downloaded."""
        suffix = "tar" if self.file_format == "pack" else self.file_format
        return f"{self.content}-{self.created_at:%Y%m%d}-export{self.pk}.{suffix}"

    @property
    def state(self) -> str:
        """Its state as a page says it."""
        return {"waiting": "running"}.get(self.status, self.status)

    @property
    def percent(self) -> int:
        """How far it is, by keys."""
        if self.status == ExportStatus.DONE:
            return 100
        if self.first is None or self.last < self.first:
            return 0
        return min(99, 100 * (self.position - self.first) // (self.last - self.first + 1))
