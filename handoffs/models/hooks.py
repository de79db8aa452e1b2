"""What GitHub told the portal: webhook deliveries, what somebody asked for, and what workflow runs sent.

None of it is state: a delivery says where to look, a request is judged by who reads it, and a run's evidence counts
only together with what the API says about that run.
"""

from __future__ import annotations

from typing import Any, Final, Self

import psycopg
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.models import named_entry
from handoffs.github.admission import Taken
from handoffs.github.events import MAX_TEXT, AskedKind
from handoffs.models.handoff import Repository
from handoffs.models.work import HEX_COMMIT, HEX_SHA256, WorkQuerySet


class GitHubApp(models.TextChoices):
    """Which of the two Apps a delivery came to."""

    ENFORCER = "enforcer"
    GATE = "gate"


class DeliveryStatus(models.TextChoices):
    """Where a delivery stands. Everything but STORED is an end."""

    STORED = "stored"
    DONE = Taken.DONE.value
    IGNORED = Taken.IGNORED.value
    REFUSED = Taken.REFUSED.value
    FAILED = "failed"


STORE: Final = """
INSERT INTO leo_webhook_delivery (app, delivery_id, event, body) VALUES (%s, %s, %s, %b)
ON CONFLICT (app, delivery_id) DO NOTHING
"""


class DeliveryQuerySet(WorkQuerySet["WebhookDelivery"]):
    """Deliveries as a queue."""

    def open(self) -> Self:
        """Stored and not processed."""
        return self.filter(status=DeliveryStatus.STORED)


class WebhookDelivery(models.Model):
    """One delivery whose signature was right. Its body is kept until it is processed and then erased."""

    app = models.CharField(max_length=8, choices=GitHubApp)
    delivery_id = models.CharField(max_length=64, db_comment="GitHub's X-GitHub-Delivery; a redelivery has the same")
    event = models.CharField(max_length=60, db_comment="X-GitHub-Event; the signature does not cover it")
    body = models.BinaryField(null=True, db_comment="the signed bytes; null once processed")
    received_at = models.DateTimeField(db_default=Now())
    action = models.CharField(max_length=60, db_default="")
    repository_id = models.BigIntegerField(db_default=0, db_comment="GitHub's number; 0 if the event names none")
    status = models.CharField(max_length=8, choices=DeliveryStatus, db_default=DeliveryStatus.STORED)
    code = models.CharField(max_length=60, db_default="", db_comment="why it was ignored or refused")
    processed_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(db_default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        db_table = "leo_webhook_delivery"
        constraints = [
            models.UniqueConstraint(fields=["app", "delivery_id"], name="delivery_once"),
            models.CheckConstraint(name="delivery_app_known", condition=Q(app__in=GitHubApp.values)),
            models.CheckConstraint(name="delivery_status_known", condition=Q(status__in=DeliveryStatus.values)),
            models.CheckConstraint(
                name="delivery_body_until_processed", condition=Q(status=DeliveryStatus.STORED) | Q(body=None)
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="delivery_open", condition=Q(status=DeliveryStatus.STORED)),
            models.Index(fields=["received_at"], name="delivery_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.app} {self.event} {self.delivery_id}"


def store_delivery(session: psycopg.Connection[Any], app: str, delivery_id: str, event: str, body: bytes) -> bool:
    """Keep a delivery, once; whether it is new. One statement, its body in binary: a third of the ORM's time.

    Shape: `session` commits by itself, or is in its caller's transaction. Raises: psycopg.Error.
    """
    with psycopg.Cursor(session) as cursor:
        return cursor.execute(STORE, (app, delivery_id, event, body)).rowcount == 1


class RequestStatus(models.TextChoices):
    """Whether a request was answered."""

    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"


class GitHubRequestQuerySet(WorkQuerySet["GitHubRequest"]):
    """Requests as a queue."""

    def open(self) -> Self:
        """Not answered."""
        return self.filter(status=RequestStatus.WAITING)


class GitHubRequest(models.Model):
    """What somebody asked for on GitHub, as the event said it: who answers looks again before doing anything."""

    class Kind(models.TextChoices):
        COMMAND = AskedKind.COMMAND.value
        ACTION = AskedKind.ACTION.value
        RERUN = AskedKind.RERUN.value
        MERGE_GROUP = AskedKind.MERGE_GROUP.value

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="github_requests")
    kind = models.CharField(max_length=11, choices=Kind)
    key = models.CharField(max_length=250, db_comment="the same for each copy of the same asking; see events.Asked")
    pull_number = models.PositiveIntegerField(db_comment="GitHub's; 0 if the event names none")
    remote_id = models.BigIntegerField(db_comment="of the comment, check run or check suite; 0 for a merge group")
    head_sha = models.CharField(max_length=64, blank=True)
    actor_id = models.BigIntegerField(db_comment="GitHub's number of the account; its login may change hands")
    text = models.CharField(max_length=MAX_TEXT, blank=True, db_comment="a button, a branch; of a comment nothing")
    is_edited = models.BooleanField(db_comment="the comment was edited before the event was made")
    asked_at = models.DateTimeField(db_default=Now())
    status = models.CharField(max_length=8, choices=RequestStatus, db_default=RequestStatus.WAITING)
    code = models.CharField(max_length=60, blank=True, db_default="", db_comment="the answer's, once there is one")
    answered_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(db_default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_default="")

    objects = GitHubRequestQuerySet.as_manager()

    class Meta:
        db_table = "leo_github_request"
        constraints = [
            models.UniqueConstraint(fields=["repository", "kind", "key"], name="githubrequest_once"),
            models.CheckConstraint(name="githubrequest_status_known", condition=Q(status__in=RequestStatus.values)),
        ]
        indexes = [models.Index(fields=["id"], name="githubrequest_open", condition=Q(status=RequestStatus.WAITING))]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class WorkflowEvidence(models.Model):
    """What a workflow's job sent about its run, under GitHub's identity token for that run. Append-only.

    Nothing about success follows from it alone.
    """

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="workflow_evidence")
    head_sha = models.CharField(max_length=64)
    workflow = models.CharField(max_length=200, db_comment="path of the workflow's file, by the token")
    ref = models.CharField(max_length=300, db_comment="that the workflow ran on, by the token")
    run_id = models.BigIntegerField()
    run_attempt = models.PositiveIntegerField()
    document = models.BinaryField(db_comment="the strict JSON that was sent, at most 64 KiB")
    digest = models.CharField(max_length=64, db_comment="SHA-256 of the document")
    received_at = models.DateTimeField(db_default=Now())
    log_entry = named_entry("that it was received")

    class Meta:
        db_table = "leo_workflow_evidence"
        constraints = [
            models.UniqueConstraint(fields=["repository", "run_id", "run_attempt"], name="evidence_once_per_attempt"),
            models.CheckConstraint(name="evidence_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(name="evidence_digest_hex", condition=Q(digest__regex=HEX_SHA256)),
        ]
        indexes = [models.Index(fields=["repository", "head_sha"], name="evidence_by_head")]

    def __str__(self) -> str:
        return f"{self.workflow} run {self.run_id}.{self.run_attempt}"
