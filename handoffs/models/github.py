"""What a governed repository is on GitHub, and how far each lane has looked at it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from audit.models import named_entry
from handoffs.models.handoff import Repository
from handoffs.models.work import HEX_COMMIT

# Who has not looked for so long shows what may be old; each looks once a minute.
RECONCILE_LATE: Final = timedelta(minutes=10)


class GitHubRepositoryQuerySet(models.QuerySet["GitHubRepository"]):
    """Reads of repositories on GitHub."""

    def enforcer_due(self, *, seconds: float) -> Self:
        """What the enforcer's App has to look at: events came, or nobody looked for so long."""
        return self._due("enforcer", seconds)

    def gate_due(self, *, seconds: float) -> Self:
        """What the gate's App has to look at: events came, or nobody looked for so long."""
        return self._due("gate", seconds)

    def reachable(self, app: str) -> Self:
        """All but those where this App met a trouble and waits: whoever asks meanwhile makes an outage a storm."""
        return self.exclude(~Q(**{f"{app}_error": ""}), **{f"{app}_next_try_at__gt": Now()})

    def late(self) -> Self:
        """What one of the two Apps has not looked at for `RECONCILE_LATE`; counted from its enrolment at first."""
        before = Now() - RECONCILE_LATE
        looked = {app: Coalesce(f"{app}_looked_at", "created_at") for app in ("enforcer", "gate")}
        rows = self.alias(enforcer_last=looked["enforcer"], gate_last=looked["gate"])
        return rows.filter(Q(enforcer_last__lt=before) | Q(gate_last__lt=before))

    def _due(self, app: str, seconds: float) -> Self:
        """Dirty or old rows that were not told to wait, those nobody looked at for longest first."""
        looked, dirty, wait = f"{app}_looked_at", f"{app}_dirty_at", f"{app}_next_try_at"
        is_dirty = Q(**{f"{dirty}__isnull": False}) & (Q(**{looked: None}) | Q(**{f"{dirty}__gt": F(looked)}))
        is_old = Q(**{looked: None}) | Q(**{f"{looked}__lt": Now() - timedelta(seconds=seconds)})
        may = Q(**{wait: None}) | Q(**{f"{wait}__lte": Now()})
        return self.filter(may, is_dirty | is_old).order_by(F(looked).asc(nulls_first=True), "pk")


class GitHubCircuit(models.Model):
    """Whether one GitHub answers. Open, so that nobody asks but one at a time, while `failing_since` is not null."""

    api_url = models.CharField(max_length=200, unique=True)
    failing_since = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0, db_comment="in vain, since then")
    next_try_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "leo_github_circuit"

    def __str__(self) -> str:
        return f"{self.api_url}: {'silent' if self.failing_since else 'answers'}"


class GitHubRepository(models.Model):
    """A governed repository's other half. Its numbers are GitHub's and never change; its name may, with an entry.

    `…_dirty_at` is when the last event about it was taken, `…_looked_at` when that lane last began a look that ended
    well: whoever clears nothing loses nothing.
    """

    repository = models.OneToOneField(Repository, models.PROTECT, related_name="github")
    github_id = models.BigIntegerField(unique=True, db_comment="GitHub's number of the repository")
    full_name = models.CharField(max_length=200, db_comment="owner/name as GitHub last said it")
    enforcer_installation = models.BigIntegerField(default=0, db_comment="of leo-enforcer; 0: a token, for trying out")
    gate_installation = models.BigIntegerField(default=0, db_comment="of leo-gate; 0: a token, for trying out")
    gate_app = models.BigIntegerField(default=0, db_comment="number of leo-gate, which the ruleset pins")
    is_observed = models.BooleanField(default=False, db_comment="observe mode: everything but blocking")
    enrolled_sha = models.CharField(max_length=64, db_comment="tip of the protected branch when it was enrolled")
    tip_sha = models.CharField(
        max_length=64, blank=True, db_comment="of the protected branch, as of when its pull requests were read"
    )
    enforcer_dirty_at = models.DateTimeField(null=True)
    enforcer_looked_at = models.DateTimeField(null=True)
    enforcer_next_try_at = models.DateTimeField(null=True)
    enforcer_error = models.TextField(blank=True)
    gate_dirty_at = models.DateTimeField(null=True)
    gate_looked_at = models.DateTimeField(null=True)
    gate_next_try_at = models.DateTimeField(null=True)
    gate_error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = named_entry("that it is governed")

    objects = GitHubRepositoryQuerySet.as_manager()

    class Meta:
        db_table = "leo_github_repository"
        constraints = [
            models.CheckConstraint(name="github_enrolled_hex", condition=Q(enrolled_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(
                name="github_both_apps_or_a_token",
                condition=Q(enforcer_installation=0, gate_installation=0, gate_app=0)
                | Q(enforcer_installation__gt=0, gate_installation__gt=0, gate_app__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return self.full_name

    @property
    def is_separated(self) -> bool:
        """Whether two Apps act here, and not one token that may do everything."""
        return self.gate_installation > 0
