"""What has to stand at GitHub for a governed repository, what was found there, and whether a gate really blocked."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from audit.models import LogEntry
from handoffs.models.handoff import Repository


class Reader(models.TextChoices):
    """Who looked."""

    ADMINISTRATOR = "administrator"
    APP = "app"


class ReadingState(models.TextChoices):
    """Whether the live rules are the expected ones."""

    AGREED = "agreed"
    DRIFTED = "drifted"


class CanaryOutcome(models.TextChoices):
    """What became of a pull request that has to be refused."""

    REFUSED = "refused"
    MERGED = "merged"
    UNPROVEN = "unproven"


class ProtectionExpectation(models.Model):
    """What an operator enrolled a repository with. Append-only; the newest row of a repository counts."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="expectations")
    is_observed = models.BooleanField(db_comment="observe mode: nothing is expected to block")
    expected = models.JSONField(db_comment="handoffs.github.live.Expected as JSON")
    digest = models.CharField(max_length=64, db_comment="SHA-256 of the canonical form of expected")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_protection_expectation"
        indexes = [models.Index(fields=["repository", "-id"], name="protection_expected_newest")]

    def __str__(self) -> str:
        return f"expectation {self.pk}"


class ProtectionReading(models.Model):
    """What the live rules were found to be, whenever that changed. Append-only."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="readings")
    expectation = models.ForeignKey(ProtectionExpectation, models.PROTECT, related_name="readings")
    reader = models.CharField(max_length=13, choices=Reader)
    state = models.CharField(max_length=7, choices=ReadingState)
    findings = models.JSONField(db_comment="handoffs.github.findings as JSON, in order")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_protection_reading"
        constraints = [
            models.CheckConstraint(name="protectionreading_state_known", condition=Q(state__in=ReadingState.values))
        ]
        indexes = [models.Index(fields=["repository", "-id"], name="protection_reading_newest")]

    def __str__(self) -> str:
        return f"{self.state} ({self.reader})"


class CanaryRun(models.Model):
    """One canary: a pull request that nothing judged, and what GitHub said when it was to be merged. Append-only."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="canaries")
    expectation = models.ForeignKey(ProtectionExpectation, models.PROTECT, related_name="canaries")
    outcome = models.CharField(max_length=8, choices=CanaryOutcome)
    number = models.PositiveIntegerField(default=0, db_comment="of the pull request at GitHub; 0: none was opened")
    head_sha = models.CharField(max_length=64, blank=True)
    said = models.JSONField(db_comment="each attempt: what was tried, HTTP status, GitHub's words")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_canary_run"
        constraints = [
            models.CheckConstraint(name="canary_outcome_known", condition=Q(outcome__in=CanaryOutcome.values))
        ]
        indexes = [models.Index(fields=["repository", "-id"], name="canary_newest")]

    def __str__(self) -> str:
        return f"canary {self.outcome}"


class ProtectionWatch(models.Model):
    """When the rules of a repository were last read to the end, and what came in the way since. Not evidence."""

    repository = models.OneToOneField(Repository, models.PROTECT, related_name="protection_watch")
    read_at = models.DateTimeField(null=True, db_comment="by the database's clock")
    error = models.TextField(blank=True)

    class Meta:
        db_table = "leo_protection_watch"

    def __str__(self) -> str:
        return f"rules of {self.repository_id} read at {self.read_at}"
