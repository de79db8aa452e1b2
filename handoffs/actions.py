"""Every write of the enforcer lane. One verb each: gather first, outside any transaction, then record.

Each step moves the handoff's status by compare-and-set in the transaction that appends its event, so that a step
that runs twice, or dies halfway, is done exactly once.
Source: SOP sections 1.2, 4.1 and 4.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from audit.models import LogEntry
from handoffs.bundles.store import BundleStore
from handoffs.checks.isolation import Ceiling
from handoffs.forges.protocol import ZERO, Forge
from handoffs.git.repository import Git
from handoffs.models import (
    GitHubRepository,
    Handoff,
    HandoffEvent,
    PushRefusal,
    RefIntent,
    Repository,
    Status,
)
from handoffs.scope.secrets import redact, redact_json
from handoffs.signatures.sigstore_signing import Sigstore
from handoffs.signatures.trust_roots import TrustedRoot


@dataclass(frozen=True)
class Tools:
    """The outside systems and secrets of the enforcer lane, built from settings by the task that runs a step."""

    forge: Forge
    store: BundleStore
    enforcer: Actor
    email: str
    portal_url: str
    key_password: str
    ceiling: Ceiling = field(default_factory=Ceiling)
    read_root: Callable[[], TrustedRoot] | None = None
    pinned_roots: tuple[str, ...] = ()
    sigstore: Sigstore | None = None
    clock: Callable[[], datetime] = timezone.now
    log_seconds: float = 5.0

    @property
    def git(self) -> Git:
        """The repository's objects."""
        return Git(self.forge.git_path)


@dataclass(frozen=True)
class Enrolment:
    """What is known of a repository on GitHub when it is enrolled. No installation: a token, for trying out."""

    github_id: int
    full_name: str
    protected_branch: str
    tip: str
    mirror: Path
    enforcer_installation: int = 0
    gate_installation: int = 0
    gate_app: int = 0
    is_observed: bool = False


def record_event(
    handoff: Handoff, event: str, actor: Actor, detail: dict[str, JsonValue], *, marker: str = ""
) -> HandoffEvent:
    """One row of leo_handoff_tracking and its leaf, in the caller's transaction. No credential gets into either."""
    detail = {key: redact_json(value) for key, value in detail.items()}
    body = {**detail, "repository": handoff.repository.full_name, "marker": marker}
    entry = append_event(event, actor, str(handoff), body)
    return HandoffEvent.objects.create(
        handoff=handoff,
        event=event,
        principal=actor.principal_id,
        role=actor.role.value,
        marker=redact(marker),
        detail=detail,
        created_at=entry.created_at,
        log_entry=entry,
    )


def intend_update(repository: Repository, ref: str, *, old: str, new: str, entry: LogEntry) -> None:
    """Let the forge's hook pass exactly this ref update."""
    RefIntent.objects.get_or_create(
        repository=repository, ref=ref, old=old or ZERO, new=new, defaults={"log_entry": entry}
    )


def govern_repository(full_name: str, path: Path, protected_branch: str, *, by: Actor) -> Repository:
    """Put a bare repository on disk under the portal's protection; safe to repeat."""
    with transaction.atomic():
        found = Repository.objects.filter(path=str(path)).first()
        if found is not None:
            return found
        tip = Git(path).refs(f"refs/heads/{protected_branch}").get(f"refs/heads/{protected_branch}", "")
        body: dict[str, JsonValue] = {"repository": full_name, "protected_branch": protected_branch, "tip": tip}
        return Repository.objects.create(
            path=str(path),
            full_name=full_name,
            protected_branch=protected_branch,
            log_entry=append_event(events.REPOSITORY_GOVERNED, by, "", body),
        )


def govern_on_github(enrolment: Enrolment, *, by: Actor) -> GitHubRepository:
    """Put a repository on GitHub under the portal's care; safe to repeat, and then nothing changes.

    Not checked: that GitHub's rules block anything; the onboarding check and its canary prove that.
    """
    with transaction.atomic():
        found = GitHubRepository.objects.filter(github_id=enrolment.github_id).first()
        if found is not None:
            return found
        body: dict[str, JsonValue] = {
            "repository": enrolment.full_name,
            "github_id": enrolment.github_id,
            "protected_branch": enrolment.protected_branch,
            "tip": enrolment.tip,
            "observed": enrolment.is_observed,
            "apps": [enrolment.enforcer_installation, enrolment.gate_installation, enrolment.gate_app],
        }
        entry = append_event(events.REPOSITORY_GOVERNED, by, "", body)
        repository = Repository.objects.create(
            forge=Repository.Forge.GITHUB,
            path=str(enrolment.mirror),
            full_name=enrolment.full_name,
            protected_branch=enrolment.protected_branch,
            log_entry=entry,
        )
        return GitHubRepository.objects.create(
            repository=repository,
            github_id=enrolment.github_id,
            full_name=enrolment.full_name,
            enforcer_installation=enrolment.enforcer_installation,
            gate_installation=enrolment.gate_installation,
            gate_app=enrolment.gate_app,
            is_observed=enrolment.is_observed,
            enrolled_sha=enrolment.tip,
            log_entry=entry,
        )


def quarantine_handoff(handoff: Handoff, by: Actor, code: str, detail: str) -> None:
    """Take a handoff out of the lane for good: its bytes are not, or no longer, fit to be given to anybody."""
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=Status(handoff.status), new=Status.QUARANTINED, refusal_code=code[:60])
        record_event(handoff, events.HANDOFF_QUARANTINED, by, {"failed": [code], "detail": detail[:2000]})


def refuse_handoff(handoff: Handoff, old: Status, by: Actor, code: str, detail: str) -> None:
    """End a handoff because its bundle cannot be taken, with the stable code of the reason."""
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=old, new=Status.REFUSED, refusal_code=code[:60])
        record_event(handoff, events.HANDOFF_REFUSED, by, {"failed": [code], "detail": detail[:2000]})


@transaction.atomic(durable=True)
def retry_handoff(handoff_id: int, *, by: Actor) -> bool:
    """Give a handoff that failed too often its attempts back. False when it has no step to do."""
    handoff = Handoff.objects.select_related("repository").get(pk=handoff_id)
    if not Handoff.objects.open().filter(pk=handoff_id).update(attempts=0, lease_until=None, next_try_at=None):
        return False
    record_event(handoff, events.HANDOFF_RETRIED, by, {"status": handoff.status, "error": handoff.error[:500]})
    return True


def log_push_refusals(*, by: Actor) -> int:
    """Put refusals that the forge's hooks reported into the trail. Returns how many."""
    count = 0
    for refusal in PushRefusal.objects.filter(log_entry=None).order_by("pk")[:200]:
        with transaction.atomic(durable=True):
            locked = PushRefusal.objects.select_for_update().get(pk=refusal.pk)
            if locked.log_entry_id is None:
                locked.log_entry = append_event(
                    events.PUSH_REFUSED,
                    by,
                    "",
                    {
                        "path": Path(locked.repository_path).name,
                        "ref": redact(locked.ref),
                        "new": locked.new,
                        "code": locked.code,
                    },
                )
                locked.save(update_fields=["log_entry"])
                count += 1
    return count
