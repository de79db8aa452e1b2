"""Ways to lose an author: names nobody knows, copies, newer bases, and what comes after a merge."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from audit.actions import add_identity
from audit.events import AuditError
from audit.models import Principal
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.forges.protocol import ForgeError
from handoffs.git.repository import Git
from handoffs.models import Handoff, HandoffEvent, PullRequest, PullStatus, Status
from handoffs.tasks import advance, sweep_staging
from leoportal.setup import OPERATOR
from tests.support.portal import GOOD_CHANGE, Portal, git
from tests.support.raw_commits import WHEN, add_raw_commit
from verdicts import evidence
from verdicts.actions import GateReport, report_gate
from verdicts.deciding import VerdictRequest, record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import DecisionKind, VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.tasks import run_work, sweep_verification


def escalate_change_by(portal: Portal, address: str) -> None:
    """A change by somebody nobody knows yet, whom PLAN asks LEAD about."""
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email=address)
    portal.receive()
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    portal.verdict(VerdictKind.ESCALATE, question=f"Who is {address}?")


@pytest.mark.threat("SOD-02")
def test_a_commit_without_any_name_is_by_somebody_unknown(portal: Portal):
    first = add_raw_commit(portal, b"", who=b" <> 1790000000 +0000")
    git(portal.source, "update-ref", "refs/heads/hidden", first)
    raw = portal.bundle(GOOD_CHANGE)
    store = Git(portal.source)
    tree = store.with_file(first, ".leo/artifact.tar.gz", store.write_blob(raw))
    subject = write_marker(MarkerKind.CODEX_READY, digest_of(raw), "Add net")
    commit = store.write_commit(tree, [first], subject, name="Cody", email="codex@builder.invalid", when=WHEN)
    git(portal.bare, "config", "receive.fsckObjects", "false")
    store.push(portal.bare, commit, "refs/heads/staging/codex-net", old="")
    handoff = portal.receive()
    assert handoff.unknown_contributors == [f"nobody, in commit {first[:12]}"]


def test_who_answers_for_the_verifier_is_not_the_author(portal: Portal):
    add_identity(Principal.objects.get(name="rhea"), "email", "rhea@acme.invalid", by=OPERATOR)
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="rhea@acme.invalid")
    portal.receive()
    sweep_verification()
    for work in VerificationWork.objects.all():
        assert run_work(work.pk) == "refused"
    portal.report("story-release", GateOutcome.SUCCESS)
    with pytest.raises(VerdictError):
        portal.verdict(VerdictKind.PASS)


def test_an_author_who_became_known_after_escalating_can_still_be_sent_back(portal: Portal):
    escalate_change_by(portal, "someone@acme.invalid")
    call_command("operate", "identity", "plan", "--email", "someone@acme.invalid")
    pull = portal.pull()
    found = evidence.gather(pull, tree=pull.handoff.result_tree)
    plan = portal.actor("plan").principal_id
    assert found.inputs.sod_violations == (f"principal {plan} wrote this change and took part as PLAN",)
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        portal.decide(DecisionKind.APPROVE)
    assert portal.decide(DecisionKind.SEND_BACK).decision == "send_back"


@pytest.mark.threat("SOD-01")
def test_the_same_change_on_a_newer_base_keeps_its_author_whoever_is_verified_first(portal: Portal):
    add_identity(Principal.objects.get(name="plan"), "email", "plan@acme.invalid", by=OPERATOR)
    original = portal.bundle(GOOD_CHANGE)
    git(portal.bare, "update-ref", "refs/heads/main", newer_main(portal))
    copy = portal.bundle(GOOD_CHANGE, branch="staging/codex-a-copy")
    portal.push_bundle(copy, branch="staging/codex-a-copy")
    portal.receive()  # the copy is verified before its original came
    portal.push_bundle(original, email="plan@acme.invalid")
    sweep_staging()
    for handoff in Handoff.objects.filter(status=Status.RECEIVED):
        advance(handoff.pk)
    sweep_verification()
    portal.run_work()
    pull = PullRequest.objects.get(handoff__staging_branch="staging/codex-a-copy")
    tree = evidence.observed_tree(pull, Git(portal.bare))
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        record_verdict(pull.pk, VerdictRequest(VerdictKind.PASS, "fine", pull.head_sha, tree), by=portal.actor("plan"))


def newer_main(portal: Portal) -> str:
    """A commit on top of main that touches another file."""
    store = Git(portal.bare)
    base = store.resolve("refs/heads/main")
    tree = store.with_file(base, "OTHER.md", store.write_blob(b"x\n"))
    return store.write_commit(tree, [base], "other", name="Mo", email="mo@acme.invalid", when=WHEN)


def test_a_refused_copy_bars_nobody_from_the_original(portal: Portal):
    for name in ("plan", "lead"):
        add_identity(Principal.objects.get(name=name), "email", f"{name}@acme.invalid", by=OPERATOR)
    evil = portal.bundle(GOOD_CHANGE, branch="staging/codex-evil", task="Something else")
    named = "".join(f"Co-authored-by: x <{name}@acme.invalid>\n" for name in ("plan", "lead"))
    portal.push_bundle(evil, branch="staging/codex-evil", subject=f"[CODEX-READY:{'0' * 64}] x\n\n{named}")
    assert portal.receive().status == Status.REFUSED
    portal.verified()
    assert portal.verdict(VerdictKind.PASS).verdict == "PASS"


@pytest.mark.threat("SOD-01")
def test_the_same_patch_on_another_branch_keeps_its_author(portal: Portal):
    add_identity(Principal.objects.get(name="plan"), "email", "Plan@Acme.invalid", by=OPERATOR)
    raw = portal.bundle(GOOD_CHANGE)
    portal.push_bundle(raw, email="plan@acme.invalid")
    portal.receive()
    portal.verified(branch="staging/codex-two")
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        portal.verdict(VerdictKind.PASS)
    assert portal.verdict(VerdictKind.PASS, by="plan2").verdict == "PASS"


@pytest.mark.threat("SOD-02")
def test_an_unknown_author_cannot_be_waved_through_by_lead_who_may_be_that_author(portal: Portal):
    escalate_change_by(portal, "lead@acme.invalid")
    with pytest.raises(VerdictError, match=r"contributor\.unknown"):
        portal.decide(DecisionKind.APPROVE)
    call_command("operate", "identity", "lead", "--email", "LEAD@acme.invalid")
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        portal.decide(DecisionKind.APPROVE)
    with pytest.raises(CommandError, match=r"identity\.taken"):
        call_command("operate", "identity", "plan", "--email", "lead@acme.invalid")


def test_a_merge_that_landed_is_recorded_on_its_own_handoff_though_a_newer_one_took_the_pull_request(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    tools = portal.tools()

    class KilledError(BaseException):
        """The process dies right after the push."""

    class Interrupted:
        """The real forge, and then nothing."""

        def __getattr__(self, name: str) -> object:
            return getattr(tools.forge, name)

        def update_branch(self, name: str, *, old: str, new: str) -> None:
            tools.forge.update_branch(name, old=old, new=new)
            raise KilledError

    with pytest.raises(KilledError):
        broken = type(tools)(**{**vars(tools), "forge": Interrupted()})
        merge_pull_request(pull.pk, broken, by=portal.actor("plan"))
    landed = Git(portal.bare).resolve("refs/heads/main")
    portal.push_bundle(portal.bundle({**GOOD_CHANGE, "more.md": "x\n"}))
    newer = portal.receive()
    sweep_verification()
    sweep_verification()
    merged = PullRequest.objects.get(pk=pull.pk)
    assert (merged.status, merged.merge_sha, merged.handoff_id) == (PullStatus.MERGED, landed, pull.handoff_id)
    said = HandoffEvent.objects.filter(event="pull.merged").values_list("handoff_id", "detail__commit")
    assert list(said) == [(pull.handoff_id, landed)]
    advance(newer.pk)
    own = PullRequest.objects.get(handoff=newer)
    assert (own.status, own.base_sha, own.number) == (PullStatus.GATES_PASSING, landed, merged.number + 1)


@pytest.mark.threat("GATE-04")
@pytest.mark.parametrize("news", ["gate", "newer bundle"])
def test_a_merge_that_landed_is_recorded_whatever_happened_while_it_was_pushed(portal: Portal, news: str):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    tools, intended = portal.tools(), {}

    class Interrupted:
        """The real forge, with news arriving between the push and its record."""

        def __getattr__(self, name: str) -> object:
            return getattr(tools.forge, name)

        def update_branch(self, name: str, *, old: str, new: str) -> None:
            tools.forge.update_branch(name, old=old, new=new)
            intended["commit"] = new
            if news == "gate":
                failed = GateReport("story-release", GateOutcome.FAILURE, "late", pull.head_sha, {})
                report_gate(pull.pk, failed, by=portal.actor("story-gate"))
            else:
                portal.push_bundle(portal.bundle({**GOOD_CHANGE, "more.md": "x\n"}))
                sweep_staging()
            raise ForgeError("forge.push_refused", "the connection broke after the push")

    broken = type(tools)(**{**vars(tools), "forge": Interrupted()})
    with pytest.raises(VerdictError):
        merge_pull_request(pull.pk, broken, by=portal.actor("plan"))
    assert portal.pull().status != PullStatus.MERGED
    sweep_verification()
    merged = PullRequest.objects.get(pk=pull.pk)
    assert (merged.status, merged.merge_sha) == (PullStatus.MERGED, intended["commit"])
    assert Git(portal.bare).resolve("refs/heads/main") == intended["commit"]
    assert merged.handoff.events.filter(event="pull.merged").count() == 1
