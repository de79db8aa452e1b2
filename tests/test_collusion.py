"""Who could work together, or be one, to let a change through: each way is refused, and honest ways stay open.

Everything happens through the real acts: the registry changes by two administrators, verdicts and decisions are
recorded, the refusals are the product's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from audit.actions import actor_of, take_part
from audit.administration import Change, approve_change, propose_change
from audit.events import AuditError, Role
from audit.models import ProposalKind
from handoffs.models import Handoff, PullRequest, PullStatus
from tests.support.people import acting_as, person
from tests.web.scene import Scene, finding, make_scene
from verdicts import actions
from verdicts.actions import GateReport
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass, review_break_glass
from verdicts.break_glass_rows import BreakGlass
from verdicts.deciding import DecisionRequest, VerdictRequest, record_decision, record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.evidence import gather
from verdicts.models import Decision, DecisionKind, GateExecution, Verdict, VerdictError
from verdicts.results import AgentKind, GateOutcome, Severity

WHY = "The index is built while traffic is low and can be dropped again."


@pytest.fixture
def scene(db, settings, tmp_path: Path) -> Scene:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    return make_scene(tmp_path)


# --- acts ----------------------------------------------------------------------------------------------------------


def change(what: ProposalKind, about: str | None = None, /, *, by: str = "xena", second: str = "yuri", **detail: str):
    asked = Change(what, person(about) if about else None, detail, "Agreed in the staff meeting.")
    return approve_change(propose_change(asked, by=actor_of(person(by))).pk, by=actor_of(person(second)))


def move(name: str, role: str) -> str:
    change(ProposalKind.END_ROLE, name)
    change(ProposalKind.GRANT, name, role=role)
    return name


def enter(name: str, role: str, sponsor: str = "") -> str:
    change(ProposalKind.ADD, name=name, kind="machine" if sponsor else "human", role=role, sponsor=sponsor)
    return name


def one_person(name: str, other: str) -> str:
    change(ProposalKind.SAME, name, other=other)
    return other


def address_of(name: str, pull: PullRequest) -> str:
    """The change has an author whose address turns out to be somebody's."""
    unknown_author(pull, "author@acme.invalid")
    change(ProposalKind.LINK, name, kind="email", value="author@acme.invalid")
    return name


def unknown_author(pull: PullRequest, address: str = "ghost@acme.invalid") -> PullRequest:
    Handoff.objects.filter(pk=pull.handoff_id).update(unknown_contributors=[address])
    return PullRequest.objects.get(pk=pull.pk)


def verdict(pull: PullRequest, by: str = "plan", kind: VerdictKind = VerdictKind.PASS) -> Verdict:
    asked = VerdictRequest(kind, "Read all of it.", pull.head_sha, pull.handoff.result_tree, "May this merge as it is?")
    return record_verdict(pull.pk, asked, by=actor_of(person(by)))


def decide(pull: PullRequest, by: str = "lead") -> Decision:
    pull = PullRequest.objects.get(pk=pull.pk)
    seen = gather(pull, tree=pull.handoff.result_tree).digest
    expires = timezone.now() + timedelta(days=1)
    asked = DecisionRequest(DecisionKind.APPROVE, WHY, pull.head_sha, seen, "risk-accepted", "TICKET-1", expires)
    return record_decision(pull.pk, asked, by=actor_of(person(by)))


def report(pull: PullRequest, by: str) -> GateExecution:
    gate = GateReport("story-release", GateOutcome.SUCCESS, f"run-{by}", pull.head_sha, {})
    return actions.report_gate(pull.pk, gate, by=actor_of(person(by)))


def ask(pull: PullRequest, by: str = "lead") -> BreakGlass:
    return request_break_glass(pull.pk, BreakGlassRequest(WHY, "INC-7", pull.head_sha), by=actor_of(person(by)))


def break_glass(pull: PullRequest, by: str = "lead", second: str = "lead2") -> BreakGlass:
    open_break_glass(ask(pull, by).pk, by=actor_of(person(second)))
    return BreakGlass.objects.get()


def same_change_elsewhere(scene: Scene, pull: PullRequest, builder: str) -> PullRequest:
    """Somebody else handed the same change over before, on another branch."""
    other = scene.handoff()
    take_part(other.chain, acting_as(builder, Role.BUILDER))
    Handoff.objects.filter(pk__in=(other.pk, pull.handoff_id)).update(change_digest="c" * 64)
    return PullRequest.objects.get(pk=pull.pk)


def again(pull: PullRequest) -> PullRequest:
    PullRequest.objects.filter(pk=pull.pk).update(status=PullStatus.GATES_PASSING)
    return PullRequest.objects.get(pk=pull.pk)


def high_finding(scene: Scene) -> PullRequest:
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, findings={AgentKind.SECURITY: (finding(Severity.HIGH),)})
    return pull


def join_builders(pull: PullRequest, name: str) -> PullRequest:
    take_part(pull.handoff.chain, actor_of(person(name)))
    return pull


# --- what is refused: a sentence, the code, and how it is tried --------------------------------------------------------

type Try = Callable[[Scene], object]
REFUSED: dict[str, tuple[str, Try]] = {
    "who answers for the builder became PLAN and passes the change": (
        "sod.conflict",
        lambda s: (p := s.passing(), verdict(p, move("b.builder", "PLAN"))),
    ),
    "who answers for the builder became LEAD and approves it": (
        "sod.conflict",
        lambda s: (p := s.escalated(), decide(p, move("b.builder", "LEAD"))),
    ),
    "who answers for the enforcer became PLAN and passes what it applied": (
        "sod.conflict",
        lambda s: (p := s.passing(), verdict(p, move("exec-operator", "PLAN"))),
    ),
    "who answers for the reviewers became PLAN and passes what they reported": (
        "sod.conflict",
        lambda s: (p := s.passing(), verdict(p, move("verifier-operator", "PLAN"))),
    ),
    "PLAN turns out to be the builder's person under another account": (
        "sod.conflict",
        lambda s: (p := s.passing(), verdict(p, one_person("b.builder", "plan"))),
    ),
    "LEAD turns out to be the builder's person under another account": (
        "sod.conflict",
        lambda s: (p := s.escalated(), decide(p, one_person("b.builder", "lead"))),
    ),
    "LEAD turns out to be PLAN under another account": (
        "sod.conflict",
        lambda s: (p := s.escalated(), decide(p, one_person("plan", "lead"))),
    ),
    "a second machine of the builder's person acts as PLAN": (
        "sod.conflict",
        lambda s: (p := s.passing(), verdict(p, enter("plan-bot", "PLAN", "b.builder"))),
    ),
    "a machine of the builder's person reports the gate": (
        "sod.conflict",
        lambda s: report(s.pull(), enter("gate-bot", "REPORTER", "b.builder")),
    ),
    "a machine of PLAN's reports the gate, then PLAN passes": (
        "sod.conflict",
        lambda s: (p := s.passing(), report(p, enter("gate-bot", "REPORTER", "plan")), verdict(p)),
    ),
    "a commit's author is PLAN": ("sod.conflict", lambda s: (p := s.passing(), verdict(p, address_of("plan", p)))),
    "a commit's author is LEAD": ("sod.conflict", lambda s: (p := s.escalated(), decide(p, address_of("lead", p)))),
    "a commit's author is the person behind PLAN's machine": (
        "sod.conflict",
        lambda s: (p := s.passing(), address_of("plan", p), verdict(p, enter("plan-bot", "PLAN", "plan"))),
    ),
    "nobody knows a commit's author, and PLAN passes": (
        "verdict.laxer_than_computed",
        lambda s: verdict(unknown_author(s.passing())),
    ),
    "nobody knows a commit's author, and LEAD approves": (
        "contributor.unknown",
        lambda s: decide(unknown_author(s.escalated())),
    ),
    "PLAN wrote the same change, and a second builder hands it over": (
        "sod.conflict",
        lambda s: verdict(same_change_elsewhere(s, s.passing(), "plan")),
    ),
    "PLAN waives a high finding by itself": (
        "verdict.laxer_than_computed",
        lambda s: verdict(high_finding(s)),
    ),
    "PLAN approves its own escalation": ("role.not_allowed", lambda s: decide(s.escalated(), "plan")),
    "PLAN became LEAD and approves its own escalation": (
        "sod.conflict",
        lambda s: (p := s.escalated(), decide(p, move("plan", "LEAD"))),
    ),
    "LEAD approves what nobody escalated": ("decision.not_escalated", lambda s: decide(s.passing())),
    "the enforcer passes what it applied": ("role.not_allowed", lambda s: verdict(s.passing(), "exec")),
    "two were found to be one person after PASS was computed": (
        "sod.conflict",
        lambda s: (p := s.passing(), verdict(p, kind=VerdictKind.FAIL), one_person("b.builder", "plan"), ask(again(p))),
    ),
    "one administrator grants an accomplice a role": (
        "proposal.second_person",
        lambda s: change(ProposalKind.ADD, name="eve", kind="human", role="LEAD", second="xena"),
    ),
    "an administrator approves through a second account": (
        "proposal.second_person",
        lambda s: (
            enter("zoe", "ADMIN"),
            enter("xena-2", "ADMIN"),
            change(ProposalKind.SAME, "xena", other="xena-2", by="yuri", second="zoe"),
            change(ProposalKind.END_ROLE, "plan", second="xena-2"),
        ),
    ),
    "two administrators make one of them PLAN": (
        "proposal.own_benefit",
        lambda s: change(ProposalKind.GRANT, "yuri", role="PLAN"),
    ),
    "an administrator answers for a builder": (
        "principal.sponsor",
        lambda s: (enter("zoe", "ADMIN"), enter("codex-z", "BUILDER", "zoe")),
    ),
    "one LEAD breaks the glass alone": ("breakglass.second_person", lambda s: break_glass(s.pull(), second="lead")),
    "LEAD breaks the glass with the builder's person, now LEAD": (
        "sod.conflict",
        lambda s: (p := s.pull(), break_glass(p, second=move("b.builder", "LEAD"))),
    ),
    "LEAD reviews the glass it broke": (
        "breakglass.third_person",
        lambda s: review_break_glass(break_glass(s.pull()).pk, WHY, by=actor_of(person("lead"))),
    ),
}


@pytest.mark.threat("SOD-01")
@pytest.mark.threat("SOD-02")
@pytest.mark.threat("SOD-04")
@pytest.mark.threat("SOD-13")
@pytest.mark.parametrize("sentence", REFUSED)
def test_collusion_is_refused_with_its_reason(scene: Scene, sentence: str):
    code, attempt = REFUSED[sentence]
    before = Verdict.objects.filter(verdict="PASS").count() + Decision.objects.filter(decision="approve").count()
    with pytest.raises((AuditError, VerdictError)) as refused:
        attempt(scene)
    assert getattr(refused.value, "code", "") == code
    released = Verdict.objects.filter(verdict="PASS").count() + Decision.objects.filter(decision="approve").count()
    assert released - before == (1 if "reviews the glass" in sentence else 0)


# --- what stays possible -----------------------------------------------------------------------------------------------

HONEST: dict[str, Try] = {
    "PLAN, who had no part in it, passes": lambda s: verdict(s.passing()),
    "LEAD decides what another person escalated": lambda s: decide(s.escalated()),
    "a machine of nobody else's acts as PLAN": lambda s: verdict(s.passing(), enter("plan-bot", "PLAN", "plan")),
    "yesterday's builder passes today what others built": lambda s: (
        enter("ben", "BUILDER"),
        move("ben", "PLAN"),
        verdict(s.passing(), "ben"),
    )[-1],
    "a commit's author is the builder's own person": lambda s: (
        p := s.passing(),
        address_of("b.builder", p),
        verdict(p),
    )[-1],
    "two builders' machines of one person build one handoff": lambda s: verdict(
        join_builders(s.passing(), enter("codex-b", "BUILDER", "b.builder"))
    ),
    "two entries were one person by mistake, and are two again": lambda s: (
        p := s.passing(),
        one_person("b.builder", "plan"),
        change(ProposalKind.NOT_SAME, "plan", other="b.builder"),
        verdict(p),
    )[-1],
    "two LEADs break the glass and an administrator reviews it": lambda s: review_break_glass(
        break_glass(s.pull()).pk, WHY, by=actor_of(person("yuri"))
    ),
    "LEAD and an administrator break the glass, the other LEAD reviews it": lambda s: review_break_glass(
        break_glass(s.pull(), second="xena").pk, WHY, by=actor_of(person("lead2"))
    ),
}


@pytest.mark.parametrize("sentence", HONEST)
def test_an_honest_way_stays_open(scene: Scene, sentence: str):
    assert isinstance(HONEST[sentence](scene), Verdict | Decision | BreakGlass)
