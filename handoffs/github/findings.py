"""What one check of a repository's set-up at GitHub found: values, and their stored form. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from audit.canonical import JsonValue
from handoffs.github.live import Expected, Live, Unseen
from handoffs.github.requirements import Requirements

GOVERN: Final = "run `leo repo govern` again"
LOOK: Final = "run `leo repo check` with an administrator's token, which shows it"


class Protection(StrEnum):
    """What a verdict can claim of the gate behind it."""

    ENFORCED = "ENFORCED"
    OBSERVED = "OBSERVE MODE"
    UNENFORCED = "UNENFORCED"


class Outcome(StrEnum):
    """How one check ended."""

    OK = "ok"
    BROKEN = "broken"
    UNSEEN = "unseen"
    ACCEPTED = "accepted"


@dataclass(frozen=True)
class Finding:
    """What one check found. `about` is the code of what could not be seen, `step` empty when nothing is to be done."""

    code: str
    outcome: Outcome
    sentence: str
    got: str
    expected: str
    step: str = ""
    about: str = ""


@dataclass(frozen=True)
class Case:
    """What a check looks at."""

    expected: Expected
    live: Live
    needs: Requirements
    now: datetime


type Check = Callable[[Case], Iterator[Finding]]


def is_green(findings: tuple[Finding, ...]) -> bool:
    """Whether everything was seen and holds, or was accepted by name."""
    return bool(findings) and all(finding.outcome in {Outcome.OK, Outcome.ACCEPTED} for finding in findings)


def broken(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What does not hold."""
    return tuple(finding for finding in findings if finding.outcome is Outcome.BROKEN)


# What may be accepted by name when a repository is enrolled, because its GitHub cannot do better. Never the gates.
ACCEPTABLE: Final = frozenset(
    f"config.{name}" for name in ("lanes", "other_app", "environments", "history", "webhook_secret")
)


def accept(findings: tuple[Finding, ...], names: tuple[str, ...]) -> tuple[Finding, ...]:
    """The findings, those that were accepted by name marked so."""
    accepted = ACCEPTABLE & set(names)
    return tuple(
        replace(finding, outcome=Outcome.ACCEPTED)
        if finding.outcome is not Outcome.OK and (finding.about or finding.code) in accepted
        else finding
        for finding in findings
    )


# What has to be seen at every reading, by whoever may read the repository's rules at all.
ESSENTIAL: Final = frozenset(
    f"config.{name}"
    for name in ("ruleset", "contexts", "unsafe", "bypass", "force_push", "deletion", "lanes", "history")
)


def holds(findings: tuple[Finding, ...]) -> bool:
    """Whether nothing seen is broken and all that is essential was seen: what an App's reading can say."""
    return bool(findings) and not any(
        finding.outcome is Outcome.BROKEN or (finding.outcome is Outcome.UNSEEN and finding.about in ESSENTIAL)
        for finding in findings
    )


def findings_to_json(findings: tuple[Finding, ...]) -> list[JsonValue]:
    """For the row and the log."""
    return [{**asdict(finding), "outcome": finding.outcome.value} for finding in findings]


def findings_from_json(rows: object) -> tuple[Finding, ...]:
    """As they were stored. Raises: ValueError, KeyError, TypeError for what was never stored by us."""
    if not isinstance(rows, list):
        raise TypeError("expected a list of findings")
    return tuple(Finding(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows)


def judged(code: str, sentence: str, *, good: bool, got: str, expected: str, step: str) -> Finding:
    """A finding about something that was seen."""
    outcome = Outcome.OK if good else Outcome.BROKEN
    return Finding(code, outcome, sentence, got[:500], expected, "" if good else step)


def unseen(code: str, sentence: str, why: Unseen, expected: str) -> Finding:
    """A finding about something that was not: never fine, and named by the check it leaves open."""
    return Finding(
        "config.unseen",
        Outcome.UNSEEN,
        sentence,
        why.why[:500],
        expected,
        LOOK,
        code,
    )
