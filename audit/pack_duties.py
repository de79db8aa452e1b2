"""Separation in an evidence pack: nobody in two duties on one pull request, and no glass broken by one person.

Source: product.md section 2; SOP section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from audit.canonical import JsonValue
from audit.checkpoint import Checkpoint
from audit.events import BREAK_GLASS_OPENED, BREAK_GLASS_REVIEWED, DECISION_RECORDED, Role
from audit.pack_findings import Act, Report
from audit.pack_reading import Pack, PackError
from audit.separation import Part, Registry, UnknownPrincipalError, conflicts, humans

REVIEW_WITHIN: Final = timedelta(hours=24)


@dataclass(frozen=True)
class Duties:
    """Who acted as what by the leaves (`parts`, by subject), how many there are, and what the pack says about it."""

    pack: Pack
    parts: Mapping[str, set[Part]]
    counts: Mapping[str, int]
    head: Checkpoint
    report: Report

    def registry(self) -> Registry:
        """Who answers for whom, and who is one person.

        Raises: PackError.
        """
        sponsors: dict[int, int | None] = {}
        links: set[tuple[int, int]] = set()
        for where, row in self.pack.rows("principals.jsonl"):
            match row:
                case {"id": int(number), "sponsor": int() | None as sponsor}:
                    sponsors[number] = sponsor
                case {"one": int(one), "other": int(other)}:
                    links.add((one, other))
                case _:
                    raise PackError(where, "expected id and sponsor, or one and other")
        return Registry(sponsors, frozenset(links))

    def check_pulls(self) -> str:
        """Nobody, and nobody who answers for somebody, holds two duties on one pull request."""
        count, registry = 0, self.registry()
        for where, row in self.pack.rows("separation.jsonl"):
            self._check_pull(where, row, registry)
            count += 1
        return f"{count} pull requests looked at"

    def _check_pull(self, where: str, row: Mapping[str, JsonValue], registry: Registry) -> None:
        match row:
            case {
                "repository": str(repository), "pull": int(pull), "handoffs": list(handoffs), "parts": list(told),
                "state": str(state), "log": log, "events": int(events), "pending": int(pending),
            }:  # fmt: skip
                name = f"{repository}#{pull}"
            case _:
                raise PackError(where, "expected repository, pull, handoffs, parts, state, log, events and pending")
        if log != {"size": self.head.size, "root": self.head.root.hex()}:
            raise PackError(where, f"{name} was judged at the tree head {log}, the pack's is {self.head.size}")
        self._refuse_newer(where, name, handoffs, events)
        if pending:
            self.report.gap("separation", f"{name}: {pending} acts are newer than the pack's checkpoint")
        if pending and state != "not_computed":
            raise PackError(where, f"it is called {state}, and {pending} acts on {name} are not in the log's tree")
        parts = {_part(item, where) for item in told}
        for subject in (f"H-{number}" for number in handoffs):
            for part in self.parts.get(subject, set()) - parts:
                who = f"principal {part.principal_id}"
                raise PackError(where, f"{who} acted as {part.duty} on {subject} and is not listed")
        try:
            clashes = conflicts(sorted(parts, key=str), registry)
        except UnknownPrincipalError as error:
            raise PackError(where, str(error)) from None
        problem = "; ".join(
            f"{name}: principal {one.principal_id} as {one.duty}, {other.principal_id} as {other.duty}"
            for one, other in clashes[:1]
        )
        if problem and state == "ok":
            raise PackError(where, f"it is called separated, and is not: {problem}")
        if problem or state == "broken":
            self.report.broken("separation", problem or f"{name}: the portal itself says that a rule is broken")

    def _refuse_newer(self, where: str, name: str, handoffs: Sequence[JsonValue], events: int) -> None:
        """What was judged are the leaves that the pack has about a pull request, no more and no fewer."""
        counts = {number: self.counts.get(f"H-{number}", 0) for number in map(str, handoffs)}
        if newer := [number for number, count in counts.items() if count == 0]:
            raise PackError(where, f"it names H-{newer[0]}, about which the pack has no leaf")
        if events != sum(counts.values()):
            raise PackError(where, f"it was judged by {events} acts on {name}, the pack has {sum(counts.values())}")

    def check_glasses(self, acts: Sequence[Act], made_at: datetime | None) -> str:
        """Each glass was broken by two people, and a third reviewed it in time; what they released was that."""
        registry = self.registry()
        opened = {act.index: _glass(act) for act in acts if act.leaf.kind == BREAK_GLASS_OPENED and act.body}
        reviews = {(act.body or {}).get("break_glass"): act for act in acts if act.leaf.kind == BREAK_GLASS_REVIEWED}
        for act in acts:
            if act.index in opened:
                glass = opened[act.index]
                self._check_people(glass, act, reviews.get(glass.number), registry)
                self._check_review(glass, act, reviews.get(glass.number), made_at)
            elif act.leaf.kind == DECISION_RECORDED and (act.body or {}).get("reason_class") == "break-glass":
                _check_release(act, acts, opened)
        return f"{len(opened)} broken, {len(reviews)} reviewed"

    def _check_people(self, glass: _Glass, act: Act, review: Act | None, registry: Registry) -> None:
        acted = [glass.first, act.leaf.principal, *([review.leaf.principal] if review else [])]
        try:
            people = humans(acted, registry)
        except UnknownPrincipalError as error:
            raise PackError(f"leaf {act.index}", str(error)) from None
        if glass.second != act.leaf.principal:
            raise PackError(f"leaf {act.index}", f"it names {glass.second} as the second, and is by {acted[1]}")
        if len(people) < len(acted):
            who = ", ".join(map(str, acted))
            self.report.broken("break-glass", f"leaf {act.index}: principals {who} are {len(people)} people")

    def _check_review(self, glass: _Glass, act: Act, review: Act | None, made_at: datetime | None) -> None:
        due, where = act.leaf.at + REVIEW_WITHIN, f"leaf {act.index}: glass {glass.number}"
        if (review.leaf.at if review else made_at or act.leaf.at) > due:
            self.report.broken("break-glass", f"{where} was {'reviewed late' if review else 'not reviewed'}")
        elif review is None:
            self.report.gap("break-glass", f"{where} was not reviewed yet; it is due by {due:%Y-%m-%d %H:%M} UTC")


@dataclass(frozen=True)
class _Glass:
    number: int
    first: int
    second: int
    head: str


def _glass(act: Act) -> _Glass:
    match act.body:
        case {"break_glass": int(number), "requested_by": int(first), "second": int(second), "head": str(head)}:
            return _Glass(number, first, second, head)
        case _:
            raise PackError(f"leaf {act.index}", "expected break_glass, requested_by, second and head")


def _check_release(act: Act, acts: Sequence[Act], opened: Mapping[int, _Glass]) -> None:
    """A release of this class is by the two who broke the glass, for the head they broke it for."""
    body = act.body or {}
    wanted = (act.leaf.principal, body.get("countersigned_by"), body.get("head"))
    for other in acts:
        glass = opened.get(other.index)
        if glass and other.leaf.subject == act.leaf.subject and (glass.first, glass.second, glass.head) == wanted:
            return
    raise PackError(f"leaf {act.index}", "released by break-glass, and no leaf says that this glass was broken")


def _part(item: JsonValue, where: str) -> Part:
    match item:
        case {"principal": int(principal), "duty": str(duty)} if duty in set(Role):
            return Part(principal, Role(duty))
        case _:
            raise PackError(where, f"{str(item)[:60]} is no part")
