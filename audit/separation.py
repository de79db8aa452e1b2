"""Separation of duties as arithmetic on principals. Pure: no rows, no clock.

A principal is a person or a machine; a machine has a sponsor, the person who answers for it.
Not checked: whether an account really belongs to its principal (that is the registry's business).
Source: SOP sections 1 and 5; design of the two-human rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from audit.events import Role


@dataclass(frozen=True)
class Part:
    """One principal's duty on one handoff."""

    principal_id: int
    duty: Role


def circle(principal_id: int, sponsors: Mapping[int, int | None]) -> frozenset[int]:
    """The principal, its sponsor, the sponsor's sponsor, and so on: all who stand behind one act.

    Raises: KeyError for a principal nobody knows; the caller refuses (unknown is never exempt).
    """
    found: set[int] = set()
    current: int | None = principal_id
    while current is not None and current not in found:
        found.add(current)
        current = sponsors[current]
    return frozenset(found)


def conflict(parts: Iterable[Part], candidate: frozenset[int], duty: Role) -> Part | None:
    """The part that forbids `candidate` (a circle) to act in `duty`, or None.

    Reporters do not judge and are not judged: their reports carry their own identity, and a builder's
    or decider's report is refused like any other second duty.
    """
    for part in parts:
        if part.principal_id in candidate and part.duty != duty:
            return part
    return None
