"""What the check runs of leo-gate say of one head: a pure function of what GitHub and our own rows say.

No clock, no I/O, no settings. Nothing satisfies GitHub unless every condition holds; what is not known is not success.
Source: product.md section 6; GATE-03, GATE-05, GATE-07 and GATE-09 of the threat list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from verdicts.findings import GateOutcome
from verdicts.policy_document import Gate

# What GitHub takes for a required check that passed.
SATISFYING: Final = frozenset({"success", "neutral", "skipped"})
TITLE: Final = 200


class Stage(StrEnum):
    """Where a pull request stands here."""

    WAITING = "waiting"
    VERIFYING = "verifying"
    WITH_LEAD = "with LEAD"
    SENT_BACK = "sent back"
    RELEASED = "released"
    ENDED = "ended"


class Release(StrEnum):
    """How a pull request was released; the title of Gate 3 says it."""

    PASS = "PASS"  # noqa: S105 - a verdict
    APPROVED = "APPROVED"
    OVERRIDE = "OVERRIDE"
    BREAK_GLASS = "BREAK-GLASS"


@dataclass(frozen=True)
class OpenPull:
    """An open pull request, as GitHub has it now."""

    number: int
    head_sha: str
    base_ref: str


@dataclass(frozen=True)
class Seen:
    """The result that counts of one gate, and whether its entry is in a signed checkpoint."""

    outcome: GateOutcome
    is_covered: bool


@dataclass(frozen=True)
class Doubt:
    """Why what was released may not be shown as a success now, and who clears it."""

    sentence: str
    who: str = "PLAN"


@dataclass(frozen=True)
class Cause:
    """The verdict or approval that released a pull request, with what it binds. `entry` is its place in the log."""

    release: Release
    entry: int
    head_sha: str
    base_sha: str
    merge_tree: str
    is_covered: bool


@dataclass(frozen=True)
class Known:
    """What our rows say of one pull request.

    `label` is the newest verdict in words, empty before there is one. `doubts` are reasons why what was released may
    not be shown as a success now: an alarm, a wrong clock, checks that run again, evidence that changed.
    """

    number: int
    head_sha: str
    base_ref: str
    base_sha: str
    merge_tree: str
    stage: Stage
    gates: Mapping[str, Seen] = field(default_factory=dict)
    cause: Cause | None = None
    label: str = ""
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What one check run has to say. `causes` are the entries of the log that a success of Gate 3 rests on."""

    context: str
    key: str
    is_own: bool
    status: str
    conclusion: str
    title: str
    causes: tuple[int, ...] = ()

    @property
    def is_satisfying(self) -> bool:
        """Whether GitHub lets a merge pass because of it."""
        return self.conclusion in SATISFYING

    @property
    def is_release(self) -> bool:
        """Whether it is the one that is written last, and taken back first."""
        return self.is_own and self.is_satisfying


def desire(
    sha: str, pulls: Sequence[OpenPull], known: Mapping[int, Known], gates: Sequence[Gate]
) -> tuple[Wanted, ...]:
    """The check runs of one head: the input gates in their order, Gate 3 last.

    `pulls` are the open pull requests with this head, whatever their base: a check run belongs to the commit alone, so
    that two of them with one head would share a success that was given to one.
    """
    stranger = _stranger(sha, pulls, known)
    if stranger is not None:
        return tuple(_of(gate, *stranger) for gate in gates)
    one = known[pulls[0].number]
    own = next(gate for gate in gates if gate.is_own)
    doubts = doubts_of(sha, one, gates)
    release = one.cause if one.stage is Stage.RELEASED and not doubts else None
    inputs = tuple(_input(gate, one.gates.get(gate.key), release) for gate in gates if not gate.is_own)
    return (*inputs, _gate_3(own, one, release, doubts))


def _stranger(sha: str, pulls: Sequence[OpenPull], known: Mapping[int, Known]) -> tuple[str, str, str] | None:
    """Why nothing that we know belongs to this head: status, conclusion, title."""
    if not pulls:
        return "completed", "failure", "No open pull request has this head"
    if len(pulls) > 1:
        numbers = " and ".join(f"#{pull.number}" for pull in pulls[:5])
        return "completed", "failure", f"{numbers} have the same head: close all but one"
    one = known.get(pulls[0].number)
    if one is None:
        return "completed", "failure", "Not handed over through the portal"
    if one.base_ref != pulls[0].base_ref:
        return "completed", "failure", f"Judged for {one.base_ref}, and its base is another branch now"
    if one.head_sha != sha or pulls[0].head_sha != sha:
        return "queued", "", "Nobody handed this head over: the one that was judged is another"
    return None


def doubts_of(sha: str, known: Known, gates: Sequence[Gate]) -> tuple[Doubt, ...]:
    """Why what is released may not be shown as a success on this head; empty if it may."""
    cause = known.cause
    if cause is None:
        return (Doubt("no PASS and no approval holds for this head"), *known.doubts)
    found = list(known.doubts)
    if not known.head_sha == cause.head_sha == sha:
        found.append(Doubt("the verdict is about another head"))
    if cause.base_sha != known.base_sha:
        found.append(Doubt("the verdict is about another base"))
    if not cause.merge_tree or cause.merge_tree != known.merge_tree:
        found.append(Doubt("the verdict is about another tree"))
    if not cause.is_covered:
        found.append(Doubt("no signed checkpoint covers the verdict yet", "time"))
    accepts = cause.release in {Release.OVERRIDE, Release.BREAK_GLASS}
    for gate in gates:
        seen = known.gates.get(gate.key)
        if (seen is None or seen.outcome is not GateOutcome.SUCCESS) and (gate.is_own or not accepts):
            said = seen.outcome.value if seen else GateOutcome.MISSING.value
            found.append(Doubt(f"{gate.check_name} is {said}"))
        elif seen is not None and not seen.is_covered:
            found.append(Doubt(f"no signed checkpoint covers {gate.check_name} yet", "time"))
    return tuple(found)


def _of(gate: Gate, status: str, conclusion: str, title: str, causes: tuple[int, ...] = ()) -> Wanted:
    return Wanted(gate.check_name, gate.key, gate.is_own, status, conclusion, title[:TITLE], causes)


def _input(gate: Gate, seen: Seen | None, release: Cause | None) -> Wanted:
    """One of the gates that a verdict waits for. Anything but an explicit, covered success is none.

    What LEAD accepted although it is no success is neutral: GitHub lets it pass, and it is not green.
    """
    outcome = seen.outcome if seen else GateOutcome.MISSING
    if seen is not None and outcome is GateOutcome.SUCCESS:
        if seen.is_covered:
            return _of(gate, "completed", "success", "success")
        return _of(gate, "in_progress", "", "success, once a signed checkpoint covers it")
    if release is not None:
        return _of(gate, "completed", "neutral", f"{release.release}: accepted although it is {outcome}")
    if outcome is GateOutcome.MISSING:
        return _of(gate, "in_progress", "", "Waiting for its result")
    title = outcome.value if outcome is GateOutcome.FAILURE else f"{outcome}, which is no success"
    return _of(gate, "completed", "failure", title)


def _gate_3(own: Gate, known: Known, release: Cause | None, doubts: Sequence[Doubt]) -> Wanted:
    label = known.label
    match known.stage:
        case Stage.RELEASED if release is not None:
            said = label if release.release is Release.PASS else _join(release.release.value, label)
            return _of(own, "completed", "success", said or release.release.value, (release.entry,))
        case Stage.RELEASED:
            return _of(own, "in_progress", "", _join(label, f"not yet: {doubts[0].sentence}"))
        case Stage.WAITING:
            return _of(own, "queued", "", "The workflows on this head are being triggered")
        case Stage.VERIFYING:
            inputs = [seen for key, seen in known.gates.items() if key != own.key]
            passed = sum(seen.outcome is GateOutcome.SUCCESS for seen in inputs)
            return _of(own, "in_progress", "", f"No verdict yet; {passed} gates passed")
        case Stage.WITH_LEAD:
            return _of(own, "completed", "action_required", _join(label, "waiting for LEAD"))
        case Stage.SENT_BACK:
            return _of(own, "completed", "failure", _join(label, "sent back to the builder"))
        case Stage.ENDED:
            return _of(own, "completed", "failure", "Superseded: this pull request is over here")


def _join(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def desire_group(members: Sequence[Known], problem: str, gates: Sequence[Gate]) -> tuple[Wanted, ...]:
    """The check runs of a merge group: success only if every member is released, and nothing else is in it.

    `problem` is why the group's own commit is not what merging its members gives; empty if it is.
    """
    doubts = [problem] if problem else []
    if not members and not problem:
        doubts.append("nothing is in this group")
    for one in members:
        found = doubts_of(one.head_sha, one, gates)
        if one.stage is not Stage.RELEASED:
            found = (Doubt(f"it is {one.stage}"), *found)
        doubts += [f"#{one.number}: {doubt.sentence}" for doubt in found[:1]]
    if doubts:
        return tuple(_of(gate, "completed", "failure", f"Merge group: {doubts[0]}") for gate in gates)
    causes = tuple(one.cause.entry for one in members if one.cause is not None)
    numbers = ", ".join(f"#{one.number}" for one in members)
    title = f"Merge group of {numbers}: each is released, and the tree is what merging them gives"
    first = [_of(gate, "completed", "success", title) for gate in gates if not gate.is_own]
    return (*first, *(_of(gate, "completed", "success", title, causes) for gate in gates if gate.is_own))


def after_completion(wanted: Wanted) -> Wanted:
    """What is said in place of waiting by a run that was completed before: GitHub completes a run once, for certain."""
    if wanted.status == "completed":
        return wanted
    return replace(wanted, status="completed", conclusion="failure", title=f"Not now: {wanted.title}"[:TITLE])


def in_order(wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """What is taken back first, what releases last."""
    return tuple(sorted(wanted, key=lambda one: (one.is_release, one.is_satisfying, not one.is_own)))
