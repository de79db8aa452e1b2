"""Rows of the trail: the log. Principals and what belongs to them are in `audit.principals`."""

from __future__ import annotations

from typing import Self

from django.db import models

from audit.principals import (
    ApiToken,
    Identity,
    Kind,
    Participation,
    PersonLink,
    Principal,
    Proposal,
    ProposalKind,
    ProposalStatus,
    RoleGrant,
)
from audit.texts import ErasableText

__all__ = [
    "ApiToken",
    "ErasableText",
    "Identity",
    "Kind",
    "LogEntry",
    "LogLeaf",
    "LogPending",
    "Participation",
    "PersonLink",
    "Principal",
    "Proposal",
    "ProposalKind",
    "ProposalStatus",
    "RoleGrant",
    "TreeHead",
]


class LogEntryQuerySet(models.QuerySet["LogEntry"]):
    """Reads of the trail in pages: newest first, addressed by the last entry seen."""

    def newest_first(self) -> Self:
        """By time, then by number: the order that every index of the table ends in."""
        return self.order_by("-created_at", "-pk")

    def older_than(self, entry: LogEntry) -> Self:
        """What comes after `entry` in that order.

        One bound on the time that an index can start at, and not `a OR b`, which PostgreSQL walks the table for.
        """
        return self.filter(created_at__lte=entry.created_at).exclude(created_at=entry.created_at, pk__gte=entry.pk)


class LogEntry(models.Model):
    """One governed act. Append-only: UPDATE, DELETE and TRUNCATE are refused by trigger and by grant."""

    kind = models.CharField(max_length=60)
    actor = models.CharField(max_length=100)
    role = models.CharField(max_length=10)
    subject = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    leaf = models.BinaryField(db_comment="the exact bytes that are hashed (RFC 8785 JSON)")
    leaf_hash = models.BinaryField(max_length=32, db_comment="RFC 9162 leaf hash of leaf")

    objects = LogEntryQuerySet.as_manager()

    class Meta:
        db_table = "leo_log_entry"
        # Each filter of the explorer with the order of its pages, so that a period is a part of one index.
        indexes = [
            models.Index(fields=["created_at", "id"], name="log_by_time"),
            models.Index(fields=["subject", "created_at", "id"], name="log_by_subject_and_time"),
            models.Index(fields=["actor", "created_at", "id"], name="log_by_actor_and_time"),
            models.Index(fields=["kind", "created_at", "id"], name="log_by_kind_and_time"),
            models.Index(fields=["role", "created_at", "id"], name="log_by_role_and_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.actor}"


class LogPending(models.Model):
    """A committed entry that the sequencer has not numbered yet. Made with the entry, removed with its leaf."""

    entry = models.OneToOneField(LogEntry, models.PROTECT, primary_key=True, related_name="pending")

    class Meta:
        db_table = "leo_log_pending"

    def __str__(self) -> str:
        return str(self.pk)


class LogLeaf(models.Model):
    """The place of an entry in the tree: a dense index from 0. Append-only."""

    index = models.BigIntegerField(primary_key=True)
    entry = models.OneToOneField(LogEntry, models.PROTECT, related_name="tree_leaf")

    class Meta:
        db_table = "leo_log_leaf"
        constraints = [models.CheckConstraint(name="log_leaf_index_from_zero", condition=models.Q(index__gte=0))]

    def __str__(self) -> str:
        return str(self.index)


class TreeHead(models.Model):
    """Root and frontier after a batch was integrated. Append-only; not signed yet (see the README's limits)."""

    size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField(max_length=32)
    frontier = models.BinaryField(db_comment="32 bytes for each bit set in size, largest subtree first")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "leo_log_head"

    def __str__(self) -> str:
        return f"{self.size} leaves"
