"""Rows of the builder and enforcer lanes: repositories, handoffs, checks, signatures, pull requests."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.models import LogEntry, Principal
from handoffs.evidence import NOT_CHECKED, Outcome

HEX_COMMIT = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
HEX_SHA256 = r"^[0-9a-f]{64}$"
MAX_ATTEMPTS = 5


class HandoffError(Exception):
    """A refusal in the builder or enforcer lane. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


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

    def release(self, pk: int, attempt: int, *, error: str = "", retry_in: timedelta | None = None) -> None:
        """Give the lease back; after a failure say when to try again. A fenced-off run changes nothing."""
        moment = Now() + retry_in if retry_in else None
        row = self.filter(pk=pk, attempts=attempt)
        if error:
            row.update(lease_until=None, next_try_at=moment, error=error[:2000])
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
        """Rows that still have work. Each kind of row says which."""
        raise NotImplementedError


class Repository(models.Model):
    """A repository under the portal's protection."""

    class Forge(models.TextChoices):
        LOCAL_GIT = "localgit"

    full_name = models.CharField(max_length=200, unique=True, db_comment="owner/name")
    forge = models.CharField(max_length=10, choices=Forge, default=Forge.LOCAL_GIT)
    path = models.CharField(max_length=500, unique=True, db_comment="of the bare repository on disk")
    protected_branch = models.CharField(max_length=200, default="main")
    next_number = models.PositiveIntegerField(default=1, db_comment="of the next pull request")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.full_name


class Status(models.TextChoices):
    """Where a handoff stands in the enforcer lane."""

    RECEIVED = "received"
    VERIFIED = "verified"
    SIGNED = "signed"
    APPLIED = "applied"
    OPENED = "opened"
    TRIGGERED = "triggered"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


TRANSITIONS: dict[str, frozenset[str]] = {
    Status.RECEIVED: frozenset({Status.VERIFIED, Status.REFUSED, Status.SUPERSEDED}),
    Status.VERIFIED: frozenset({Status.SIGNED, Status.SUPERSEDED}),
    Status.SIGNED: frozenset({Status.APPLIED, Status.REFUSED, Status.SUPERSEDED}),
    Status.APPLIED: frozenset({Status.OPENED, Status.REFUSED, Status.SUPERSEDED}),
    Status.OPENED: frozenset({Status.TRIGGERED, Status.SUPERSEDED}),
    Status.TRIGGERED: frozenset({Status.SUPERSEDED}),
    Status.REFUSED: frozenset(),
    Status.SUPERSEDED: frozenset(),
}
WORKING = (Status.RECEIVED, Status.VERIFIED, Status.SIGNED, Status.APPLIED)


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
        return rows.fetch_mode(models.FETCH_RAISE)


class Handoff(models.Model):
    """One bundle's way through the enforcer lane. Its row is the queue of its steps."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="handoffs")
    status = models.CharField(max_length=10, choices=Status, default=Status.RECEIVED)
    staging_branch = models.CharField(max_length=200)
    staging_commit = models.CharField(max_length=64)
    marker_digest = models.CharField(max_length=64, blank=True, db_comment="as the marker claims; proof is digest")
    digest = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of artifact.tar.gz as read")
    size_bytes = models.PositiveIntegerField(default=0)
    title = models.CharField(max_length=200, blank=True)
    prd_id = models.CharField(max_length=100, blank=True)
    merge_base = models.CharField(max_length=64, blank=True)
    result_tree = models.CharField(max_length=64, blank=True)
    patch_digest = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of changes.patch")
    change_digest = models.CharField(
        max_length=64, blank=True, db_index=True, db_comment="of the added and removed lines, whatever their place"
    )
    control_plane_paths = models.JSONField(default=list)
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

    objects = HandoffQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "staging_commit"], name="handoff_one_per_commit"),
            models.UniqueConstraint(
                fields=["repository", "digest"],
                name="handoff_one_per_digest",
                condition=~Q(digest="") & ~Q(status__in=[Status.REFUSED, Status.SUPERSEDED]),
            ),
            models.CheckConstraint(name="handoff_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(name="handoff_digest_hex", condition=Q(digest="") | Q(digest__regex=HEX_SHA256)),
            models.CheckConstraint(
                name="handoff_beyond_received_has_digest",
                condition=Q(status__in=[Status.RECEIVED, Status.REFUSED, Status.SUPERSEDED]) | ~Q(digest=""),
            ),
            models.CheckConstraint(
                name="handoff_applied_has_commit",
                condition=~Q(status__in=[Status.APPLIED, Status.OPENED, Status.TRIGGERED]) | ~Q(applied_commit=""),
            ),
        ]
        indexes = [
            models.Index(fields=["received_at"], name="handoff_open", condition=Q(status__in=WORKING)),
            models.Index(fields=["repository", "patch_digest"], name="handoff_by_patch"),
        ]

    def __str__(self) -> str:
        return f"H-{self.pk}"


class HandoffEvent(models.Model):
    """SOP 7.2: handoff events. Append-only; one row for every step, with who did it in which role."""

    handoff = models.ForeignKey(Handoff, models.PROTECT, related_name="events")
    event = models.CharField(max_length=60)
    actor = models.CharField(max_length=100)
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


class SigningKey(models.Model):
    """An OpenPGP key of the enforcer lane. The secret half is encrypted at rest (Fernet, key from settings)."""

    fingerprint = models.CharField(max_length=64, unique=True, db_comment="full primary fingerprint, upper-case hex")
    user_id = models.CharField(max_length=200)
    public_key = models.TextField(db_comment="ASCII-armoured certificate")
    secret_key = models.BinaryField(db_comment="encrypted; never exported")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="signingkey_at_most_30_days",
                condition=Q(expires_at__lte=models.F("created_at") + timedelta(days=30)),
            )
        ]

    def __str__(self) -> str:
        return self.fingerprint

    def is_active_at(self, moment: datetime) -> bool:
        """Whether a new signature may be made with this key."""
        return self.revoked_at is None and self.created_at <= moment < self.expires_at


class Signature(models.Model):
    """The enforcer's signature over artifact.tar.gz and its statement of what it verified. Append-only, one each."""

    class Transparency(models.TextChoices):
        PENDING = "pending-transparency"
        LOGGED = "logged"

    handoff = models.OneToOneField(Handoff, models.PROTECT, related_name="signature")
    key = models.ForeignKey(SigningKey, models.PROTECT, related_name="signatures")
    digest = models.CharField(max_length=64, db_comment="SHA-256 of what was signed")
    signature = models.TextField(db_comment="ASCII-armoured detached OpenPGP signature of artifact.tar.gz")
    envelope = models.BinaryField(db_comment="DSSE envelope around the portal's own in-toto Statement v1")
    transparency = models.CharField(max_length=20, choices=Transparency, default=Transparency.PENDING)
    signed_at = models.DateTimeField()

    class Meta:
        db_table = "leo_signature"

    def __str__(self) -> str:
        return f"signature of {self.handoff_id}"


class RefIntent(models.Model):
    """A ref update the portal means to make: the forge's hook lets exactly this one through. Append-only."""

    repository = models.ForeignKey(Repository, models.PROTECT)
    ref = models.CharField(max_length=300)
    old = models.CharField(max_length=64, db_comment="all zeros to create")
    new = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = models.ForeignKey(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_ref_intent"
        constraints = [models.UniqueConstraint(fields=["repository", "ref", "old", "new"], name="refintent_once")]

    def __str__(self) -> str:
        return f"{self.ref} to {self.new}"


class PullStatus(models.TextChoices):
    """Where a pull request stands; the label of product section 5 follows from it."""

    GATES_PASSING = "gates-passing"
    READY_TO_MERGE = "ready-to-merge"
    NEEDS_REVISION = "needs-revision"
    LEAD_REVIEW = "lead-review"
    MERGED = "merged"
    SUPERSEDED = "superseded"


# A merge that landed is a fact: whatever happened to the row while it was pushed, the row becomes MERGED.
PULL_TRANSITIONS: dict[str, frozenset[str]] = {
    PullStatus.GATES_PASSING: frozenset(
        {
            PullStatus.READY_TO_MERGE,
            PullStatus.NEEDS_REVISION,
            PullStatus.LEAD_REVIEW,
            PullStatus.SUPERSEDED,
            PullStatus.MERGED,
        }
    ),
    PullStatus.READY_TO_MERGE: frozenset(
        {
            PullStatus.MERGED,
            PullStatus.GATES_PASSING,
            PullStatus.NEEDS_REVISION,
            PullStatus.LEAD_REVIEW,
            PullStatus.SUPERSEDED,
        }
    ),
    PullStatus.NEEDS_REVISION: frozenset(
        {PullStatus.SUPERSEDED, PullStatus.GATES_PASSING, PullStatus.LEAD_REVIEW, PullStatus.MERGED}
    ),
    PullStatus.LEAD_REVIEW: frozenset(
        {
            PullStatus.READY_TO_MERGE,
            PullStatus.NEEDS_REVISION,
            PullStatus.GATES_PASSING,
            PullStatus.SUPERSEDED,
            PullStatus.MERGED,
        }
    ),
    PullStatus.MERGED: frozenset(),
    PullStatus.SUPERSEDED: frozenset(),
}
PULL_OPEN = (
    PullStatus.GATES_PASSING,
    PullStatus.READY_TO_MERGE,
    PullStatus.NEEDS_REVISION,
    PullStatus.LEAD_REVIEW,
)


class PullRequestQuerySet(models.QuerySet["PullRequest"]):
    """Reads of pull requests, and the one way to move their status."""

    def move(self, pk: int, *, old: PullStatus, new: PullStatus, **changes: object) -> None:
        """Compare-and-set. Raises StaleStatusError unless exactly this row still had `old`."""
        if new not in PULL_TRANSITIONS[old]:
            raise ValueError(f"no transition from {old} to {new}")
        if self.filter(pk=pk, status=old).update(status=new, moved_at=Now(), **changes) != 1:
            raise StaleStatusError(f"pull request {pk} is no longer {old}")

    def is_open(self) -> Self:
        """Not merged and not superseded."""
        return self.filter(status__in=PULL_OPEN)

    def waiting_for_plan(self) -> Self:
        """What needs PLAN: no verdict for this head yet. Nearest deadline first, then the oldest."""
        return self.filter(status=PullStatus.GATES_PASSING).order_by("deadline_at", "pk")

    def waiting_for_lead(self) -> Self:
        """What PLAN escalated, oldest first."""
        return self.filter(status=PullStatus.LEAD_REVIEW).order_by("moved_at", "pk")

    def for_list(self) -> Self:
        """Everything a list shows; templates cannot query further."""
        rows = self.select_related("repository", "handoff", "handoff__builder")
        return rows.fetch_mode(models.FETCH_RAISE)


class PullRequest(models.Model):
    """A pull request the enforcer opened for a handoff."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="pull_requests")
    number = models.PositiveIntegerField()
    handoff = models.OneToOneField(Handoff, models.PROTECT, related_name="pull_request")
    title = models.CharField(max_length=200)
    body = models.TextField()
    base_ref = models.CharField(max_length=200)
    base_sha = models.CharField(max_length=64, db_comment="of the protected branch when the head was last judged")
    head_ref = models.CharField(max_length=200)
    head_sha = models.CharField(max_length=64)
    merge_tree = models.CharField(max_length=64, db_comment="tree of head merged into base; what a verdict binds to")
    status = models.CharField(max_length=14, choices=PullStatus, default=PullStatus.GATES_PASSING)
    round = models.PositiveSmallIntegerField(default=1, db_comment="of verification on this head, at most 3")
    opened_at = models.DateTimeField()
    moved_at = models.DateTimeField()
    triggered_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(
        null=True, db_comment="gates are due; SOP 6.2: 4 hours after they were triggered"
    )
    timed_out_at = models.DateTimeField(null=True)
    merge_sha = models.CharField(max_length=64, blank=True)
    merged_at = models.DateTimeField(null=True)

    objects = PullRequestQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "number"], name="pullrequest_number_once"),
            models.CheckConstraint(name="pullrequest_status_known", condition=Q(status__in=PullStatus.values)),
            models.CheckConstraint(name="pullrequest_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(
                name="pullrequest_merged_has_commit", condition=~Q(status=PullStatus.MERGED) | ~Q(merge_sha="")
            ),
        ]
        indexes = [
            models.Index(fields=["deadline_at"], name="pull_open", condition=Q(status__in=PULL_OPEN)),
            models.Index(fields=["repository", "head_ref"], name="pull_by_head_ref"),
            models.Index(fields=["status", "-id"], name="pull_by_status"),
        ]

    def __str__(self) -> str:
        return f"PR-{self.number}"

    @property
    def label(self) -> str:
        """The one state label of this pull request. Source: SOP section 3, product section 5."""
        return self.status if self.triggered_at else "claude-enforcing"


class PushRefusal(models.Model):
    """A push that the forge's hook refused and reported, written by the hook's own login; the sweep logs it."""

    repository_path = models.CharField(max_length=500)
    ref = models.CharField(max_length=300)
    old = models.CharField(max_length=64)
    new = models.CharField(max_length=64)
    code = models.CharField(max_length=60)
    created_at = models.DateTimeField(db_default=Now())
    log_entry = models.OneToOneField(LogEntry, models.PROTECT, null=True)

    class Meta:
        db_table = "leo_push_refusal"
        indexes = [models.Index(fields=["id"], name="pushrefusal_unlogged", condition=Q(log_entry=None))]

    def __str__(self) -> str:
        return f"{self.code} {self.ref}"
