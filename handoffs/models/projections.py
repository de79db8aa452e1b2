"""Rows of what the portal shows on GitHub: labels, the status comment, short comments, and what was tampered with.

None of it is authority for anything. What should be shown is written by the verifier's lane, which sees gates and
verdicts; the enforcer's, which sees neither, makes GitHub show it and notes what it left there.
"""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q

from audit.models import ErasableText, Principal, end_is_named, named_entry
from handoffs.models.handoff import Repository
from handoffs.models.hooks import GitHubRequest
from handoffs.models.pulls import PULL_OPEN, PullRequest
from handoffs.models.work import HEX_SHA256, WorkQuerySet

DIGEST_OR_NONE = r"^([0-9a-f]{64})?$"


class ProjectionQuerySet(WorkQuerySet["Projection"]):
    """Projections as a queue."""

    def open(self) -> Self:
        """Of open pull requests, and what an ended one still has to show."""
        is_new = ~Q(digest=F("applied_digest"))
        return self.filter(Q(pull_request__status__in=PULL_OPEN) | is_new)


class Projection(models.Model):
    """What GitHub shows of one pull request: the labels that are the portal's, and the one status comment."""

    pull_request = models.OneToOneField(PullRequest, models.PROTECT, related_name="projection")
    labels = models.JSONField(db_comment="the portal's labels that it should have, sorted")
    body = models.TextField(db_comment="of the status comment, Markdown")
    digest = models.CharField(max_length=64, db_comment="SHA-256 of labels and body")
    composed_at = models.DateTimeField()
    comment_id = models.BigIntegerField(default=0, db_comment="GitHub's; 0: not made yet")
    etag = models.CharField(max_length=200, blank=True, db_comment="of the comment as it was left")
    applied_labels = models.JSONField(default=list, db_comment="as they were left")
    applied_body = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of the comment as it was left")
    applied_digest = models.CharField(max_length=64, blank=True, db_comment="the digest of what GitHub shows")
    looked_at = models.DateTimeField(null=True, db_comment="when GitHub was last compared with it")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    objects = ProjectionQuerySet.as_manager()

    class Meta:
        db_table = "leo_github_projection"
        constraints = [
            models.CheckConstraint(name="projection_digest_hex", condition=Q(digest__regex=HEX_SHA256)),
            models.CheckConstraint(name="projection_applied_hex", condition=Q(applied_digest__regex=DIGEST_OR_NONE)),
        ]

    def __str__(self) -> str:
        return f"what GitHub shows of {self.pull_request}"


class NoticeQuerySet(WorkQuerySet["Notice"]):
    """Short comments as a queue."""

    def open(self) -> Self:
        """Not on GitHub yet."""
        return self.filter(comment_id=0)


class Notice(models.Model):
    """One short comment: made once, found by its key and our App as its author, never changed."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="notices")
    key = models.CharField(max_length=120, db_comment="what it is about; in the comment's hidden marker")
    body = models.TextField(db_comment="Markdown, without anybody's name")
    created_at = models.DateTimeField(auto_now_add=True)
    comment_id = models.BigIntegerField(default=0, db_comment="GitHub's; 0: not made yet")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    objects = NoticeQuerySet.as_manager()

    class Meta:
        db_table = "leo_github_notice"
        constraints = [models.UniqueConstraint(fields=["pull_request", "key"], name="notice_once")]
        indexes = [models.Index(fields=["id"], name="notice_open", condition=Q(comment_id=0))]

    def __str__(self) -> str:
        return self.key


class Tampering(models.Model):
    """Something done on GitHub that means nothing here, put on record once. Append-only.

    `key` is the same whenever the same thing is seen again. `github_id` 0: GitHub's API does not say who it was.
    """

    class What(models.TextChoices):
        LABELS = "labels"
        COMMENT = "comment"
        MARKER = "marker"

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="tamperings")
    pull_number = models.PositiveIntegerField(db_comment="0: about no pull request")
    what = models.CharField(max_length=7, choices=What)
    key = models.CharField(max_length=200)
    github_id = models.BigIntegerField(db_comment="GitHub's number of the account; 0: not known")
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = named_entry("that it was seen")

    class Meta:
        db_table = "leo_github_tampering"
        constraints = [
            models.UniqueConstraint(fields=["repository", "what", "key"], name="tampering_once"),
            models.CheckConstraint(name="tampering_what_known", condition=Q(what__in=["labels", "comment", "marker"])),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.key}"


class GitHubCommand(models.Model):
    """What a registered person asked for on GitHub, once the comment was read again: for the verifier's lane to do.

    The enforcer's lane writes what was asked and by whom, the verifier's what came of it, and the enforcer's tells it.
    """

    class Outcome(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        REFUSED = "refused"

    request = models.OneToOneField(GitHubRequest, models.PROTECT, related_name="command")
    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="commands")
    principal = models.ForeignKey(Principal, models.PROTECT, related_name="+")
    verb = models.CharField(max_length=10)
    argument = models.CharField(max_length=300, blank=True, db_comment="a gate")
    question = models.ForeignKey(
        ErasableText, models.PROTECT, null=True, related_name="+", db_comment="to LEAD, as its author wrote it"
    )
    head_sha = models.CharField(max_length=64, blank=True, db_comment="that a button was pressed on")
    created_at = models.DateTimeField(auto_now_add=True)
    outcome = models.CharField(max_length=7, choices=Outcome, default=Outcome.WAITING)
    code = models.CharField(max_length=60, blank=True)
    answer = models.TextField(blank=True, db_comment="Markdown for GitHub, without anybody's name")
    done_at = models.DateTimeField(null=True)
    log_entry = named_entry("what came of it", null=True)

    class Meta:
        db_table = "leo_github_command"
        constraints = [
            end_is_named("githubcommand_outcome_is_named", "done_at", "log_entry"),
            models.CheckConstraint(
                name="githubcommand_outcome_known", condition=Q(outcome__in=["waiting", "done", "refused"])
            ),
        ]
        indexes = [models.Index(fields=["id"], name="githubcommand_open", condition=Q(outcome="waiting"))]

    def __str__(self) -> str:
        return f"/leo-{self.verb}"
