"""What was asked of GitHub and what it said: workflow runs, and pull requests as last read. Facts, no state."""

from __future__ import annotations

import uuid
from typing import Self

from django.db import models
from django.db.models import Q

from audit.models import named_entry
from handoffs.models.handoff import Repository
from handoffs.models.pulls import PullRequest
from handoffs.models.work import HEX_COMMIT


def new_intent() -> str:
    """A name for one dispatch: given to GitHub with it, so that its run is known again."""
    return f"leo-{uuid.uuid4().hex}"


class WorkflowRunQuerySet(models.QuerySet["WorkflowRun"]):
    """Reads of workflow runs."""

    def current(self) -> Self:
        """Those of the head that is being verified, triggered the last time."""
        newest = WorkflowRun.objects.filter(pull_request=models.OuterRef("pull_request")).order_by("-run")
        return self.filter(
            run=models.Subquery(newest.values("run")[:1]),
            head_sha=models.F("pull_request__head_sha"),
            pull_request__triggered_at__isnull=False,
        )

    def unfinished(self) -> Self:
        """Not dispatched yet, or not seen to have ended."""
        return self.exclude(status="completed")


class WorkflowRun(models.Model):
    """A workflow that is to run on a head, and the run that came of it. The row is there before anything is asked."""

    pull_request = models.ForeignKey(PullRequest, models.PROTECT, related_name="workflow_runs")
    head_sha = models.CharField(max_length=64)
    run = models.PositiveSmallIntegerField(db_comment="grows each time the workflows are triggered")
    workflow = models.CharField(max_length=200, db_comment="path of the file in the repository")
    intent = models.CharField(max_length=40, unique=True, default=new_intent, db_comment="its input, and in its title")
    created_at = models.DateTimeField(auto_now_add=True)
    tried_at = models.DateTimeField(null=True, db_comment="when GitHub was last about to be asked for it")
    remote_id = models.BigIntegerField(null=True, unique=True, db_comment="GitHub's number of the run")
    attempt = models.PositiveIntegerField(default=0, db_comment="as GitHub counts re-runs")
    status = models.CharField(max_length=20, blank=True, db_comment="in GitHub's word")
    conclusion = models.CharField(max_length=20, blank=True, db_comment="in GitHub's word, once it is completed")
    problem = models.CharField(max_length=60, blank=True, db_comment="code of why the run is not the one asked for")
    seen_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_comment="why it could not be dispatched")
    log_entry = named_entry("that it was triggered")

    objects = WorkflowRunQuerySet.as_manager()

    class Meta:
        db_table = "leo_workflow_run"
        constraints = [
            models.UniqueConstraint(fields=["pull_request", "head_sha", "run", "workflow"], name="workflowrun_once"),
            models.CheckConstraint(name="workflowrun_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(
                name="workflowrun_ended_has_run", condition=~Q(status="completed") | Q(remote_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.workflow} on {self.head_sha[:12]}"

    @property
    def is_done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.status == "completed"


class RemotePull(models.Model):
    """A pull request as GitHub last showed it, also those that no handoff is behind. Nothing follows from its words."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="remote_pulls")
    number = models.PositiveIntegerField()
    head_sha = models.CharField(max_length=64)
    head_repository = models.BigIntegerField(default=0, db_comment="GitHub's number; 0: it is gone")
    base_ref = models.CharField(max_length=255)
    author = models.BigIntegerField(db_comment="GitHub's number of the account; 0: it is gone")
    is_open = models.BooleanField()
    merge_sha = models.CharField(max_length=64, blank=True, db_comment="once it is merged")
    merged_at = models.DateTimeField(null=True, db_comment="by GitHub's clock, in whole seconds")
    has_marker = models.BooleanField(default=False, db_comment="its words hold a marker of ours; it means nothing")
    merge_refusal = models.TextField(blank=True, db_comment="what GitHub said when it was last asked to merge it")
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "leo_remote_pull"
        constraints = [
            models.UniqueConstraint(fields=["repository", "number"], name="remotepull_once"),
            models.CheckConstraint(name="remotepull_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
        ]

    def __str__(self) -> str:
        return f"#{self.number}"
