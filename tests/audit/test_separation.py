"""The arithmetic of separation, held to an oracle in another style: sets of pairs, closed until nothing is new."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from audit.events import GRANTED, Role
from audit.separation import (
    Assurance,
    Part,
    Registry,
    UnknownPrincipalError,
    assurance,
    conflict,
    conflicts,
    contributors,
    humans,
    same,
)

# `make separation` runs the long form.
EXAMPLES = int(os.environ.get("SEPARATION_EXAMPLES", "60"))
STEPS = 50
NAMES = st.tuples(st.sampled_from(["email", "github"]), st.sampled_from("abcdef"))
DUTIES = st.sampled_from(GRANTED)


class Oracle:
    """Facts as sets of pairs. It knows nothing of the module under test but Role."""

    def __init__(self) -> None:
        self.persons: set[int] = set()
        self.machines: set[int] = set()
        self.pairs: set[tuple[int, int]] = set()
        self.names: dict[tuple[str, str], int] = {}
        self.parts: set[tuple[int, Role]] = set()
        self.held: set[tuple[int, Role]] = set()

    @property
    def everybody(self) -> set[int]:
        return self.persons | self.machines

    def closure(self) -> set[tuple[int, int]]:
        found = {(p, p) for p in self.everybody} | self.pairs | {(b, a) for a, b in self.pairs}
        while True:
            more = {(a, d) for a, b in found for c, d in found if b == c} - found
            if not more:
                return found
            found |= more

    def behind(self, principal: int) -> set[int]:
        return {b for a, b in self.closure() if a == principal and b in self.persons}

    def may(self, principal: int, duty: Role) -> bool:
        alike = self.closure()
        return all(d == duty for p, d in self.parts if (p, principal) in alike)

    def is_separated(self) -> bool:
        making = {h for p, d in self.held if d in {Role.BUILDER, Role.ENFORCER} for h in self.behind(p)}
        deciding = {h for p, d in self.held if d in {Role.PLAN, Role.LEAD} for h in self.behind(p)}
        return not making & deciding


class Everyday(RuleBasedStateMachine):
    """People and machines come, names and persons are linked and unlinked, and they act on one handoff."""

    @initialize()
    def begin(self) -> None:
        self.oracle = Oracle()
        self.oracle.persons.add(1)
        self.sponsors: dict[int, int | None] = {1: None}
        self.links: set[tuple[int, int]] = set()

    @property
    def registry(self) -> Registry:
        held = tuple(Part(p, d) for p, d in sorted(self.oracle.held))
        return Registry(self.sponsors, frozenset(self.links), held, self.oracle.names)

    def anybody(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.sponsors)))

    @rule()
    def a_person_comes(self) -> None:
        number = len(self.sponsors) + 1
        self.sponsors[number] = None
        self.oracle.persons.add(number)

    @rule(data=st.data())
    def a_machine_comes(self, data: st.DataObject) -> None:
        number, sponsor = len(self.sponsors) + 1, self.anybody(data)
        self.sponsors[number] = sponsor
        self.oracle.machines.add(number)
        self.oracle.pairs.add((number, sponsor))

    @rule(data=st.data())
    def two_turn_out_to_be_one(self, data: st.DataObject) -> None:
        persons = st.sampled_from(sorted(self.oracle.persons))
        pair = (data.draw(persons), data.draw(persons))
        self.links.add(pair)
        self.oracle.pairs.add(pair)

    @rule(data=st.data())
    def a_link_ends(self, data: st.DataObject) -> None:
        if self.links:
            pair = data.draw(st.sampled_from(sorted(self.links)))
            self.links.discard(pair)
            self.oracle.pairs.discard(pair)

    @rule(name=NAMES, data=st.data())
    def a_name_is_linked(self, name: tuple[str, str], data: st.DataObject) -> None:
        self.oracle.names[name] = self.anybody(data)

    @rule(name=NAMES)
    def a_name_is_unlinked(self, name: tuple[str, str]) -> None:
        self.oracle.names.pop(name, None)

    @rule(duty=DUTIES, data=st.data())
    def a_role_changes(self, duty: Role, data: st.DataObject) -> None:
        person = self.anybody(data)
        self.oracle.held = {(p, d) for p, d in self.oracle.held if p != person} | {(person, duty)}

    @rule(duty=DUTIES, data=st.data())
    def somebody_acts(self, duty: Role, data: st.DataObject) -> None:
        person = self.anybody(data)
        parts = [Part(p, d) for p, d in sorted(self.oracle.parts)]
        assert (conflict(parts, person, duty, self.registry) is None) == self.oracle.may(person, duty)
        if self.oracle.may(person, duty):
            self.oracle.parts.add((person, duty))

    @rule(names=st.lists(NAMES, max_size=5))
    def a_change_is_attributed(self, names: list[tuple[str, str]]) -> None:
        found = contributors(names, self.registry)
        owners = {self.oracle.names[name] for name in names if name in self.oracle.names}
        assert set(found.unknown) == {name for name in names if name not in self.oracle.names}
        assert owners <= found.principals
        assert all(found.principals & self.oracle.behind(owner) for owner in owners)
        assert found.principals <= {other for owner in owners for other in self.oracle.behind(owner) | {owner}}

    @rule(data=st.data())
    def two_are_compared(self, data: st.DataObject) -> None:
        a, b = self.anybody(data), self.anybody(data)
        assert same(a, b, self.registry) == ((a, b) in self.oracle.closure())
        assert humans([a], self.registry) <= self.oracle.behind(a)
        assert self.registry.circle(a) == {y for x, y in self.oracle.closure() if x == a}

    @rule()
    def the_whole_is_judged(self) -> None:
        assert (assurance(self.registry) is Assurance.SEPARATED) == self.oracle.is_separated()
        parts = [Part(p, d) for p, d in sorted(self.oracle.parts)]
        found = {frozenset({a, b}) for a, b in conflicts(parts, self.registry)}
        alike = self.oracle.closure()
        assert found == {
            frozenset({a, b})
            for a in parts
            for b in parts
            if a.duty != b.duty and (a.principal_id, b.principal_id) in alike
        }


Everyday.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
TestEveryday = Everyday.TestCase


@pytest.mark.parametrize("sponsors", [{}, {2: 3}, {2: 2}, {2: 3, 3: 2}], ids=["nobody", "gone", "itself", "a circle"])
def test_whoever_nobody_answers_for_is_unknown_and_refused(sponsors: dict[int, int | None]):
    registry = Registry(sponsors, owners={("email", "x@acme.invalid"): 2})
    for ask in (
        lambda: same(2, 2, registry),
        lambda: humans([2], registry),
        lambda: conflict([], 2, Role.PLAN, registry),
        lambda: registry.circle(2),
    ):
        with pytest.raises(UnknownPrincipalError):
            ask()
    assert contributors([("email", "x@acme.invalid")], registry).unknown == (("email", "x@acme.invalid"),)
    assert assurance(replace(registry, held=(Part(2, Role.BUILDER),))) is Assurance.SINGLE_OPERATOR


def test_one_person_behind_builder_and_lead_lowers_the_assurance():
    registry = Registry({1: None, 2: 1, 3: None, 4: None}, frozenset({(1, 4)}), (Part(2, Role.BUILDER),))
    two, one = (replace(registry, held=(*registry.held, Part(lead, Role.LEAD))) for lead in (3, 4))
    assert (assurance(two), assurance(one)) == (Assurance.SEPARATED, Assurance.SINGLE_OPERATOR)


@given(st.permutations([(1, 2), (2, 3), (4, 5)]))
def test_the_person_behind_somebody_does_not_depend_on_the_order_of_links(links: list[tuple[int, int]]):
    registry = Registry(dict.fromkeys(range(1, 6)), frozenset(links))
    assert [registry.person(n) for n in range(1, 6)] == [1, 1, 1, 4, 4]
