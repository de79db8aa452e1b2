"""Rows of break-glass: who asked, who opened with them, until when, and the review that has to follow."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q

from audit.models import ErasableText, Principal, end_is_named, named_entry
from handoffs.models import PullRequest


class BreakGlassQuerySet(models.QuerySet["BreakGlass"]):
    """Reads of break-glass."""

    def unreviewed(self) -> Self:
        """Opened, and nobody has looked at it yet: at most one, and it blocks the next."""
        return self.filter(is_unreviewed=True)

    def with_names(self) -> Self:
        """With everything a page names."""
        people = ("requested_by", "second", "reviewed_by", "reason", "review")
        return self.select_related("pull_request__repository", "pull_request__handoff", *people)


class BreakGlass(models.Model):
    """Two people release one head of one pull request for 60 minutes, past the gates; somebody else reviews it."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="break_glass")
    head_sha = models.CharField(max_length=64)
    merge_tree = models.CharField(max_length=64)
    reason = models.ForeignKey(ErasableText, models.PROTECT, related_name="+")
    reference = models.CharField(max_length=200)
    requested_by = models.ForeignKey(Principal, models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    lapses_at = models.DateTimeField(db_comment="a second person opens it until then, or nobody does")
    second = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    opened_at = models.DateTimeField(null=True)
    closes_at = models.DateTimeField(null=True)
    review_due_at = models.DateTimeField(null=True)
    decision = models.OneToOneField("verdicts.Decision", models.PROTECT, null=True, related_name="break_glass")
    is_unreviewed = models.BooleanField(default=False)
    reviewed_by = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    reviewed_at = models.DateTimeField(null=True)
    review = models.ForeignKey(ErasableText, models.PROTECT, null=True, related_name="+")
    log_entry = named_entry("that it was asked for")
    open_entry = named_entry("that it was opened", null=True)
    review_entry = named_entry("that it was reviewed", null=True)

    objects = BreakGlassQuerySet.as_manager()

    class Meta:
        db_table = "leo_break_glass"
        constraints = [
            end_is_named("breakglass_opening_is_named", "opened_at", "open_entry"),
            end_is_named("breakglass_review_is_named", "reviewed_at", "review_entry"),
            models.UniqueConstraint(
                fields=["is_unreviewed"], condition=Q(is_unreviewed=True), name="breakglass_one_unreviewed"
            ),
            models.CheckConstraint(
                name="breakglass_opened_by_two",
                condition=Q(opened_at=None, second=None, decision=None, closes_at=None, review_due_at=None)
                | (
                    Q(opened_at__lte=F("lapses_at"), closes_at__gt=F("opened_at"), review_due_at__gt=F("opened_at"))
                    & Q(second__isnull=False, decision__isnull=False)
                    & ~Q(second=F("requested_by"))
                ),
            ),
            models.CheckConstraint(
                name="breakglass_reviewed_by_a_third",
                condition=Q(reviewed_at=None, reviewed_by=None, review=None)
                | (
                    Q(
                        reviewed_at__isnull=False,
                        reviewed_by__isnull=False,
                        review__isnull=False,
                        opened_at__isnull=False,
                    )
                    & ~Q(reviewed_by=F("requested_by"))
                    & ~Q(reviewed_by=F("second"))
                ),
            ),
            models.CheckConstraint(
                name="breakglass_unreviewed_means_it",
                condition=Q(is_unreviewed=True, opened_at__isnull=False, reviewed_at=None)
                | Q(is_unreviewed=False, opened_at=None)
                | Q(is_unreviewed=False, reviewed_at__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["-id"], name="breakglass_newest")]

    def __str__(self) -> str:
        return f"break-glass {self.pk}"
