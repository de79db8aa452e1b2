"""Putting a repository on GitHub under the portal: Apps, row, rules, the onboarding check, and a canary that proves it.

Done by an operator at the machine with an administrator's token, used for this run and kept nowhere. Safe to repeat.
Source: trail.md section 8; product.md section 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from handoffs.actions import Enrolment, govern_on_github
from handoffs.forges.protocol import ForgeError
from handoffs.github.canary import Flight, fly_canary
from handoffs.github.connection import Connection
from handoffs.github.findings import Finding, Outcome, broken, is_green
from handoffs.github.live import Bypass, Expected, Installed
from handoffs.github.manifests import SIDES
from handoffs.github.onboarding import check_onboarding
from handoffs.github.rules import Reader, read_installed, read_live
from handoffs.github.rules_writing import plan_rules, write_rules, written
from handoffs.models import CanaryOutcome, GitHubRepository, HandoffError, ProtectionExpectation
from handoffs.models import Reader as Who
from handoffs.protecting import (
    Attempt,
    Canary,
    expect_protection,
    expected_of,
    newest_expectation,
    record_canary,
    record_reading,
    refuse_trial,
)
from leoportal.setup import OPERATOR
from verdicts.evidence import policy_in_force
from verdicts.policy import parse_policy

type Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What an operator asks for. `builders` is who may push to `staging/*`.

    `installations` are the numbers of the enforcer's and the gate's, where GitHub lists none: on a person's account.
    """

    full_name: str
    branch: str = "main"
    is_observed: bool = False
    builders: Bypass | None = None
    break_glass: int = 0
    listed: tuple[int, ...] = ()
    is_linear: bool = False
    has_queue: bool = False
    accepted: tuple[str, ...] = ()
    installations: tuple[int, int] | None = None


class Ending(StrEnum):
    """How putting a repository under the portal ended."""

    ENFORCED = "enforced"
    OBSERVED = "observed"
    TRIAL = "tried out, not separated"
    OPEN = "open"
    UNPROVEN = "unproven"
    INCIDENT = "incident"


@dataclass(frozen=True)
class Governed:
    """How it ended. `next_step` is empty when nothing is left to do."""

    ending: Ending
    findings: tuple[Finding, ...]
    next_step: str = ""


def govern(wish: Wish, connection: Connection, *, say: Say, pause: Callable[[], None]) -> Governed:
    """All steps, one after the other; what is left to do at its end.

    Raises: ForgeError, HandoffError, VerdictError with a stable code. What was done until then stays and is recorded.
    """
    reader = Reader(connection)
    about = _about(reader, wish.full_name)
    say(f"1 repository  {about['full_name']} is number {about['id']}, and the token administers it")
    apps = _apps(reader, str(about["owner"]["login"]), wish.installations)
    say(f"2 Apps        leo-enforcer {apps['enforcer'].app_id} and leo-gate {apps['gate'].app_id} are installed")
    hosted = _enrol(wish, reader, about, apps)
    say(f"3 registered  {hosted.full_name}, {wish.branch} at {hosted.enrolled_sha[:12]}")
    expected = _expected(wish, apps)
    if not wish.is_observed:
        expected = _write(reader, hosted.full_name, expected, say)
    findings = _check(reader, hosted.full_name, expected)
    _tell(findings, say)
    expectation = expect_protection(hosted.repository, expected, is_observed=wish.is_observed, by=OPERATOR)
    record_reading(expectation, findings, reader=Who.ADMINISTRATOR, by=OPERATOR)
    if wish.is_observed:
        say("6 canary      none: OBSERVE MODE, nothing blocks, and everything says so")
        return Governed(Ending.OBSERVED, findings, "run it again without --observe once the team is ready")
    if not is_green(findings):
        open_ones = [finding for finding in findings if finding.outcome not in {Outcome.OK, Outcome.ACCEPTED}]
        return Governed(Ending.OPEN, findings, open_ones[0].step or "correct what is listed, then run it again")
    return _prove(expectation, expected, connection, findings, say=say, pause=pause)


def check(full_name: str, connection: Connection, *, say: Say) -> tuple[Finding, ...]:
    """Look at a governed repository's rules with an administrator's eyes, and record what was found.

    Raises: ForgeError, HandoffError("repository.unknown").
    """
    hosted = GitHubRepository.objects.select_related("repository").filter(full_name=full_name).first()
    expectation = newest_expectation(hosted.repository) if hosted else None
    if hosted is None or expectation is None:
        raise HandoffError("repository.unknown", f"{full_name} is not governed; next: leo repo govern {full_name}")
    refuse_trial(hosted)
    reader = Reader(connection)
    policy = parse_policy(policy_in_force().document.encode())
    wish = _wish_of(full_name, expectation)
    # Who looked and found nothing wrong vouches for the rule sets as they are now.
    known = (hosted.enforcer_installation, hosted.gate_installation)
    expected = _expected(wish, _apps(reader, full_name.split("/", 1)[0], known))
    expected = written(reader, full_name, expected, plan_rules(reader, full_name, expected))
    findings = _check(reader, full_name, expected)
    _tell(findings, say)
    if set(expected.contexts) == {gate.check_name for gate in policy.gates} and not broken(findings):
        renewed = expect_protection(hosted.repository, expected, is_observed=wish.is_observed, by=OPERATOR)
        if renewed.pk != expectation.pk:
            say("the rule sets changed since the last look: leo repo govern flies a new canary")
        expectation = renewed
    record_reading(expectation, findings, reader=Who.ADMINISTRATOR, by=OPERATOR)
    return findings


def _about(reader: Reader, full_name: str) -> dict[str, Any]:
    about: dict[str, Any] = reader.get(f"/repos/{full_name}")
    if not (about.get("permissions") or {}).get("admin"):
        detail = f"got a token without administration of {full_name}, expected an administrator's"
        raise ForgeError("github.not_admin", detail)
    return about


def _apps(reader: Reader, owner: str, given: tuple[int, int] | None = None) -> dict[str, Installed]:
    """Both Apps where they are installed, by GitHub's list or by the numbers given.

    Raises: HandoffError("apps.unknown"), ("apps.unseen"), ("apps.not_installed").
    """
    numbers = {"enforcer": settings.GITHUB_ENFORCER_APP_ID, "gate": settings.GITHUB_GATE_APP_ID}
    if not all(numbers.values()) or numbers["enforcer"] == numbers["gate"]:
        address = f"{settings.PORTAL_URL}/repositories/apps/"
        detail = f"got the Apps {numbers}, expected two different ones; next: {address}, then leo repo app"
        raise HandoffError("apps.unknown", detail)
    if given is not None:
        named = zip(SIDES, given, strict=True)
        return {side: Installed(numbers[side], f"leo-{side}", {}, number) for side, number in named}
    try:
        found = {app.app_id: app for app in read_installed(reader, owner)}
    except ForgeError as error:
        listed = f"{owner}'s installed Apps cannot be listed ({error.code})"
        detail = f"{listed}; next: a token of the organisation's owner, or --installations"
        raise HandoffError("apps.unseen", detail) from None
    absent = [f"leo-{side} ({numbers[side]})" for side in SIDES if numbers[side] not in found]
    if absent:
        detail = f"{', '.join(absent)} is not installed at {owner}; next: {settings.GITHUB_URL}/settings/apps, Install"
        raise HandoffError("apps.not_installed", detail)
    return {side: found[number] for side, number in numbers.items()}


def _enrol(wish: Wish, reader: Reader, about: dict[str, Any], apps: dict[str, Installed]) -> GitHubRepository:
    tip = str(reader.get(f"/repos/{about['full_name']}/git/ref/heads/{wish.branch}")["object"]["sha"])
    number = int(about["id"])
    hosted = govern_on_github(
        Enrolment(
            github_id=number,
            full_name=str(about["full_name"]),
            protected_branch=wish.branch,
            tip=tip,
            mirror=Path(settings.FORGE_ROOT) / "github" / f"{number}.git",
            enforcer_installation=apps["enforcer"].number,
            gate_installation=apps["gate"].number,
            gate_app=apps["gate"].app_id,
            is_observed=wish.is_observed,
        ),
        by=OPERATOR,
    )
    refuse_trial(hosted)
    if hosted.gate_app != apps["gate"].app_id or hosted.repository.protected_branch != wish.branch:
        raise HandoffError("repository.other", f"{hosted} is governed with another leo-gate or branch; it keeps them")
    return hosted


def _expected(wish: Wish, apps: dict[str, Installed]) -> Expected:
    policy = parse_policy(policy_in_force().document.encode())
    return Expected(
        branch=wish.branch,
        contexts=tuple(gate.check_name for gate in policy.gates),
        gate_app=apps["gate"].app_id,
        enforcer_app=apps["enforcer"].app_id,
        builders=wish.builders,
        break_glass=wish.break_glass,
        listed=wish.listed,
        is_linear=wish.is_linear,
        has_queue=wish.has_queue,
        accepted=wish.accepted,
    )


def _wish_of(full_name: str, expectation: ProtectionExpectation) -> Wish:
    was = expected_of(expectation)
    return Wish(
        full_name,
        was.branch,
        expectation.is_observed,
        was.builders,
        was.break_glass,
        was.listed,
        was.is_linear,
        was.has_queue,
        was.accepted,
    )


def _write(reader: Reader, full_name: str, expected: Expected, say: Say) -> Expected:
    plan = plan_rules(reader, full_name, expected)
    if not plan.changes:
        say(f"4 rules       as they should be ({plan.kind}), nothing was changed")
    for change in plan.changes:
        say(f"4 rules       {change.what}: {'; '.join(change.lines)}")
    write_rules(reader, plan)
    return written(reader, full_name, expected, plan)


def _check(reader: Reader, full_name: str, expected: Expected) -> tuple[Finding, ...]:
    live = read_live(reader, full_name, expected, secrets_set=secrets_set())
    return check_onboarding(expected, live, now=timezone.now())


def secrets_set() -> dict[str, datetime]:
    """When each App's webhook secret was made: by its file, which is not read."""
    found = {}
    for side in SIDES:
        path = settings.VAR / "github" / f"leo-{side}.webhook-secret"
        if path.exists():
            found[side] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return found if len(found) == len(SIDES) else {}


def _tell(findings: tuple[Finding, ...], say: Say) -> None:
    good = sum(finding.outcome is Outcome.OK for finding in findings)
    say(f"5 check       {good} of {len(findings)} points hold")
    for finding in findings:
        if finding.outcome is not Outcome.OK:
            say(f"  {finding.outcome.value:8} {finding.code} {finding.sentence}: got {finding.got}")
            say(f"           expected {finding.expected}. Next: {finding.step}")


def _prove(
    expectation: ProtectionExpectation,
    expected: Expected,
    connection: Connection,
    findings: tuple[Finding, ...],
    *,
    say: Say,
    pause: Callable[[], None],
) -> Governed:
    flight = fly_canary(
        connection, expectation.repository.full_name, expected, say=lambda text: say(f"6 {text}"), pause=pause
    )
    record_canary(expectation, _canary(flight), by=OPERATOR)
    left = f"; left behind: {', '.join(flight.left_behind)}, delete it by hand" if flight.left_behind else ""
    if flight.has_landed:
        step = (
            f"INCIDENT: the canary landed on {expected.branch}. Revert {flight.head_sha[:12]}, see who may bypass{left}"
        )
        return Governed(Ending.INCIDENT, findings, step)
    if not flight.is_refused:
        step = f"the refusal named no rule, so nothing is proved: run it again{left}"
        return Governed(Ending.UNPROVEN, findings, step)
    say("7 enforced    the gate may publish from now on")
    return Governed(Ending.ENFORCED, findings, left.removeprefix("; "))


def _canary(flight: Flight) -> Canary:
    outcome = CanaryOutcome.REFUSED if flight.is_refused else CanaryOutcome.UNPROVEN
    attempts = tuple(Attempt(one.what, one.status, one.said, one.is_refused) for one in flight.tried)
    return Canary(CanaryOutcome.MERGED if flight.has_landed else outcome, flight.number, flight.head_sha, attempts)
