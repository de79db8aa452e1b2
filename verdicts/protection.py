"""Reads: whether the gates of a repository block anything now. A verdict carries the answer.

LocalGit's own hook enforces what the portal decides, so nothing is read there. On GitHub it is enforced by rules that
somebody else keeps: they count only while a canary proved them, they were found as expected, and lately.
Source: trail.md section 8; GATE-08 and GATE-16 of the threat list.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from handoffs.github.findings import Finding, Outcome, Protection, findings_from_json
from handoffs.models import (
    CanaryOutcome,
    CanaryRun,
    ProtectionExpectation,
    ProtectionReading,
    ProtectionWatch,
    ReadingState,
    Repository,
)
from handoffs.protecting import newest_canary, newest_expectation, newest_reading
from verdicts.models import PolicyVersion
from verdicts.policy_document import Policy, parse_policy

# A difference is seen within two minutes: two looks a minute apart. What is older than that is not known.
READING_HOLDS: Final = timedelta(seconds=120)
GOVERN: Final = "run `leo repo govern OWNER/NAME` at the portal's machine"


@dataclass(frozen=True)
class Standing:
    """A repository's protection as it stands. `why` and `step` are empty while it is enforced.

    `is_enrolled`: a canary proved once that these gates block, or they are only observed; before that nothing is
    published for the repository.
    """

    state: Protection
    why: str
    step: str
    is_enrolled: bool
    expectation: ProtectionExpectation | None = None
    reading: ProtectionReading | None = None
    canary: CanaryRun | None = None
    read_at: datetime | None = None
    error: str = ""

    @property
    def label(self) -> str:
        """What a check run's title and a page begin with; empty while it is enforced."""
        return "" if self.state is Protection.ENFORCED else self.state.value

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the last reading found."""
        return findings_from_json(self.reading.findings) if self.reading else ()

    @property
    def open_findings(self) -> tuple[Finding, ...]:
        """What of it does not hold or was not seen."""
        return tuple(finding for finding in self.findings if finding.outcome is not Outcome.OK)


ENFORCED_BY_HOOK: Final = Standing(Protection.ENFORCED, "", "", is_enrolled=True)


def protection_of(repository: Repository, policy: Policy) -> Standing:
    """How a repository's protection stands now, under the policy in force."""
    if repository.forge == Repository.Forge.LOCAL_GIT:
        return ENFORCED_BY_HOOK
    expectation = newest_expectation(repository)
    if expectation is None:
        return Standing(Protection.UNENFORCED, "Nothing was ever expected of its rules.", GOVERN, is_enrolled=False)
    watch = ProtectionWatch.objects.filter(repository=repository).first()
    reading, canary = newest_reading(expectation), newest_canary(expectation)
    state, why, step = _judge(expectation, reading, canary, watch, policy)
    is_proved = canary is not None and canary.outcome == CanaryOutcome.REFUSED
    return Standing(
        state,
        why,
        step,
        is_enrolled=expectation.is_observed or is_proved,
        expectation=expectation,
        reading=reading,
        canary=canary,
        read_at=watch.read_at if watch else None,
        error=watch.error if watch else "",
    )


def current_label(repository: Repository) -> str:
    """What every page about a repository says of it; empty while its gates are enforced."""
    if repository.forge == Repository.Forge.LOCAL_GIT:
        return ""
    policy = PolicyVersion.objects.order_by("-number").first()
    if policy is None:
        return Protection.UNENFORCED.value
    return protection_of(repository, parse_policy(policy.document.encode())).label


def _judge(
    expectation: ProtectionExpectation,
    reading: ProtectionReading | None,
    canary: CanaryRun | None,
    watch: ProtectionWatch | None,
    policy: Policy,
) -> tuple[Protection, str, str]:
    if expectation.is_observed:
        return Protection.OBSERVED, "Everything runs, nothing blocks.", f"{GOVERN}, without --observe"
    if canary is None or canary.outcome != CanaryOutcome.REFUSED:
        said = "A canary was merged: nothing blocks." if canary and canary.outcome == CanaryOutcome.MERGED else ""
        return Protection.UNENFORCED, said or "No canary has proved yet that the gates block.", GOVERN
    required = sorted(str(name) for name in expectation.expected.get("contexts", []))
    if sorted(gate.check_name for gate in policy.gates) != required:
        return Protection.UNENFORCED, "The policy names other checks than the rules require.", GOVERN
    if reading is None or reading.state != ReadingState.AGREED:
        return Protection.UNENFORCED, "The rules at GitHub are not the expected ones.", _next_step(reading)
    if watch is None or watch.read_at is None or watch.read_at < timezone.now() - READING_HOLDS:
        when = f"since {watch.read_at:%Y-%m-%d %H:%M:%S} UTC" if watch and watch.read_at else "ever"
        why = f"Nobody has read the rules {when}{f': {watch.error}' if watch and watch.error else ''}."
        return (
            Protection.UNENFORCED,
            why,
            "look at the enforcer's worker and at GitHub's status; each minute tries again",
        )
    return Protection.ENFORCED, "", ""


def _next_step(reading: ProtectionReading | None) -> str:
    findings = findings_from_json(reading.findings) if reading else ()
    return next((finding.step for finding in findings if finding.outcome is Outcome.BROKEN), GOVERN)
