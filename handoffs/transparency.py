"""Logging afterwards what was signed with OpenPGP while there was no log: the Sigstore signature over the same bytes.

Source: product.md section 4 (`pending-transparency`); ATT-10 and ATT-11 of the threat list.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, transaction

from audit import events
from audit.canonical import JsonValue
from handoffs.actions import Tools, record_event
from handoffs.attempts import end_attempt, find_entries, orphan_attempts, record_orphan, start_attempt
from handoffs.lane import rules_in_force
from handoffs.models import (
    SIGNING,
    Method,
    Signature,
    SigningAttempt,
    StaleStatusError,
    TransparencyRecord,
)
from handoffs.rules import Signing
from handoffs.signatures.sigstore_signing import Pinned, Signed, SigningUnavailableError

RETRY: Final = timedelta(minutes=5)
AT_ONCE: Final = 20
Outcome: Final = SigningAttempt.Outcome


def pending_signatures(now: datetime) -> list[Signature]:
    """Signatures to log now: the policy says Sigstore, they are in no log, and nobody has tried lately."""
    if rules_in_force().signing.method != "sigstore":
        return []
    rows = Signature.objects.filter(transparency=Signature.Transparency.PENDING, logged_later=None)
    lately = SigningAttempt.objects.filter(method=Method.SIGSTORE, started_at__gt=now - RETRY)
    tried = lately.exclude(outcome=Outcome.LOGGED).values("handoff")
    return list(rows.exclude(handoff__in=tried).select_related("handoff__repository").order_by("pk")[:AT_ONCE])


def lost_attempts(now: datetime, *, after: timedelta) -> list[SigningAttempt]:
    """Attempts whose process must be gone: they began long ago, and no step of their handoff will come by again."""
    old = SigningAttempt.objects.filter(outcome=Outcome.STARTED, started_at__lt=now - after)
    return list(old.exclude(handoff__status__in=SIGNING).select_related("handoff__repository")[:AT_ONCE])


def log_signature(signature: Signature, tools: Tools) -> bool:
    """Sign the same bytes once more, with Sigstore, and keep the bundle. False when it did not work this time."""
    handoff, rules = signature.handoff, rules_in_force().signing
    if tools.sigstore is None:
        return False
    tools.store.get(signature.digest)
    attempt = start_attempt(handoff, Method.SIGSTORE, b"", tools, why="transparency")
    try:
        signed = tools.sigstore.sign(signature.digest, None, Pinned(rules.identity, rules.issuer))
    except SigningUnavailableError as error:
        _record_failure(attempt, error, tools)
        return False
    try:
        _record(signature, signed, attempt, rules, tools)
    except (IntegrityError, StaleStatusError):
        orphan_attempts(SigningAttempt.objects.filter(pk=attempt.pk, outcome=Outcome.STARTED), handoff, tools)
        return False
    return True


@transaction.atomic(durable=True)
def _record(signature: Signature, signed: Signed, attempt: SigningAttempt, rules: Signing, tools: Tools) -> None:
    end_attempt(attempt, Outcome.LOGGED)
    entry = record_event(
        signature.handoff,
        events.SIGNING_LOGGED,
        tools.enforcer,
        {
            "attempt": attempt.pk,
            "digest": signature.digest,
            "identity": rules.identity,
            "issuer": rules.issuer,
            "log_indexes": [signed.log_index],
        },
    ).log_entry
    TransparencyRecord.objects.create(
        signature=signature,
        artifact_bundle=signed.bundles.artifact_bundle,
        log_index=signed.log_index,
        created_at=entry.created_at,
        log_entry=entry,
    )


def _record_failure(attempt: SigningAttempt, error: SigningUnavailableError, tools: Tools) -> None:
    entries = find_entries(attempt, attempt.handoff, tools) if error.may_be_logged else ()
    outcome = Outcome.ORPHANED if error.may_be_logged else Outcome.FAILED
    body: dict[str, JsonValue] = {"attempt": attempt.pk, "code": error.code, "detail": error.detail[:300]}
    with transaction.atomic(durable=True):
        end_attempt(attempt, outcome, str(error))
        if error.may_be_logged:
            record_orphan(attempt, attempt.handoff, tools, entries, why=error.code)
        record_event(attempt.handoff, events.SIGNING_UNAVAILABLE, tools.enforcer, {**body, "for": "transparency"})
