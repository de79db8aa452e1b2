"""Rows of the trail: principals, their identities and roles, participation, and the log."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models

from audit.events import GRANTED, Role
from audit.separation import Part

ROLE_CHOICES = [(role.value, role.value.title()) for role in GRANTED]


class Kind(models.TextChoices):
    """What a principal is."""

    HUMAN = "human"
    MACHINE = "machine"


class Principal(models.Model):
    """A person or a machine that can be answerable for an act."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=7, choices=Kind)
    sponsor = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="sponsored", db_comment="who answers for a machine"
    )
    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="principal_machine_has_sponsor",
                condition=models.Q(kind=Kind.HUMAN, sponsor__isnull=True)
                | models.Q(kind=Kind.MACHINE, sponsor__isnull=False),
            ),
            models.CheckConstraint(name="principal_kind_known", condition=models.Q(kind__in=Kind.values)),
        ]

    def __str__(self) -> str:
        return self.name


class Identity(models.Model):
    """A name under which a principal is seen elsewhere: an e-mail address, a builder id, a key."""

    class Kind(models.TextChoices):
        EMAIL = "email"
        BUILDER_ID = "builder_id"
        OPENPGP = "openpgp"

    principal = models.ForeignKey(Principal, models.PROTECT, related_name="identities")
    kind = models.CharField(max_length=10, choices=Kind)
    value = models.CharField(max_length=300)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "value"], name="identity_one_owner")]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class RoleGrant(models.Model):
    """Static separation: a principal holds one role, so nobody is granted two lanes."""

    principal = models.OneToOneField(Principal, models.PROTECT, related_name="grant")
    role = models.CharField(max_length=10, choices=ROLE_CHOICES)
    granted_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="rolegrant_role_known", condition=models.Q(role__in=[r.value for r in GRANTED]))
        ]

    def __str__(self) -> str:
        return f"{self.principal} is {self.role}"


class ApiToken(models.Model):
    """A bearer token of a machine or a command line. Only its SHA-256 is stored."""

    principal = models.ForeignKey(Principal, models.PROTECT, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.BinaryField(max_length=32, unique=True, db_comment="SHA-256 of the token")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} of {self.principal}"


class ParticipationQuerySet(models.QuerySet["Participation"]):
    """Reads of who took part."""

    def parts(self, subject: str) -> list[Part]:
        """The parts of one subject, as values for `audit.separation`."""
        rows = self.filter(subject=subject).values_list("principal_id", "duty").order_by("pk")
        return [Part(principal_id, Role(duty)) for principal_id, duty in rows]


class Participation(models.Model):
    """Dynamic separation: one principal, one duty per subject, for ever."""

    subject = models.CharField(max_length=200, db_comment="the handoff chain, e.g. acme/payments#H-7")
    principal = models.ForeignKey(Principal, models.PROTECT)
    duty = models.CharField(max_length=10, choices=ROLE_CHOICES)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ParticipationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "principal"], name="participation_one_duty"),
            models.CheckConstraint(
                name="participation_duty_known", condition=models.Q(duty__in=[r.value for r in GRANTED])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.principal} as {self.duty} on {self.subject}"


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
