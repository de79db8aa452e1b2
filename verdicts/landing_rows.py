"""Rows of what landed on protected branches: each commit in its class, for good."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from audit.models import named_entry
from handoffs.models import HEX_COMMIT, PullRequest, Repository


class LandedClass(models.TextChoices):
    """How a commit on a protected branch came there."""

    PASS = "PASS"  # noqa: S105  a verdict
    OVERRIDE = "OVERRIDE"
    BREAK_GLASS = "BREAK-GLASS"
    BYPASS = "BYPASS"
    PRE_ENROLMENT = "PRE-ENROLMENT"


RELEASED = (LandedClass.PASS, LandedClass.OVERRIDE, LandedClass.BREAK_GLASS)


class LandedCommit(models.Model):
    """One commit of a protected branch since it was enrolled. Append-only; what a merge brought along has rows, too."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="landed")
    commit = models.CharField(max_length=64)
    tree = models.CharField(max_length=64)
    head_sha = models.CharField(max_length=64, blank=True, db_comment="of the pull request that it merged")
    base_sha = models.CharField(max_length=64, blank=True, db_comment="its first parent")
    kind = models.CharField(max_length=13, choices=LandedClass)
    code = models.CharField(max_length=40, blank=True, db_comment="why it is a BYPASS")
    is_brought = models.BooleanField(default=False, db_comment="came with the merge of the same entry")
    pull_request = models.ForeignKey(PullRequest, models.PROTECT, null=True, related_name="landed")
    pull_number = models.PositiveIntegerField(default=0, db_comment="GitHub's, also of one without a handoff; 0: none")
    merged_at = models.DateTimeField(null=True, db_comment="by GitHub's clock, if it merged it")
    seen_at = models.DateTimeField(auto_now_add=True)
    log_entry = named_entry("of its class")

    class Meta:
        db_table = "leo_landed_commit"
        constraints = [
            models.UniqueConstraint(fields=["repository", "commit", "code"], name="landed_once"),
            models.CheckConstraint(name="landed_kind_known", condition=Q(kind__in=LandedClass.values)),
            models.CheckConstraint(name="landed_commit_hex", condition=Q(commit__regex=HEX_COMMIT)),
            models.CheckConstraint(
                name="landed_bypass_says_why",
                condition=(Q(kind="BYPASS") & ~Q(code="")) | (~Q(kind="BYPASS") & Q(code="")),
            ),
            models.CheckConstraint(
                name="landed_released_has_pull",
                condition=Q(kind__in=["BYPASS", "PRE-ENROLMENT"]) | Q(pull_request__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["repository", "-id"], name="landed_newest")]

    def __str__(self) -> str:
        return f"{self.commit[:12]}: {self.kind}"

    @property
    def is_released(self) -> bool:
        """Whether the portal let it land."""
        return self.kind in RELEASED
