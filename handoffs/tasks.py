"""Celery tasks of the enforcer lane. A message only wakes a worker; the row says what there is to do.

Each task is safe to run twice. The beat calls the sweeps, so that a lost message or a killed worker costs seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from celery import current_app, shared_task
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from audit.actions import actor_of
from audit.events import Actor, numbered
from audit.models import Identity, Principal
from handoffs import actions, intake, rotating
from handoffs.actions import Tools
from handoffs.applying import apply_handoff, open_pull_request
from handoffs.attempts import orphan_attempts
from handoffs.bundles.store import DIGEST_CHANGED, BundleStore, StoreError
from handoffs.checks.isolation import Ceiling
from handoffs.clocks import CLOCK_RETRY, ClockSkewError, current_skew, read_services
from handoffs.expiring import expire_old_bundles
from handoffs.forges.localgit import LocalGit
from handoffs.forges.protocol import Forge, ForgeError
from handoffs.git.process import GitError
from handoffs.hosting import github_forge
from handoffs.keys import Vault, record_expired
from handoffs.models import (
    Handoff,
    HandoffError,
    KeyRotation,
    Lane,
    Repository,
    SigningKey,
    StaleStatusError,
    Status,
)
from handoffs.scope.secrets import redact
from handoffs.signatures.key_rules import ROTATE_AFTER
from handoffs.signatures.openpgp import SignatureError
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.service_clocks import service_addresses
from handoffs.signatures.sigstore_signing import Sigstore
from handoffs.signatures.sigstore_verifying import production_root, read_root_file
from handoffs.signatures.trust_roots import TrustedRoot
from handoffs.signatures.tuf_refresh import Mirror, public_anchor, read_anchor
from handoffs.signing import SignerWaitsError, sign_handoff
from handoffs.transparency import log_signature, lost_attempts, pending_signatures
from handoffs.trusted_roots import chosen_root, fetched_at
from handoffs.verifying import verify_handoff

log = logging.getLogger(__name__)
ENFORCER: Final = "leoportal-enforcer"

STEPS: Final[Mapping[str, Callable[[Handoff, Tools], None]]] = {
    Status.RECEIVED: verify_handoff,
    Status.VERIFIED: sign_handoff,
    Status.WAITING_SIGNER: sign_handoff,
    Status.SIGNED: apply_handoff,
    Status.APPLIED: open_pull_request,
}


def enforcer() -> Actor:
    """The enforcer lane's own identity."""
    return actor_of(Principal.objects.get(name=ENFORCER))


def forge_for(repository: Repository) -> Forge:
    """The adapter of the place that hosts a repository."""
    match Repository.Forge(repository.forge):
        case Repository.Forge.LOCAL_GIT:
            return LocalGit(Path(repository.path))
        case Repository.Forge.GITHUB:
            return github_forge(repository)


def tools_for(repository: Repository) -> Tools:
    """The adapters of one repository, built from settings."""
    actor = enforcer()
    address = Identity.objects.current().filter(principal_id=actor.principal_id, kind=Identity.Kind.EMAIL).first()
    if address is None:
        raise HandoffError(
            "enforcer.no_email",
            f"{numbered(actor.principal_id)} has no registered commit address; run `manage.py operate setup`",
        )
    return Tools(
        forge=forge_for(repository),
        store=BundleStore(settings.BUNDLE_STORE),
        enforcer=actor,
        email=address.value,
        portal_url=settings.PORTAL_URL,
        key_password=settings.SIGNING_KEY_PASSWORD,
        ceiling=Ceiling(cpu_seconds=settings.VERIFY_CPU_SECONDS, memory_bytes=settings.VERIFY_MEMORY_MIB << 20),
        read_root=trusted_root,
        pinned_roots=tuple(settings.SIGSTORE_TRUSTED_ROOT_SHA256),
        sigstore=sigstore(),
        log_seconds=settings.LOG_WAIT_SECONDS,
    )


def sigstore() -> Sigstore | None:
    """The Sigstore of the settings; None where there is none."""
    if not settings.SIGSTORE_TRUST_CONFIG:
        return None
    token = settings.SIGSTORE_IDENTITY_TOKEN_FILE
    return Sigstore(
        trust_config=Path(settings.SIGSTORE_TRUST_CONFIG),
        token_file=Path(token) if token else None,
        seconds=settings.SIGSTORE_SECONDS,
        root_digests=tuple(settings.SIGSTORE_SIGNING_ROOT_SHA256),
    )


def trusted_root() -> TrustedRoot:
    """The Sigstore root of the settings; else the one that an operator fetched and chose; else this release's.

    Raises: RefusedError with sigstore.root or sigstore.root_pin; HandoffError("sigstore.root_pin").
    """
    path, pinned = settings.SIGSTORE_TRUSTED_ROOT, settings.SIGSTORE_TRUSTED_ROOT_SHA256
    root = read_root_file(Path(path)) if path else chosen_root() or _release_root()
    if pinned and root.digest not in pinned:
        raise RefusedError("sigstore.root_pin", f"{root.source} with sha256 {root.digest}", " or ".join(pinned))
    if warning := root.age_warning(timezone.now(), is_online=bool(settings.SIGSTORE_TUF_MIRROR)):
        log.warning("%s", warning)
    return root


def _release_root() -> TrustedRoot:
    """As old as the release, or as the last refresh that brought the same bytes."""
    root = production_root()
    fetched = fetched_at(root.digest)
    return replace(root, refreshed_at=fetched) if fetched else root


def tuf_mirror() -> Mirror:
    """Where the trusted root is refreshed from, by the settings.

    Raises: HandoffError with trusted_root.no_mirror, trusted_root.file or tuf.anchor.
    """
    if not settings.SIGSTORE_TUF_MIRROR:
        raise HandoffError("trusted_root.no_mirror", "SIGSTORE_TUF_MIRROR is not set, so this portal counts as offline")
    if settings.SIGSTORE_TRUSTED_ROOT:
        detail = "SIGSTORE_TRUSTED_ROOT names a file, and that is the root; renew the file, or unset it"
        raise HandoffError("trusted_root.file", detail)
    path = settings.SIGSTORE_TUF_ROOT
    try:
        anchor = read_anchor(Path(path)) if path else public_anchor()
    except RefusedError as error:
        raise HandoffError(error.code, error.detail) from None
    return Mirror(settings.SIGSTORE_TUF_MIRROR, anchor, settings.SIGSTORE_SECONDS)


def nudge(task: str, *args: object) -> None:
    """Wake a worker up. A broker that is away costs latency, never work: the sweep finds the row."""
    try:
        current_app.send_task(task, args=args, retry=False)
    except (OSError, KombuError, RedisError) as error:
        log.warning("nudge %s lost, the sweep repairs it: %s", task, error)


def nudge_publisher(repository: Repository) -> None:
    """What leo-gate shows of a repository changed. Elsewhere than on GitHub nobody shows anything."""
    if repository.forge == Repository.Forge.GITHUB:
        nudge("verdicts.tasks_publishing.publish", repository.pk)


def key_vault() -> Vault:
    """What opens and makes signing keys, from settings."""
    algorithms = {Lane(lane): algorithm for lane, algorithm in settings.SIGNING_ALGORITHMS.items()}
    return Vault(settings.SIGNING_KEY_PASSWORD, algorithms)


@shared_task(ignore_result=True)
def sweep_clocks() -> int:
    """Ask the services that this portal relies on what time it is. Returns how many answered."""
    count = read_services(clock_services())
    if skew := current_skew():
        log.error("clock.skew: %s; nothing is signed or published", skew)
    return count


def clock_services() -> dict[str, str]:
    """Whose clocks can be compared with ours, by name: the settings' signing services and mirror."""
    path, mirror = settings.SIGSTORE_TRUST_CONFIG, settings.SIGSTORE_TUF_MIRROR
    found = {urlsplit(mirror).netloc: mirror} if mirror else {}
    try:
        return found | (service_addresses(Path(path).read_bytes()) if path else {})
    except (OSError, RefusedError) as error:
        log.warning("%s names no services: %s", path, error)
        return found


@shared_task(ignore_result=True)
def sweep_keys() -> int:
    """Rotate what is 28 days old, record what expired, and wake a worker for every rotation that nobody works on."""
    now = timezone.now()
    if skew := current_skew():
        log.warning("no key is rotated: %s", skew)
        return 0
    for lane in Lane:
        record_expired(lane, by=enforcer())
    for key in SigningKey.objects.filter(retired_at=None, revoked_at=None, created_at__lte=now - ROTATE_AFTER):
        if key.is_active_at(now):
            rotating.request_rotation(Lane(key.lane), by=enforcer(), reason="automatic: day 28 of 30")
    due = list(KeyRotation.objects.due().values_list("pk", flat=True))
    for pk in due:
        nudge("handoffs.tasks.rotate_key", pk)
    return len(due)


@shared_task(ignore_result=True)
def rotate_key(rotation_id: int) -> str:
    """Take a rotation through its steps. Returns the step it reached."""
    attempt = KeyRotation.objects.claim(rotation_id, lease=timedelta(seconds=settings.LEASE_SECONDS))
    if attempt is None:
        return "not mine"
    try:
        rotation = KeyRotation.objects.get(pk=rotation_id)
        while rotation.step in rotating.STEPS:
            rotation = rotating.advance_rotation(rotation, key_vault(), by=enforcer())
    except ClockSkewError as error:
        KeyRotation.objects.release(rotation_id, attempt, error=str(error), retry_in=CLOCK_RETRY, is_waiting=True)
        log.warning("rotation %s waits: %s", rotation_id, error)
        return "waiting"
    except (SignatureError, HandoffError) as error:
        wait = timedelta(seconds=min(2**attempt, 300))
        KeyRotation.objects.release(rotation_id, attempt, error=str(error), retry_in=wait)
        log.warning("rotation %s attempt %s failed: %s", rotation_id, attempt, error)
        return "failed"
    except (StaleStatusError, OperationalError) as error:
        log.warning("rotation %s lost its place: %s", rotation_id, error)
        return "stale"
    except Exception:
        wait = timedelta(seconds=2**attempt)
        KeyRotation.objects.release(rotation_id, attempt, error="the worker failed; see its log", retry_in=wait)
        raise
    KeyRotation.objects.release(rotation_id, attempt)
    return rotation.step


@shared_task(ignore_result=True)
def sweep_staging() -> int:
    """Notice new commits on every repository's staging branches, and what the hooks refused."""
    actions.log_push_refusals(by=enforcer())
    count = 0
    for repository in Repository.objects.all():
        try:
            count += _notice(repository)
        except (GitError, ForgeError) as error:
            log.warning("%s cannot be swept: %s", repository.full_name, error)
    return count


@shared_task(ignore_result=True)
def notice_staging(path: str) -> int:
    """The hook's nudge: notice new commits on one repository."""
    repository = Repository.objects.filter(path=path).first()
    return _notice(repository) if repository else 0


def _notice(repository: Repository) -> int:
    count = 0
    forge = forge_for(repository)

    def known(tips: set[str]) -> set[str]:
        rows = Handoff.objects.filter(repository=repository, staging_commit__in=tips)
        return set(rows.values_list("staging_commit", flat=True))

    for staging in forge.staging_commits(known=known):
        if "CODEX-READY" not in staging.subject.upper():
            continue
        handoff = intake.receive_handoff(repository, staging, by=enforcer())
        if handoff is not None:
            count += 1
            nudge("handoffs.tasks.advance", handoff.pk)
    return count


@shared_task(ignore_result=True)
def sweep_handoffs() -> int:
    """Wake a worker for every handoff that has work and nobody working on it."""
    due = list(Handoff.objects.due().values_list("pk", flat=True)[:200])
    for pk in due:
        nudge("handoffs.tasks.advance", pk)
    return len(due)


@shared_task(ignore_result=True)
def sweep_signing() -> int:
    """Give up signing attempts that nobody works on, and log what was signed while the log was away."""
    now = timezone.now()
    after = timedelta(seconds=settings.LEASE_SECONDS + settings.SIGSTORE_SECONDS)
    for attempt in lost_attempts(now, after=after):
        orphan_attempts([attempt], attempt.handoff, tools_for(attempt.handoff.repository))
    count = 0
    for signature in pending_signatures(now) if sigstore() else ():
        try:
            is_logged = log_signature(signature, tools_for(signature.handoff.repository))
        except (StoreError, HandoffError, StaleStatusError) as error:
            log.warning("%s cannot be logged: %s", signature, error)
            continue
        if not is_logged:
            break
        count += 1
    return count


@shared_task(ignore_result=True)
def advance(handoff_id: int) -> str:
    """Take a handoff through its steps until the enforcer's duty ends. Returns the status it reached."""
    attempt = Handoff.objects.claim(handoff_id, lease=timedelta(seconds=settings.LEASE_SECONDS))
    if attempt is None:
        return "not mine"
    try:
        status = _advance(handoff_id)
    except SignerWaitsError as waiting:
        Handoff.objects.release(handoff_id, attempt, error=str(waiting), retry_in=waiting.retry_in, is_waiting=True)
        log.warning("handoff %s waits: %s", handoff_id, waiting)
        return "waiting"
    except ForgeError as error:
        wait = error.retry_in or timedelta(seconds=min(2**attempt, 300))
        is_waiting = error.retry_in is not None
        Handoff.objects.release(handoff_id, attempt, error=str(error), retry_in=wait, is_waiting=is_waiting)
        log.warning("handoff %s attempt %s met its forge: %s", handoff_id, attempt, redact(str(error)))
        return "waiting" if is_waiting else "failed"
    except (GitError, StoreError, SignatureError, HandoffError) as error:
        wait = timedelta(seconds=min(2**attempt, 300))
        Handoff.objects.release(handoff_id, attempt, error=str(error), retry_in=wait)
        log.warning("handoff %s attempt %s failed: %s", handoff_id, attempt, redact(str(error)))
        return "failed"
    except (StaleStatusError, OperationalError) as error:
        log.warning("handoff %s attempt %s lost its place: %s", handoff_id, attempt, error)
        return "stale"
    except Exception as error:
        Handoff.objects.release(handoff_id, attempt, error=repr(error), retry_in=timedelta(seconds=2**attempt))
        raise
    Handoff.objects.release(handoff_id, attempt)
    if status == Status.OPENED:
        nudge("verdicts.tasks.sweep_verification")
    return status


def _advance(handoff_id: int) -> str:
    handoff = Handoff.objects.select_related("repository").get(pk=handoff_id)
    tools = tools_for(handoff.repository)
    while step := STEPS.get(handoff.status):
        try:
            step(handoff, tools)
        except StoreError as error:
            if error.code != DIGEST_CHANGED:
                raise
            actions.quarantine_handoff(handoff, tools.enforcer, "digest.changed", error.detail)
        handoff = Handoff.objects.select_related("repository").get(pk=handoff_id)
    return handoff.status


@shared_task(ignore_result=True)
def expire_bundles() -> int:
    """Erase the bytes of bundles that ended longer ago than they are kept; the beat calls it every day."""
    before = timezone.now() - timedelta(days=settings.RETENTION_BUNDLE_DAYS)
    return expire_old_bundles(BundleStore(settings.BUNDLE_STORE), before=before, by=enforcer())
