"""Writes about a repository's protection: what is expected, what was read, what the canary proved.

Gathering stands in `handoffs.github`; here it is recorded. A reading that says what the last one said is no row.
Source: trail.md section 8; GATE-08 and GATE-16 of the threat list.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.github.findings import Finding, Outcome, findings_to_json, holds
from handoffs.github.live import Expected, expected_from_json, expected_to_json
from handoffs.models import (
    CanaryOutcome,
    CanaryRun,
    GitHubRepository,
    HandoffError,
    ProtectionExpectation,
    ProtectionReading,
    ProtectionWatch,
    ReadingState,
    Repository,
)

_CANARY_EVENTS = {
    CanaryOutcome.REFUSED: events.CANARY_REFUSED,
    CanaryOutcome.MERGED: events.CANARY_MERGED,
    CanaryOutcome.UNPROVEN: events.CANARY_UNPROVEN,
}


@dataclass(frozen=True)
class Attempt:
    """One thing the canary tried. `status` is HTTP's, 0 when nothing answered; `said` is GitHub's words."""

    what: str
    status: int
    said: str
    is_refused: bool


@dataclass(frozen=True)
class Canary:
    """What became of one canary."""

    outcome: CanaryOutcome
    number: int
    head_sha: str
    attempts: tuple[Attempt, ...]


@transaction.atomic(durable=True)
def expect_protection(
    repository: Repository, expected: Expected, *, is_observed: bool, by: Actor
) -> ProtectionExpectation:
    """Store what has to stand there from now on; the same again is no row."""
    GitHubRepository.objects.filter(repository=repository).update(is_observed=is_observed)
    newest = newest_expectation(repository)
    if newest is not None and (newest.digest, newest.is_observed) == (expected.digest, is_observed):
        return newest
    told = expected_to_json(expected)
    body: dict[str, JsonValue] = {
        "repository": repository.full_name,
        "observed": is_observed,
        "expected": told,
        "digest": expected.digest,
    }
    entry = append_event(events.PROTECTION_EXPECTED, by, "", body)
    return ProtectionExpectation.objects.create(
        repository=repository,
        is_observed=is_observed,
        expected=told,
        digest=expected.digest,
        created_at=entry.created_at,
        log_entry=entry,
    )


@transaction.atomic(durable=True)
def record_reading(
    expectation: ProtectionExpectation, findings: tuple[Finding, ...], *, reader: str, by: Actor
) -> ProtectionReading:
    """Store what was found, if it is news; and that somebody looked. Returns the reading that counts now."""
    told = findings_to_json(findings)
    ProtectionWatch.objects.update_or_create(
        repository_id=expectation.repository_id, defaults={"read_at": Now(), "error": ""}
    )
    newest = newest_reading(expectation)
    if newest is not None and (newest.findings, newest.reader) == (told, reader):
        return newest
    state = ReadingState.AGREED if holds(findings) else ReadingState.DRIFTED
    kind = events.PROTECTION_AGREED if state == ReadingState.AGREED else events.PROTECTION_DRIFTED
    body: dict[str, JsonValue] = {
        "repository": expectation.repository.full_name,
        "expectation": expectation.digest,
        "reader": reader,
        "state": state.value,
        "code": "" if state == ReadingState.AGREED else "config.drift",
        "open": [finding.about or finding.code for finding in findings if finding.outcome is not Outcome.OK],
        "findings": told,
    }
    entry = append_event(kind, by, "", body)
    return ProtectionReading.objects.create(
        repository_id=expectation.repository_id,
        expectation=expectation,
        reader=reader,
        state=state,
        findings=told,
        created_at=entry.created_at,
        log_entry=entry,
    )


def note_unread(repository: Repository, error: str) -> None:
    """The rules could not be read. What was read last counts until it is too old."""
    ProtectionWatch.objects.update_or_create(repository=repository, defaults={"error": error[:1000]})


@transaction.atomic(durable=True)
def record_canary(expectation: ProtectionExpectation, canary: Canary, *, by: Actor) -> CanaryRun:
    """Store what the canary proved, or that it merged, which is an incident."""
    said: list[JsonValue] = [
        {"what": one.what, "status": one.status, "said": one.said[:1000], "refused": one.is_refused}
        for one in canary.attempts
    ]
    body: dict[str, JsonValue] = {
        "repository": expectation.repository.full_name,
        "expectation": expectation.digest,
        "outcome": canary.outcome.value,
        "number": canary.number,
        "head": canary.head_sha,
        "attempts": said,
    }
    entry = append_event(_CANARY_EVENTS[canary.outcome], by, "", body)
    return CanaryRun.objects.create(
        repository_id=expectation.repository_id,
        expectation=expectation,
        outcome=canary.outcome,
        number=canary.number,
        head_sha=canary.head_sha,
        said=said,
        created_at=entry.created_at,
        log_entry=entry,
    )


def refuse_trial(hosted: GitHubRepository) -> None:
    """What one token wrote and judged does not become separated afterwards: a trail that began so ends so.

    Raises: HandoffError("repository.trial").
    """
    if not hosted.is_separated:
        detail = (
            f"{hosted} is tried out here with one token, and its trail stays so; next: an empty portal, then govern"
        )
        raise HandoffError("repository.trial", detail)


def newest_expectation(repository: Repository) -> ProtectionExpectation | None:
    """What counts for a repository now; None where it was never enrolled."""
    rows = ProtectionExpectation.objects.filter(repository=repository).select_related("repository")
    return rows.order_by("-pk").first()


def expected_of(expectation: ProtectionExpectation) -> Expected:
    """What an expectation says, with its numbers. Raises: ExpectedError for a row that nobody of us wrote."""
    return expected_from_json(expectation.expected)


def newest_reading(expectation: ProtectionExpectation) -> ProtectionReading | None:
    """What was found last under an expectation."""
    return ProtectionReading.objects.filter(expectation=expectation).order_by("-pk").first()
