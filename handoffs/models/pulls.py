"""Pull requests, and the updates of refs that the forge's hook lets through or refused."""

from __future__ import annotations

from typing import Final, Self

from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Now

from audit.models import LogEntry
from handoffs.models.handoff import Handoff, Repository
from handoffs.models.work import HEX_COMMIT, StaleStatusError


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
    CLOSED = "closed"


# A merge that landed is a fact: whatever happened to the row while it was pushed, the row becomes MERGED.
PULL_TRANSITIONS: dict[str, frozenset[str]] = {
    PullStatus.GATES_PASSING: frozenset(
        {
            PullStatus.READY_TO_MERGE,
            PullStatus.NEEDS_REVISION,
            PullStatus.LEAD_REVIEW,
            PullStatus.CLOSED,
            PullStatus.MERGED,
        }
    ),
    PullStatus.READY_TO_MERGE: frozenset(
        {
            PullStatus.MERGED,
            PullStatus.GATES_PASSING,
            PullStatus.NEEDS_REVISION,
            PullStatus.LEAD_REVIEW,
            PullStatus.CLOSED,
        }
    ),
    PullStatus.NEEDS_REVISION: frozenset({PullStatus.CLOSED, PullStatus.GATES_PASSING, PullStatus.MERGED}),
    PullStatus.LEAD_REVIEW: frozenset(
        {
            PullStatus.READY_TO_MERGE,
            PullStatus.NEEDS_REVISION,
            PullStatus.GATES_PASSING,
            PullStatus.CLOSED,
            PullStatus.MERGED,
        }
    ),
    PullStatus.MERGED: frozenset(),
    PullStatus.CLOSED: frozenset({PullStatus.GATES_PASSING, PullStatus.NEEDS_REVISION, PullStatus.MERGED}),
}


PULL_OPEN = (
    PullStatus.GATES_PASSING,
    PullStatus.READY_TO_MERGE,
    PullStatus.NEEDS_REVISION,
    PullStatus.LEAD_REVIEW,
)


MAX_COUNTED: Final = 1000
# NULL is no limit. Counting stops early, because what is merged or closed grows for ever.
_COUNTS: Final = """
SELECT wanted, (SELECT count(*) FROM (
    SELECT FROM handoffs_pullrequest WHERE status = wanted LIMIT CASE WHEN wanted = %s THEN NULL ELSE %s END
) AS counted) FROM unnest(%s::text[]) AS wanted
"""


class PullRequestQuerySet(models.QuerySet["PullRequest"]):
    """Reads of pull requests, and the one way to move their status."""

    def move(self, pk: int, *, old: PullStatus, new: PullStatus, **changes: object) -> None:
        """Compare-and-set. Raises StaleStatusError unless exactly this row still had `old`."""
        if new not in PULL_TRANSITIONS[old]:
            raise ValueError(f"no transition from {old} to {new}")
        if self.filter(pk=pk, status=old).update(status=new, moved_at=Now(), **changes) != 1:
            raise StaleStatusError(f"pull request {pk} is no longer {old}")

    def is_open(self) -> Self:
        """Not merged and not closed."""
        return self.filter(status__in=PULL_OPEN)

    def count_by_status(self, *, exactly: str = "") -> dict[str, str]:
        """How many are in each status, as a list says it: beyond a thousand `1000+`, but for the one asked for."""
        with connection.cursor() as cursor:
            cursor.execute(_COUNTS, [exactly, MAX_COUNTED + 1, PullStatus.values])
            counted = dict(cursor.fetchall())
        return {
            status: f"{MAX_COUNTED}+" if number == MAX_COUNTED + 1 and status != exactly else str(number)
            for status, number in counted.items()
        }

    def waiting_for_plan(self) -> Self:
        """What needs PLAN: no verdict for this head yet. Nearest deadline first, then the oldest."""
        return self.filter(status=PullStatus.GATES_PASSING).order_by("deadline_at", "pk")

    def waiting_for_lead(self) -> Self:
        """What PLAN escalated, oldest first."""
        return self.filter(status=PullStatus.LEAD_REVIEW).order_by("moved_at", "pk")

    def for_list(self) -> Self:
        """Everything a list shows; templates cannot query further."""
        rows = self.select_related("repository", "handoff", "handoff__builder").defer("handoff__component_delta")
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
