"""What a builder with push access, or somebody with a second hat, tried: each attempt and how it ends."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from audit.actions import add_identity
from audit.events import AuditError
from audit.models import Principal
from handoffs.forge import ForgeError
from handoffs.git import Git
from handoffs.git_process import GitError
from handoffs.models import MAX_ATTEMPTS, PullRequest, PullStatus, Status
from handoffs.tasks import sweep_staging
from tests.support.portal import GOOD_CHANGE, Portal, git
from verdicts import evidence
from verdicts.actions import GateReport, report_gate, verify_again
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import DecisionKind, VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.tasks import sweep_verification

WHEN = datetime(2026, 11, 1, tzinfo=UTC)


def add_raw_commit(portal: Portal, message: bytes) -> str:
    """A commit object as git would store it, with any message."""
    base = Git(portal.bare).resolve("refs/heads/main")
    tree = Git(portal.source).tree_of(base)
    who = b"Cody <codex@builder.invalid> 1790000000 +0000"
    raw = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n" % (tree.encode(), base.encode(), who, who) + message
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    return (
        subprocess.run(command, cwd=portal.source, input=raw, check=True, capture_output=True).stdout.decode().strip()
    )


def test_a_commit_with_a_huge_message_is_refused_by_the_repository(portal: Portal):
    commit = add_raw_commit(portal, b"x" * (100 << 10) + b"\n")
    with pytest.raises(GitError, match=r"ref\.commit_size"):
        Git(portal.source).push(portal.bare, commit, "refs/heads/staging/codex-aaa", old="")


def test_a_tip_that_cannot_be_read_stops_nobody_else(portal: Portal):
    commit = add_raw_commit(portal, b"[CODEX-READY:" + b"x" * (65 << 20) + b"\n")
    git(portal.bare, "fetch", "--quiet", str(portal.source), f"{commit}:refs/heads/staging/codex-aaa")
    assert portal.hand_over().status == Status.TRIGGERED


def test_a_repository_that_is_gone_does_not_stop_the_sweep_of_the_others(portal: Portal):
    call_command("operate", "govern", "acme/aaa", str(clone(portal, "aaa")))
    (portal.folder / "aaa.git").rename(portal.folder / "gone.git")
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    assert sweep_staging() == 1


def clone(portal: Portal, name: str):
    path = portal.folder / f"{name}.git"
    git(portal.folder, "clone", "--quiet", "--bare", str(portal.source), str(path))
    return path


def test_a_large_file_does_not_keep_the_sub_agents_from_the_rest(portal: Portal):
    (portal.source / "zeros.bin").write_bytes(bytes(65 << 20))
    handoff = portal.hand_over({**GOOD_CHANGE, "more.md": "x\n"})
    assert handoff.status == Status.TRIGGERED
    portal.run_work()
    results = {report.agent: report.result["outcome"] for report in evidence.agent_reports(portal.pull())}
    assert results["SECURITY"] in {"PASSED", "WARNED"}
    assert len(results) == 5


def test_work_that_failed_too_often_ends_as_an_error_and_can_be_run_again(portal: Portal):
    portal.hand_over()
    VerificationWork.objects.filter(name__in=["SECURITY", "slsa"]).update(attempts=MAX_ATTEMPTS, error="it broke")
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    pull = portal.pull()
    result = next(r.result for r in evidence.agent_reports(pull) if r.agent == "SECURITY")
    assert (result["outcome"], "it broke" in result["reason"]) == ("ERROR", True)
    assert evidence.gate_executions(pull)["slsa"].conclusion == "failure"
    with pytest.raises(VerdictError):
        portal.verdict(VerdictKind.PASS)
    assert not evidence.has_work_left(pull)
    assert verify_again(pull.pk, by=portal.actor("plan")) == 7
    portal.run_work()
    assert portal.verdict(VerdictKind.PASS).verdict == "PASS"


def test_a_branch_that_was_there_before_is_not_overwritten(portal: Portal):
    base = Git(portal.bare).resolve("refs/heads/main")
    mine = Git(portal.bare).write_commit(
        Git(portal.bare).tree_of(base), [base], "mine", name="Hu", email="hu@acme.invalid", when=WHEN
    )
    git(portal.bare, "update-ref", "refs/heads/feature/net", mine)
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, "apply.branch_taken")
    assert Git(portal.bare).resolve("refs/heads/feature/net") == mine


@pytest.mark.threat("SOD-01")
def test_the_same_patch_on_another_branch_keeps_its_author(portal: Portal):
    add_identity(Principal.objects.get(name="plan"), "email", "Plan@Acme.invalid")
    raw = portal.bundle(GOOD_CHANGE)
    portal.push_bundle(raw, email="plan@acme.invalid")
    portal.receive()
    portal.verified(branch="staging/codex-two")
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        portal.verdict(VerdictKind.PASS)
    assert portal.verdict(VerdictKind.PASS, by="plan2").verdict == "PASS"


@pytest.mark.threat("SOD-02")
def test_an_unknown_author_cannot_be_waved_through_by_lead_who_may_be_that_author(portal: Portal):
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="lead@acme.invalid")
    portal.receive()
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    portal.verdict(VerdictKind.ESCALATE, question="Who is lead@acme.invalid?")
    with pytest.raises(VerdictError, match=r"decision\.contributor_unknown"):
        portal.decide(DecisionKind.APPROVE)
    call_command("operate", "identity", "lead", "--email", "LEAD@acme.invalid")
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        portal.decide(DecisionKind.APPROVE)
    with pytest.raises(CommandError, match=r"identity\.taken"):
        call_command("operate", "identity", "plan", "--email", "lead@acme.invalid")


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
