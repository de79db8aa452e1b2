"""Separation of duties as arithmetic on principals. Pure: no rows, no clock.

A principal is a person or a machine; a machine has a sponsor, who answers for it. Two principals are the same if one
person stands behind both: the closure of sponsorship and of what administrators linked as one person.
Not checked: whether an account really belongs to its principal (that is the registry's business).
Source: SOP sections 1 and 5; the two-human rule of SLSA's source track.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import combinations

from audit.events import Role

type Name = tuple[str, str]

MAKERS = frozenset({Role.BUILDER, Role.ENFORCER})
DECIDERS = frozenset({Role.PLAN, Role.LEAD})


class Assurance(StrEnum):
    """What the people behind the lanes allow to be claimed."""

    SEPARATED = "separated"
    SINGLE_OPERATOR = "single_operator"


class UnknownPrincipalError(Exception):
    """A principal, or whoever answers for it, that the registry does not know: refused, never exempt."""


@dataclass(frozen=True)
class Part:
    """One principal's duty on one handoff, or in the portal."""

    principal_id: int
    duty: Role


@dataclass(frozen=True)
class Contributors:
    """Who stands behind a change, and the names that belong to nobody."""

    principals: frozenset[int]
    unknown: tuple[Name, ...]


@dataclass(frozen=True)
class Registry:
    """Who is who at one moment: who answers for each principal (None: a person), which are one person, who holds which
    role, whose names.
    """

    sponsors: Mapping[int, int | None]
    links: frozenset[tuple[int, int]] = frozenset()
    held: tuple[Part, ...] = ()
    owners: Mapping[Name, int] = field(default_factory=dict)

    @cached_property
    def people(self) -> Mapping[int, int]:
        """The person behind each principal: the least number of those who are one person. Without one: not in here."""
        leaders = {principal: principal for principal in self.sponsors}

        def leader(principal: int) -> int:
            while leaders[principal] != principal:
                leaders[principal] = leaders[leaders[principal]]
                principal = leaders[principal]
            return principal

        for a, b in (*self.sponsors.items(), *self.links):
            if b is not None and a in leaders and b in leaders:
                leaders[leader(a)] = leader(b)
        named: dict[int, int] = {}
        for principal in sorted(self.sponsors):
            if self.sponsors[principal] is None:
                named.setdefault(leader(principal), principal)
        return {principal: named[leader(principal)] for principal in self.sponsors if leader(principal) in named}

    def person(self, principal_id: int) -> int:
        """The person behind a principal. Raises: UnknownPrincipalError."""
        try:
            return self.people[principal_id]
        except KeyError:
            raise UnknownPrincipalError(f"nobody known answers for principal {principal_id}") from None

    def circle(self, principal_id: int) -> frozenset[int]:
        """Everybody who is the same as this principal, itself included. Raises: UnknownPrincipalError."""
        person = self.person(principal_id)
        return frozenset(other for other, behind in self.people.items() if behind == person)


def same(a: int, b: int, registry: Registry) -> bool:
    """Whether one person stands behind both. Raises: UnknownPrincipalError."""
    return registry.person(a) == registry.person(b)


def humans(principals: Iterable[int], registry: Registry) -> frozenset[int]:
    """The people behind these principals, each once. Raises: UnknownPrincipalError."""
    return frozenset(registry.person(principal) for principal in principals)


def contributors(names: Iterable[Name], registry: Registry) -> Contributors:
    """Everybody behind a change: the owners of these names and who answers for them; and the names without owner."""
    wanted = dict.fromkeys(names)
    owned = {name: registry.owners[name] for name in wanted if registry.owners.get(name) in registry.people}
    people = humans(owned.values(), registry)
    return Contributors(people | frozenset(owned.values()), tuple(name for name in wanted if name not in owned))


def conflict(parts: Iterable[Part], candidate: int, duty: Role, registry: Registry) -> Part | None:
    """The part that forbids `candidate` to act in `duty`, or None.

    Reporters do not judge and are not judged: their reports carry their own identity, and a builder's
    or decider's report is refused like any other second duty. Raises: UnknownPrincipalError.
    """
    person = registry.person(candidate)
    for part in parts:
        if part.duty != duty and registry.person(part.principal_id) == person:
            return part
    return None


def conflicts(parts: Iterable[Part], registry: Registry) -> tuple[tuple[Part, Part], ...]:
    """Every two parts of one person in different duties. Raises: UnknownPrincipalError."""
    pairs = combinations(parts, 2)
    return tuple((a, b) for a, b in pairs if a.duty != b.duty and same(a.principal_id, b.principal_id, registry))


def assurance(registry: Registry) -> Assurance:
    """Whether nobody who answers for builders or the enforcer answers for PLAN or LEAD, too.

    A holder whom nobody answers for lowers it: unknown is never exempt.
    """
    try:
        makers = humans((part.principal_id for part in registry.held if part.duty in MAKERS), registry)
        deciders = humans((part.principal_id for part in registry.held if part.duty in DECIDERS), registry)
    except UnknownPrincipalError:
        return Assurance.SINGLE_OPERATOR
    return Assurance.SINGLE_OPERATOR if makers & deciders else Assurance.SEPARATED
