"""Signing attempts: noted before anything leaves this machine, ended once, orphaned when nobody can say how they ended.

Source: ATT-11 of the threat list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.canonical import JsonValue
from handoffs.actions import Tools, record_event
from handoffs.lane import rules_in_force
from handoffs.models import Handoff, HandoffEvent, Method, SigningAttempt, StaleStatusError
from handoffs.signatures.sigstore_signing import Pinned

Outcome: Final = SigningAttempt.Outcome


@transaction.atomic(durable=True)
def start_attempt(handoff: Handoff, method: Method, statement: bytes, tools: Tools, *, why: str) -> SigningAttempt:
    """Note what is about to be signed, and how."""
    attempt = SigningAttempt.objects.create(
        handoff=handoff, method=method, digest=handoff.digest, statement=statement, started_at=tools.clock()
    )
    record_event(handoff, events.SIGNING_STARTED, tools.enforcer, {**_name(attempt), "for": why})
    return attempt


def end_attempt(attempt: SigningAttempt, outcome: SigningAttempt.Outcome, detail: str = "") -> None:
    """Compare-and-set, in the caller's transaction. Raises: StaleStatusError when somebody else ended it."""
    started = SigningAttempt.objects.filter(pk=attempt.pk, outcome=Outcome.STARTED)
    if started.update(outcome=outcome, detail=detail[:500], ended_at=timezone.now()) != 1:
        raise StaleStatusError(f"signing attempt {attempt.pk} was ended by somebody else")


def orphan_attempts(attempts: Iterable[SigningAttempt], handoff: Handoff, tools: Tools) -> None:
    """End attempts that nobody works on any more. What they left in the log is looked up, where it can be asked."""
    for attempt in attempts:
        entries = find_entries(attempt, handoff, tools)
        with transaction.atomic(durable=True):
            end_attempt(attempt, Outcome.ORPHANED, "its process ended before its end was recorded")
            record_orphan(attempt, handoff, tools, entries)


def record_orphan(
    attempt: SigningAttempt, handoff: Handoff, tools: Tools, entries: tuple[int, ...] | None, why: str = "interrupted"
) -> None:
    """Say, in the caller's transaction, that entries of this attempt may stand in the log, and which were found."""
    record_event(
        handoff,
        events.SIGNING_ORPHANED,
        tools.enforcer,
        {
            **_name(attempt),
            "why": why,
            "log_indexes": None if entries is None else list(entries),
            "log": "could not be asked" if entries is None else "was asked",
        },
    )


def find_entries(attempt: SigningAttempt, handoff: Handoff, tools: Tools) -> tuple[int, ...] | None:
    """The log's entries that only this attempt can have made: ours, since it began, and not known otherwise."""
    rules = rules_in_force().signing
    if attempt.method != Method.SIGSTORE or tools.sigstore is None or rules.method != "sigstore":
        return None if attempt.method == Method.SIGSTORE else ()
    digests = [attempt.digest]
    if attempt.statement:
        digests.append(hashlib.sha256(attempt.statement).hexdigest())
    since = int(attempt.started_at.timestamp())
    found = tools.sigstore.find_entries(digests, Pinned(rules.identity, rules.issuer), since=since)
    known: set[int] = set()
    for detail in HandoffEvent.objects.filter(handoff=handoff, detail__has_key="log_indexes").values_list(
        "detail", flat=True
    ):
        known.update(detail["log_indexes"] or ())
    return None if found is None else tuple(index for index in found if index not in known)


def _name(attempt: SigningAttempt) -> dict[str, JsonValue]:
    return {
        "attempt": attempt.pk,
        "method": str(attempt.method),
        "digest": attempt.digest,
        "statement": hashlib.sha256(attempt.statement).hexdigest() if attempt.statement else "",
    }
