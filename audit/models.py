"""Rows of the trail: the log. Principals and what belongs to them are in `audit.principals`."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models.functions import Now

from audit.canonical import JsonValue
from audit.leaves import LeafError, open_body, parse_leaf
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
    end_is_named,
    named_entry,
)
from audit.texts import ErasableText
from audit.upkeep import LogAnchor, LogUpkeep, Upkeep

__all__ = [
    "ApiToken",
    "ErasableText",
    "Identity",
    "Kind",
    "LogAlarm",
    "LogAnchor",
    "LogCheckpoint",
    "LogCosignature",
    "LogEntry",
    "LogEpoch",
    "LogLeaf",
    "LogQuorum",
    "LogTile",
    "LogUpkeep",
    "Participation",
    "PersonLink",
    "Principal",
    "Proposal",
    "ProposalKind",
    "ProposalStatus",
    "RoleGrant",
    "TreeHead",
    "Upkeep",
    "end_is_named",
    "named_entry",
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

    def waiting(self, head: TreeHead | None) -> models.QuerySet[LogEntry, int]:
        """The numbers of entries that have no place in the tree yet. Not checked: that no older one is missing."""
        return self.filter(xid__gte=head.last_xid if head else 0, tree_leaf=None).values_list("pk", flat=True)


class LogEntry(models.Model):
    """One governed act. Append-only: UPDATE, DELETE and TRUNCATE are refused by trigger and by grant.

    The database writes id, created_at, xid, leaf and leaf_hash; what is given for them is not used.
    """

    kind = models.CharField(max_length=60)
    principal = models.BigIntegerField(db_comment="number of the principal; 0: the portal itself")
    role = models.CharField(max_length=10)
    subject = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    xid = models.BigIntegerField(default=0, db_comment="transaction that appended it; order of integration")
    body = models.BinaryField(null=True, db_comment="what happened, RFC 8785 JSON; null once erased")
    salt = models.BinaryField(null=True, max_length=16, db_comment="the leaf holds SHA-256(salt || body)")
    leaf = models.BinaryField(default=bytes, db_comment="the exact bytes that are hashed; see audit.leaves")
    leaf_hash = models.BinaryField(default=bytes, max_length=32, db_comment="RFC 9162 leaf hash of leaf")

    objects = LogEntryQuerySet.as_manager()

    class Meta:
        db_table = "leo_log_entry"
        # Each filter of the explorer with the order of its pages, so that a period is a part of one index.
        indexes = [
            models.Index(fields=["created_at", "id"], name="log_by_time"),
            models.Index(fields=["subject", "created_at", "id"], name="log_by_subject_and_time"),
            models.Index(fields=["principal", "created_at", "id"], name="log_by_principal_and_time"),
            models.Index(fields=["kind", "created_at", "id"], name="log_by_kind_and_time"),
            models.Index(fields=["role", "created_at", "id"], name="log_by_role_and_time"),
            models.Index(fields=["xid", "id"], name="log_by_transaction"),
        ]

    def open(self) -> dict[str, JsonValue]:
        """The body, once it is sure that it is the one the leaf stands for.

        Raises: LeafError; "leaf.erased" where body and salt were erased.
        """
        if not self.leaf:  # just appended: the database wrote it
            self.refresh_from_db(fields=["leaf"])
        if self.body is None or self.salt is None:
            raise LeafError("leaf.erased", f"the body of entry {self.pk} was erased; its leaf is still proved")
        return open_body(parse_leaf(bytes(self.leaf)), bytes(self.salt), bytes(self.body))

    def __str__(self) -> str:
        return f"{self.kind} by principal {self.principal}"


class LogLeaf(models.Model):
    """The place of an entry in the tree: a dense index from 0. Append-only."""

    index = models.BigIntegerField(primary_key=True)
    entry = models.OneToOneField(LogEntry, models.PROTECT, related_name="tree_leaf")
    leaf_hash = models.BinaryField(max_length=32, db_comment="as it was when the entry was integrated")

    class Meta:
        db_table = "leo_log_leaf"
        constraints = [models.CheckConstraint(name="log_leaf_index_from_zero", condition=models.Q(index__gte=0))]

    def __str__(self) -> str:
        return str(self.index)


class TreeHead(models.Model):
    """Root and frontier after a batch was integrated, and how far the entries were read. Append-only."""

    size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField(max_length=32)
    frontier = models.BinaryField(db_comment="32 bytes for each bit set in size, largest subtree first")
    last_xid = models.BigIntegerField(db_comment="xid and id of the last entry read, in this order")
    last_entry = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "leo_log_head"

    def __str__(self) -> str:
        return f"{self.size} leaves"


class LogTile(models.Model):
    """A full tile: 256 hashes at one level. Partial ones are made from what is below. Append-only."""

    level = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    root = models.BinaryField(max_length=32, db_comment="root over the tile: its hash in the tile above")
    hashes = models.BinaryField(max_length=8192)

    class Meta:
        db_table = "leo_log_tile"
        constraints = [models.UniqueConstraint(fields=["level", "index"], name="log_tile_once")]

    def __str__(self) -> str:
        return f"tile {self.level}/{self.index}"


class LogCheckpoint(models.Model):
    """A tree head signed by the log's key, in a process of its own. Append-only."""

    origin = models.CharField(max_length=200, db_comment="the log's name; another one for each epoch")
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    note = models.BinaryField(db_comment="C2SP signed note")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "leo_log_checkpoint"
        constraints = [models.UniqueConstraint(fields=["origin", "size"], name="log_checkpoint_once")]

    def __str__(self) -> str:
        return f"{self.origin} at {self.size}"


class LogCosignature(models.Model):
    """A witness's signature under a checkpoint. Append-only."""

    checkpoint = models.ForeignKey(LogCheckpoint, models.PROTECT, related_name="cosignatures")
    witness = models.CharField(max_length=200)
    line = models.CharField(max_length=600, db_comment="the signature line, C2SP cosignature/v1")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "leo_log_cosignature"
        constraints = [models.UniqueConstraint(fields=["checkpoint", "witness"], name="log_cosignature_once")]

    def __str__(self) -> str:
        return f"{self.witness} on {self.checkpoint_id}"


class LogAlarm(models.Model):
    """The log is not what it was. Nothing merges until a new epoch is opened. Append-only."""

    code = models.CharField(max_length=60)
    detail = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "leo_log_alarm"

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class LogEpoch(models.Model):
    """The log went on under a new name, after a restore or a repair that two operators answer for. Append-only."""

    number = models.PositiveIntegerField(unique=True)
    origin = models.CharField(max_length=200, unique=True)
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "leo_log_epoch"

    def __str__(self) -> str:
        return self.origin


class LogQuorum(models.Model):
    """How many witnesses have to have signed a checkpoint to make it count. The newest row holds. Append-only."""

    witnesses = models.PositiveSmallIntegerField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_log_quorum"

    def __str__(self) -> str:
        return f"{self.witnesses} witnesses"
