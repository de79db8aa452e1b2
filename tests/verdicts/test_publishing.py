"""What check runs have to say, as a pure function: success in exactly one of all cases, and never on another head."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.support.judging import POLICY
from verdicts.publishing import (
    SATISFYING,
    Cause,
    Doubt,
    Known,
    OpenPull,
    Release,
    Seen,
    Stage,
    after_completion,
    desire,
    desire_group,
    in_order,
)
from verdicts.results import GateOutcome

GATES = POLICY.gates
OWN = POLICY.own_gate
SHA, OTHER, BASE, TREE = "a" * 40, "b" * 40, "c" * 40, "d" * 40
GREEN = {gate.key: Seen(GateOutcome.SUCCESS, is_covered=True) for gate in GATES}
PASS = Cause(Release.PASS, 7, SHA, BASE, TREE, is_covered=True)
KNOWN = Known(1, SHA, "main", BASE, TREE, Stage.RELEASED, GREEN, PASS, "PASS · 91.20 %")
PULL = OpenPull(1, SHA, "main")
CONCLUSIONS = [outcome for outcome in GateOutcome if outcome is not GateOutcome.MISSING]


def gate_3(known: Known = KNOWN, *pulls: OpenPull, sha: str = SHA):
    return next(one for one in desire(sha, pulls or (PULL,), {known.number: known}, GATES) if one.is_own)


@pytest.mark.threat("GATE-09")
def test_of_all_conclusions_of_four_gates_exactly_one_combination_is_a_pass():
    cases = list(itertools.product(CONCLUSIONS, repeat=4))
    assert len(cases) == 6561
    passed = []
    for case in cases:
        seen = {gate.key: Seen(outcome, is_covered=True) for gate, outcome in zip(GATES, case, strict=True)}
        wanted = desire(SHA, (PULL,), {1: replace(KNOWN, gates=seen)}, GATES)
        if all(one.is_satisfying for one in wanted):
            passed.append(case)
        assert any(one.is_release for one in wanted) == (set(case) == {GateOutcome.SUCCESS})
    assert passed == [(GateOutcome.SUCCESS,) * 4]


@pytest.mark.threat("GATE-09")
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.key)
def test_a_gate_that_is_missing_is_no_success(gate):
    rest = {key: seen for key, seen in GREEN.items() if key != gate.key}
    assert gate_3(replace(KNOWN, gates=rest)).conclusion == ""


ONE_WRONG = {
    "a gate's entry is not covered": replace(
        KNOWN, gates=GREEN | {"slsa": Seen(GateOutcome.SUCCESS, is_covered=False)}
    ),
    "the verdict's entry is not covered": replace(KNOWN, cause=replace(PASS, is_covered=False)),
    "the verdict is about another head": replace(KNOWN, cause=replace(PASS, head_sha=OTHER)),
    "the verdict is about another base": replace(KNOWN, cause=replace(PASS, base_sha=OTHER)),
    "the verdict is about another tree": replace(KNOWN, cause=replace(PASS, merge_tree=OTHER)),
    "there is no tree": replace(KNOWN, merge_tree="", cause=replace(PASS, merge_tree="")),
    "there is no verdict": replace(KNOWN, cause=None),
    "there is a doubt": replace(KNOWN, doubts=(Doubt("a clock is wrong"),)),
    "our row is of another head": replace(KNOWN, head_sha=OTHER),
    "our row is of another base branch": replace(KNOWN, base_ref="release"),
    **{f"it is {stage}": replace(KNOWN, stage=stage) for stage in Stage if stage is not Stage.RELEASED},
}


@pytest.mark.threat("GATE-03")
@pytest.mark.parametrize("what", ONE_WRONG)
def test_one_thing_that_does_not_hold_is_enough(what: str):
    wanted = desire(SHA, (PULL,), {1: ONE_WRONG[what]}, GATES)
    assert not any(one.is_release for one in wanted)
    assert gate_3().is_release


def test_nobody_elses_head_gets_a_success():
    """A check run belongs to a commit: pull requests that share it share it."""
    for pulls in (
        (),
        (PULL, OpenPull(2, SHA, "main")),
        (PULL, OpenPull(2, SHA, "release")),
        (OpenPull(2, SHA, "main"),),
    ):
        wanted = desire(SHA, pulls, {1: KNOWN}, GATES)
        assert {one.conclusion for one in wanted} == {"failure"}, pulls
    assert gate_3(KNOWN, OpenPull(1, SHA, "release")).conclusion == "failure"
    assert gate_3(KNOWN, OpenPull(1, OTHER, "main"), sha=OTHER).status == "queued"


@pytest.mark.parametrize("outcome", [one for one in CONCLUSIONS if one is not GateOutcome.SUCCESS])
def test_what_lead_accepted_passes_and_is_not_green(outcome: GateOutcome):
    seen = GREEN | {"slsa": Seen(outcome, is_covered=True)}
    for release in Release:
        known = replace(KNOWN, gates=seen, cause=replace(PASS, release=release))
        wanted = {one.key: one for one in desire(SHA, (PULL,), {1: known}, GATES)}
        is_accepted = release in {Release.OVERRIDE, Release.BREAK_GLASS}
        assert wanted["slsa"].conclusion == ("neutral" if is_accepted else "failure")
        assert wanted[OWN.key].is_release == is_accepted
        assert not is_accepted or wanted[OWN.key].title.startswith(release.value)
        assert not is_accepted or wanted["slsa"].title.startswith(release.value)


def test_what_is_taken_back_comes_first_and_what_releases_last():
    released = desire(SHA, (PULL,), {1: KNOWN}, GATES)
    assert [one.is_own for one in in_order(released)] == [False, False, False, True]
    taken_back = in_order(desire(SHA, (PULL,), {1: replace(KNOWN, doubts=(Doubt("no"),))}, GATES))
    assert [one.is_own for one in taken_back] == [True, False, False, False]


def test_a_completed_run_waits_as_a_failure():
    waiting = gate_3(replace(KNOWN, stage=Stage.VERIFYING))
    assert (waiting.status, after_completion(waiting).conclusion) == ("in_progress", "failure")
    assert after_completion(gate_3()) == gate_3()


MEMBER = replace(KNOWN, number=2, head_sha=OTHER, cause=replace(PASS, head_sha=OTHER, entry=8))


@pytest.mark.threat("GATE-06")
@pytest.mark.parametrize(
    ("members", "problem", "passes"),
    [
        ([KNOWN, MEMBER], "", True),
        ([KNOWN], "", True),
        ([], "", False),
        ([KNOWN, replace(MEMBER, cause=None)], "", False),
        ([KNOWN, replace(MEMBER, stage=Stage.ENDED)], "", False),
        ([KNOWN, replace(MEMBER, stage=Stage.VERIFYING)], "", False),
        ([KNOWN, replace(MEMBER, doubts=(Doubt("no"),))], "", False),
        ([KNOWN, MEMBER], "something else is in it", False),
    ],
)
def test_a_merge_group_passes_only_if_every_member_is_released(members, problem, passes):
    wanted = desire_group(members, problem, GATES)
    assert {one.conclusion for one in wanted} == ({"success"} if passes else {"failure"})
    if passes:
        assert wanted[-1].causes == tuple(one.cause.entry for one in members)


# --- any history ---------------------------------------------------------------------------------------------------

SHAS = [letter * 40 for letter in "1234"]


@dataclass
class Row:
    """Our row of one pull request, in another style than the product's: a verdict is a tuple, or None."""

    head: str
    base: str = BASE
    stage: Stage = Stage.VERIFYING
    verdict: tuple[str, str, str] | None = None  # head, base and tree it was given for
    is_covered: bool = False
    gates: dict[str, GateOutcome] = field(default_factory=dict)
    trouble: bool = False

    @property
    def tree(self) -> str:
        return f"{self.head[:20]}{self.base[:20]}"


class Histories(RuleBasedStateMachine):
    """Pushes, force-pushes back, retargets, twins, verdicts, revocations, bases that move; GitHub shows what was said last."""

    successes = 0

    def __init__(self) -> None:
        super().__init__()
        self.heads = {1: (SHAS[0], "main")}
        self.row = Row(SHAS[0])
        self.shown: dict[str, str] = {}

    @rule(sha=st.sampled_from(SHAS))
    def push(self, sha: str) -> None:
        """A new head, an amended one, a rebased one, or back to an older one: the row still names what was handed over."""
        self.heads[1] = (sha, "main")

    @rule(sha=st.sampled_from(SHAS))
    def hand_over(self, sha: str) -> None:
        self.row = Row(sha, self.row.base)
        self.heads[1] = (sha, "main")

    @rule(base=st.sampled_from(["main", "release"]))
    def retarget(self, base: str) -> None:
        self.heads[1] = (self.heads[1][0], base)

    @rule(sha=st.sampled_from([*SHAS, ""]))
    def twin(self, sha: str) -> None:
        self.heads.pop(2, None)
        if sha:
            self.heads[2] = (sha, "main")

    @rule(outcome=st.sampled_from(list(GateOutcome)), gate=st.sampled_from([gate.key for gate in GATES]))
    def report(self, outcome: GateOutcome, gate: str) -> None:
        self.row.gates[gate] = outcome

    @rule()
    def report_all(self) -> None:
        self.row.gates = dict.fromkeys((gate.key for gate in GATES), GateOutcome.SUCCESS)

    @rule()
    def judge(self) -> None:
        self.row.stage, self.row.verdict = Stage.RELEASED, (self.row.head, self.row.base, self.row.tree)
        self.row.is_covered = False

    @rule()
    def cover(self) -> None:
        self.row.is_covered = True

    @rule(stage=st.sampled_from(list(Stage)))
    def supersede(self, stage: Stage) -> None:
        self.row.stage = stage

    @rule(base=st.sampled_from([BASE, OTHER]))
    def move_base(self, base: str) -> None:
        self.row.base = base

    @rule(trouble=st.booleans())
    def alarm(self, trouble: bool) -> None:
        self.row.trouble = trouble

    @rule()
    def go_well(self) -> None:
        """Everything as it should be, and published: chance alone would hardly come here."""
        self.heads = {1: (self.row.head, "main")}
        self.report_all()
        self.judge()
        self.row.is_covered, self.row.trouble = True, False
        self.publish()

    @rule()
    def publish(self) -> None:
        row = self.row
        cause = Cause(Release.PASS, 1, *row.verdict, is_covered=row.is_covered) if row.verdict else None
        gates = {key: Seen(outcome, is_covered=True) for key, outcome in row.gates.items()}
        doubts = (Doubt("an alarm"),) if row.trouble else ()
        known = Known(1, row.head, "main", row.base, row.tree, row.stage, gates, cause, "", doubts)
        pulls = [OpenPull(number, sha, base) for number, (sha, base) in self.heads.items()]
        for sha in {sha for sha, _ in self.heads.values()} | set(self.shown):
            here = [pull for pull in pulls if pull.head_sha == sha]
            own = next(one for one in desire(sha, here, {1: known}, GATES) if one.is_own)
            self.shown[sha] = own.conclusion
        self.check()

    @invariant()
    def nothing_but_what_was_judged(self) -> None:
        """Between two looks nothing new is shown: every success was right when it was published."""
        assert sum(conclusion in SATISFYING for conclusion in self.shown.values()) <= 1

    def check(self) -> None:
        row = self.row
        for sha, conclusion in self.shown.items():
            holders = [number for number, (head, _) in self.heads.items() if head == sha]
            may = (
                holders == [1]
                and self.heads[1] == (row.head, "main")
                and row.stage is Stage.RELEASED
                and row.verdict == (sha, row.base, row.tree)
                and row.is_covered
                and not row.trouble
                and [row.gates.get(gate.key) for gate in GATES] == [GateOutcome.SUCCESS] * 4
            )
            assert (conclusion in SATISFYING) == may, (sha, conclusion)
            Histories.successes += may


@pytest.mark.threat("GATE-03")
@pytest.mark.threat("GATE-05")
def test_in_any_history_a_success_stands_on_a_live_verdict_for_exactly_that_commit():
    """PUBLISHING_EXAMPLES=2000 for the long form, which `make publishing` runs."""
    examples = int(os.environ.get("PUBLISHING_EXAMPLES", "60"))
    Histories.successes = 0
    run_state_machine_as_test(
        Histories, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None, database=None)
    )
    assert Histories.successes > examples / 10  # else nothing was tried
