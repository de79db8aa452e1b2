"""The handoff and what was found of it: its events and the result of each check."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.models import LogEntry, Principal, named_entry
from handoffs.checks.evidence import NOT_CHECKED, Outcome
from handoffs.models.work import HEX_SHA256, StaleStatusError, WorkQuerySet


class Repository(models.Model):
    """A repository under the portal's protection. A trigger keeps all of it but `next_number`, which only grows."""

    class Forge(models.TextChoices):
        LOCAL_GIT = "localgit"
        GITHUB = "github"

    full_name = models.CharField(max_length=200, unique=True, db_comment="owner/name")
    forge = models.CharField(max_length=10, choices=Forge, default=Forge.LOCAL_GIT)
    path = models.CharField(max_length=500, unique=True, db_comment="of the bare repository on disk, or of the copy")
    protected_branch = models.CharField(max_length=200, default="main")
    next_number = models.PositiveIntegerField(default=1, db_comment="of the next pull request")
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = named_entry("that it is governed")

    def __str__(self) -> str:
        return self.full_name


class Status(models.TextChoices):
    """Where a handoff stands in the enforcer lane."""

    RECEIVED = "received"
    VERIFIED = "verified"
    WAITING_SIGNER = "waiting-signer"
    SIGNED = "signed"
    APPLIED = "applied"
    OPENED = "opened"
    TRIGGERED = "triggered"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


# Back to APPLIED: the pull request it was opened in merged an older head; it gets one of its own.
# QUARANTINED: a credential was found, bytes are no longer what was verified, or no builder signed the commit. Nobody is
# given the bundle (any more).
TRANSITIONS: dict[str, frozenset[str]] = {
    Status.RECEIVED: frozenset({Status.VERIFIED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.VERIFIED: frozenset({Status.SIGNED, Status.WAITING_SIGNER, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.WAITING_SIGNER: frozenset({Status.SIGNED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.SIGNED: frozenset({Status.APPLIED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.APPLIED: frozenset({Status.OPENED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.OPENED: frozenset({Status.TRIGGERED, Status.APPLIED, Status.SUPERSEDED}),
    Status.TRIGGERED: frozenset({Status.APPLIED, Status.SUPERSEDED}),
    Status.REFUSED: frozenset(),
    Status.QUARANTINED: frozenset(),
    Status.SUPERSEDED: frozenset(),
}


ENDED = (Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED)


SIGNING = (Status.VERIFIED, Status.WAITING_SIGNER)


WORKING = (Status.RECEIVED, Status.VERIFIED, Status.WAITING_SIGNER, Status.SIGNED, Status.APPLIED)


class HandoffQuerySet(WorkQuerySet["Handoff"]):
    """Reads of handoffs, and the one way to move their status."""

    def open(self) -> Self:
        """Handoffs with a step to do."""
        return self.filter(status__in=WORKING)

    def move(self, pk: int, *, old: Status, new: Status, **changes: object) -> None:
        """Compare-and-set. Raises StaleStatusError unless exactly this row still had `old`."""
        if new not in TRANSITIONS[old]:
            raise ValueError(f"no transition from {old} to {new}")
        if self.filter(pk=pk, status=old).update(status=new, moved_at=Now(), **changes) != 1:
            raise StaleStatusError(f"handoff {pk} is no longer {old}")

    def for_list(self) -> Self:
        """Everything a list shows, newest first; templates cannot query further."""
        rows = self.select_related("repository", "builder", "sponsor", "pull_request").order_by("-pk")
        rows = rows.defer("component_delta")
        return rows.fetch_mode(models.FETCH_RAISE)


class Handoff(models.Model):
    """One bundle's way through the enforcer lane. Its row is the queue of its steps."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="handoffs")
    status = models.CharField(max_length=20, choices=Status, default=Status.RECEIVED)
    staging_branch = models.CharField(max_length=200)
    staging_commit = models.CharField(max_length=64)
    artifact_blob = models.CharField(
        max_length=64, blank=True, db_comment="object id of the bundle in the staging commit: same id, same bytes"
    )
    marker_digest = models.CharField(max_length=64, blank=True, db_comment="as the marker claims; proof is digest")
    digest = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of artifact.tar.gz as read")
    size_bytes = models.PositiveIntegerField(default=0)
    title = models.CharField(max_length=200, blank=True)
    prd_id = models.CharField(max_length=100, blank=True)
    merge_base = models.CharField(max_length=64, blank=True)
    result_tree = models.CharField(max_length=64, blank=True)
    patch_digest = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of changes.patch")
    change_digest = models.CharField(
        max_length=64, blank=True, db_comment="of the added and removed lines, whatever their place"
    )
    raised = models.JSONField(default=list, db_comment="what raises the approvals: objects of kind, path, why")
    component_delta = models.JSONField(default=dict, db_comment="added, removed, changed components with licences")
    slsa = models.JSONField(default=list, db_comment="SLSA properties: name, met|claimed|not met, why")
    applied_commit = models.CharField(max_length=64, blank=True)
    feature_branch = models.CharField(max_length=200, blank=True)
    refusal_code = models.CharField(max_length=60, blank=True)
    builder = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    sponsor = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    unknown_contributors = models.JSONField(default=list, db_comment="names that resolve to no principal")
    previous = models.OneToOneField("self", models.PROTECT, null=True, related_name="next")
    chain = models.CharField(max_length=200, db_comment="subject of participation; shared by resubmissions")
    received_at = models.DateTimeField(auto_now_add=True)
    moved_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_comment="of the last failed attempt; empty when none")
    erase_entry = named_entry("that the bytes of its bundle are erased", null=True)

    objects = HandoffQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "staging_commit"], name="handoff_one_per_commit"),
            models.UniqueConstraint(
                fields=["repository", "digest"],
                name="handoff_one_per_digest",
                condition=~Q(digest="") & ~Q(status__in=ENDED),
            ),
            models.CheckConstraint(name="handoff_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(name="handoff_digest_hex", condition=Q(digest="") | Q(digest__regex=HEX_SHA256)),
            models.CheckConstraint(
                name="handoff_beyond_received_has_digest",
                condition=Q(status__in=[Status.RECEIVED, *ENDED]) | ~Q(digest=""),
            ),
            models.CheckConstraint(
                name="handoff_applied_has_commit",
                condition=~Q(status__in=[Status.APPLIED, Status.OPENED, Status.TRIGGERED]) | ~Q(applied_commit=""),
            ),
        ]
        indexes = [
            models.Index(fields=["received_at"], name="handoff_open", condition=Q(status__in=WORKING)),
            models.Index(fields=["repository", "patch_digest"], name="handoff_by_patch"),
            models.Index(fields=["change_digest"], name="handoff_by_change", condition=~Q(change_digest="")),
            models.Index(fields=["repository", "result_tree"], name="handoff_by_result", condition=~Q(result_tree="")),
            models.Index(fields=["repository", "artifact_blob"], name="handoff_by_artifact"),
            models.Index(fields=["repository", "received_at"], name="handoff_by_hour"),
        ]

    def __str__(self) -> str:
        return f"H-{self.pk}"


class HandoffEvent(models.Model):
    """SOP 7.2: handoff events. Append-only; one row for every step, with who did it in which role."""

    handoff = models.ForeignKey(Handoff, models.PROTECT, related_name="events")
    event = models.CharField(max_length=60)
    principal = models.BigIntegerField(db_comment="number of the principal; 0: the portal itself")
    role = models.CharField(max_length=10)
    marker = models.CharField(max_length=100, blank=True)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_handoff_tracking"
        indexes = [models.Index(fields=["handoff", "id"], name="handoffevent_by_handoff")]

    def __str__(self) -> str:
        return f"{self.event} on {self.handoff_id}"


class BundleCheck(models.Model):
    """One check's result on a handoff, as it was judged. Append-only."""

    handoff = models.ForeignKey(Handoff, models.PROTECT, related_name="checks")
    position = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=80)
    group = models.CharField(max_length=20)
    sentence = models.CharField(max_length=300)
    outcome = models.CharField(max_length=10)
    got = models.TextField(blank=True)
    expected = models.TextField(blank=True)
    tool = models.CharField(max_length=200, blank=True, db_comment="name and version of what judged it")

    class Meta:
        db_table = "leo_bundle_check"
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["handoff", "position"], name="bundlecheck_one_per_place")]
        indexes = [models.Index(fields=["handoff"], name="bundlecheck_failed", condition=Q(outcome="FAILED"))]

    def __str__(self) -> str:
        return f"{self.code} {self.outcome}"

    @property
    def is_unchecked(self) -> bool:
        """A failure for want of something to look at, not for what was found."""
        return self.outcome == Outcome.FAILED.value and self.got.startswith(NOT_CHECKED)
