"""Reads: whether the gates of a repository block anything now. A verdict carries the answer.

LocalGit's own hook enforces what the portal decides, so nothing is read there. On GitHub it is enforced by rules that
somebody else keeps: they count only while a canary proved them, they were found as expected, and lately.
Source: trail.md section 8; GATE-08 and GATE-16 of the threat list.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Rows:
    """The newest row of each kind of one repository on GitHub."""

    expectation: ProtectionExpectation
    reading: ProtectionReading | None
    canary: CanaryRun | None
    watch: ProtectionWatch | None


ENFORCED_BY_HOOK: Final = Standing(Protection.ENFORCED, "", "", is_enrolled=True)
NEVER_ENROLLED: Final = Standing(
    Protection.UNENFORCED, "Nothing was ever expected of its rules.", GOVERN, is_enrolled=False
)


def protection_of(repository: Repository, policy: Policy) -> Standing:
    """How a repository's protection stands now, under the policy in force."""
    return protections_of((repository,), policy)[repository.pk]


def protections_of(repositories: Sequence[Repository], policy: Policy) -> dict[int, Standing]:
    """How each of these repositories stands, by key: at most four queries."""
    found = {one.pk: ENFORCED_BY_HOOK for one in repositories}
    hosted = [one.pk for one in repositories if one.forge != Repository.Forge.LOCAL_GIT]
    if not hosted:
        return found
    of_each = ProtectionExpectation.objects.filter(repository__in=hosted).order_by("repository", "-pk")
    expectations = {one.repository_id: one for one in of_each.distinct("repository")}
    newest = {"expectation__in": [one.pk for one in expectations.values()]}
    read = ProtectionReading.objects.filter(**newest).order_by("expectation", "-pk").distinct("expectation")
    flown = CanaryRun.objects.filter(**newest).order_by("expectation", "-pk").distinct("expectation")
    readings, canaries = {one.expectation_id: one for one in read}, {one.expectation_id: one for one in flown}
    watches = {one.repository_id: one for one in ProtectionWatch.objects.filter(repository__in=hosted)}
    for pk in hosted:
        expectation = expectations.get(pk)
        if expectation is None:
            found[pk] = NEVER_ENROLLED
            continue
        rows = Rows(expectation, readings.get(expectation.pk), canaries.get(expectation.pk), watches.get(pk))
        found[pk] = _standing(rows, policy)
    return found


def _standing(rows: Rows, policy: Policy) -> Standing:
    state, why, step = _judge(rows, policy)
    is_proved = rows.canary is not None and rows.canary.outcome == CanaryOutcome.REFUSED
    return Standing(
        state,
        why,
        step,
        is_enrolled=rows.expectation.is_observed or is_proved,
        expectation=rows.expectation,
        reading=rows.reading,
        canary=rows.canary,
        read_at=rows.watch.read_at if rows.watch else None,
        error=rows.watch.error if rows.watch else "",
    )


def current_label(repository: Repository) -> str:
    """What every page about a repository says of it; empty while its gates are enforced."""
    if repository.forge == Repository.Forge.LOCAL_GIT:
        return ""
    policy = PolicyVersion.objects.order_by("-number").first()
    if policy is None:
        return Protection.UNENFORCED.value
    return protection_of(repository, parse_policy(policy.document.encode())).label


def _judge(rows: Rows, policy: Policy) -> tuple[Protection, str, str]:
    expectation, reading, canary, watch = rows.expectation, rows.reading, rows.canary, rows.watch
    if not expectation.expected.get("gateApp"):
        why = "One token in place of both Apps: nothing is separated and nothing blocks."
        return Protection.OBSERVED, why, f"an empty portal with both Apps, then {GOVERN}"
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
