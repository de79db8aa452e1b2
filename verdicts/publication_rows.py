"""Rows of what leo-gate publishes: what a check run is about to say, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from audit.models import named_entry
from handoffs.models import HEX_COMMIT, HEX_SHA256, Repository

SATISFYING = ("success", "neutral", "skipped")


class CheckPublicationQuerySet(models.QuerySet["CheckPublication"]):
    """Reads of what was published."""

    def newest(self, repository_id: int, sha: str) -> Mapping[str, CheckPublication]:
        """The newest row of each check run on one commit."""
        rows = self.filter(repository=repository_id, head_sha=sha).order_by("context", "-pk")
        return {row.context: row for row in rows.distinct("context")}

    def unsettled(self) -> Self:
        """What GitHub may show as passed, of commits that are not merged: newest rows only, of Gate 3."""
        newer = CheckPublication.objects.filter(
            repository=models.OuterRef("repository"),
            head_sha=models.OuterRef("head_sha"),
            context=models.OuterRef("context"),
            pk__gt=models.OuterRef("pk"),
        )
        maybe = Q(conclusion__in=SATISFYING, settled_at=None) | Q(published_at=None, settled_at=None)
        return self.filter(maybe, ~models.Exists(newer), is_own=True)


class CheckPublication(models.Model):
    """What one check run is about to say. Written before GitHub is told; `published_at` is GitHub's answer.

    A row without it may have reached GitHub or not: the run is looked up before anything is written again. The database
    takes no success of Gate 3 whose causes are not the entries of a PASS or an approval that a checkpoint covers.
    """

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="+")
    pull_number = models.PositiveIntegerField(db_comment="GitHub's; 0 for a merge group and for a head of no one")
    is_group = models.BooleanField(default=False, db_comment="the commit is that of a merge group")
    head_sha = models.CharField(max_length=64)
    context = models.CharField(max_length=100, db_comment="name of the check run")
    is_own = models.BooleanField(db_comment="Gate 3, PLAN's own")
    status = models.CharField(max_length=11)
    conclusion = models.CharField(max_length=15, blank=True)
    title = models.CharField(max_length=200)
    digest = models.CharField(max_length=64, db_comment="SHA-256 of everything that it says")
    causes = ArrayField(models.BigIntegerField(), default=list, db_comment="entries that a success of Gate 3 rests on")
    created_at = models.DateTimeField(auto_now_add=True)
    run_number = models.BigIntegerField(null=True, db_comment="GitHub's number of the check run")
    published_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True, db_comment="taken back in the same breath: the head had moved")
    settled_at = models.DateTimeField(null=True, db_comment="merged: what it said stays")
    log_entry = named_entry("that it was about to be said")

    objects = CheckPublicationQuerySet.as_manager()

    class Meta:
        db_table = "leo_check_publication"
        constraints = [
            models.CheckConstraint(name="publication_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(name="publication_digest_hex", condition=Q(digest__regex=HEX_SHA256)),
            models.CheckConstraint(
                name="publication_completed_has_conclusion",
                condition=Q(status="completed") & ~Q(conclusion="")
                | Q(status__in=("queued", "in_progress"), conclusion=""),
            ),
            models.CheckConstraint(
                name="publication_release_has_cause",
                condition=~Q(is_own=True, conclusion__in=SATISFYING) | Q(causes__len__gt=0),
            ),
        ]
        indexes = [models.Index(fields=["repository", "head_sha", "context", "-id"], name="publication_newest")]

    def __str__(self) -> str:
        return f"{self.context} on {self.head_sha[:12]}: {self.conclusion or self.status}"

    @property
    def is_certain(self) -> bool:
        """Whether GitHub said that it has it, and nothing was taken back since."""
        return self.published_at is not None and self.withdrawn_at is None
