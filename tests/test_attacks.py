"""What a builder with push access, or somebody with a second hat, tried: each attempt and how it ends."""

from __future__ import annotations

import hashlib
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from audit.actions import add_identity
from audit.canonical import JsonValue
from audit.events import AuditError
from audit.models import LogEntry, Principal
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.forges.protocol import ForgeError
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import MAX_ATTEMPTS, Handoff, HandoffEvent, PullRequest, PullStatus, Status
from handoffs.tasks import advance, sweep_staging
from leoportal.setup import OPERATOR
from tests.support.portal import GOOD_CHANGE, Portal, git
from verdicts import evidence
from verdicts.actions import GateReport, report_gate
from verdicts.deciding import VerdictRequest, record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import DecisionKind, VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.rounds import verify_again
from verdicts.tasks import run_work, sweep_verification, sweep_work

WHEN = datetime(2026, 11, 1, tzinfo=UTC)


def add_raw_commit(
    portal: Portal, message: bytes, *, who: bytes = b"Cody <codex@builder.invalid> 1790000000 +0000"
) -> str:
    """A commit object as git would store it, with any message."""
    base = Git(portal.bare).resolve("refs/heads/main")
    tree = Git(portal.source).tree_of(base)
    raw = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n" % (tree.encode(), base.encode(), who, who) + message
    command = ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
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


def test_a_repository_that_is_gone_does_not_stop_the_verification_of_the_others(portal: Portal):
    call_command("operate", "govern", "acme/aaa", str(clone(portal, "aaa")))
    (portal.folder / "aaa.git").rename(portal.folder / "gone.git")
    assert portal.hand_over().status == Status.TRIGGERED


def test_a_pull_request_whose_head_is_gone_does_not_stop_the_others(portal: Portal):
    portal.hand_over()
    PullRequest.objects.update(head_sha="ab" * 20, base_sha="cd" * 20)
    portal.hand_over({"docs.md": "x\n"}, branch="staging/codex-two")
    assert portal.pull().triggered_at is not None


@pytest.mark.parametrize("how", ["plain", "own hooks", "-c", "environment"])
def test_no_setting_of_the_pusher_gets_past_the_hook(portal: Portal, tmp_path: Path, how: str):
    home = tmp_path / "home"
    home.mkdir()
    if how == "own hooks":
        (home / ".gitconfig").write_text("[core]\n\thooksPath = ~/.githooks\n")
    base = Git(portal.bare).resolve("refs/heads/main")
    commit = add_raw_commit(portal, b"no PASS\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    if how == "environment":
        key = {"GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": "/nonexistent"}
        environment |= {"GIT_CONFIG_COUNT": "1", **key}
    options = ["-c", "core.hooksPath=/nonexistent"] if how == "-c" else []
    push = ["git", *options, "push", str(portal.bare), f"{commit}:refs/heads/main"]
    done = subprocess.run(push, cwd=portal.source, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "merge.no_pass" in done.stderr
    assert Git(portal.bare).resolve("refs/heads/main") == base


def test_deleting_a_branch_is_refused_with_a_code_and_in_the_trail(portal: Portal):
    push = ["git", "push", str(portal.bare), ":refs/heads/main"]
    done = subprocess.run(push, cwd=portal.source, check=False, capture_output=True, text=True)
    assert "ref.deletion" in done.stderr
    sweep_staging()
    assert LogEntry.objects.filter(kind="push.refused").count() == 1


def test_a_push_of_very_many_commits_is_refused(portal: Portal):
    base = Git(portal.bare).resolve("refs/heads/main")
    stream = b""
    for number in range(1001):
        text = b"c%d\n" % number
        who = b"committer C <codex@builder.invalid> 1790000000 +0000"
        stream += b"commit refs/heads/many\n%s\ndata %d\n%s" % (who, len(text), text)
        stream += b"from %s\n\n" % base.encode() if number == 0 else b"\n"
    subprocess.run(["git", "fast-import", "--quiet"], cwd=portal.source, input=stream, check=True)
    with pytest.raises(GitError, match=r"ref\.commit_size"):
        Git(portal.source).push(portal.bare, "refs/heads/many", "refs/heads/staging/codex-many", old="")


def test_a_bundle_far_behind_the_protected_branch_is_refused(portal: Portal):
    raw = portal.bundle(GOOD_CHANGE)
    base = Git(portal.bare).resolve("refs/heads/main")
    stream = b""
    for number in range(1001):
        who = b"committer C <mo@acme.invalid> 1790000000 +0000"
        stream += b"commit refs/heads/main\n%s\ndata 2\nc\n" % who
        stream += b"from %s\n\n" % base.encode() if number == 0 else b"\n"
    subprocess.run(["git", "fast-import", "--quiet", "--force"], cwd=portal.bare, input=stream, check=True)
    store = Git(portal.source)
    tree = store.with_file(base, ".leo/artifact.tar.gz", store.write_blob(raw))
    subject = write_marker(MarkerKind.CODEX_READY, digest_of(raw), "Add net")
    commit = store.write_commit(tree, [base], subject, name="Cody", email="codex@builder.invalid", when=WHEN)
    store.push(portal.bare, commit, "refs/heads/staging/codex-net", old="")
    handoff = portal.receive()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, "merge_base.recent")


def test_a_branch_inside_the_feature_branchs_name_ends_in_a_refusal(portal: Portal):
    base = Git(portal.bare).resolve("refs/heads/main")
    git(portal.bare, "update-ref", "refs/heads/feature/net/sub", base)
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, "apply.branch_taken")


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
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="someone@acme.invalid")
    portal.receive()
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    portal.verdict(VerdictKind.ESCALATE, question="Who is someone@acme.invalid?")
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


@pytest.mark.parametrize("evidence_given", [{"checks": 5}, {"checks": [1]}, {"checks": {"a": "b"}}])
def test_odd_gate_evidence_breaks_no_page(portal: Portal, client: Client, evidence_given: dict[str, JsonValue]):
    pull = portal.verified()
    report = GateReport("story-release", GateOutcome.FAILURE, "odd", pull.head_sha, evidence_given)
    report_gate(pull.pk, report, by=portal.actor("story-gate"))
    client.force_login(User.objects.get(username="plan"), backend="leoportal.roles.SignInBackend")
    for address in ("/turn/", "/prs/", "/prs/acme/payments/1/", "/audit/prs/acme/payments/1/"):
        assert client.get(address).status_code == 200, address


@pytest.mark.parametrize("address", ["/api/v1/prs/ac%00me/payments/1", "/prs/a%00/b/1/", "/handoffs/%00"])
def test_a_nul_in_an_address_names_nothing(portal: Portal, client: Client, address: str):
    client.force_login(User.objects.get(username="plan"), backend="leoportal.roles.SignInBackend")
    assert client.get(address).status_code == 404


def test_no_lane_can_undo_participation_nor_choose_a_leaf(portal: Portal, address):
    portal.hand_over()
    with psycopg.connect(address("plan"), autocommit=True) as app:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("DELETE FROM audit_participation")
        planted = app.execute(
            "INSERT INTO leo_log_entry (kind, principal, role, subject, xid, created_at, body, salt, leaf, leaf_hash)"
            " VALUES ('verdict.recorded', 0, 'PLAN', '', 0, '2001-01-01', '{}', decode(repeat('00', 16), 'hex'),"
            " 'planted', repeat('a', 32)::bytea) RETURNING leaf, leaf_hash, created_at > '2026-01-01'"
        ).fetchone()
        assert planted is not None
        leaf, leaf_hash, is_now = planted
        assert leaf.startswith(b"leo-audit/v1 ")
        assert leaf_hash == hashlib.sha256(b"\x00" + leaf).digest()
        assert is_now


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
    sweep_work()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    pull = portal.pull()
    result = next(r.result for r in evidence.agent_reports(pull) if r.agent == "SECURITY")
    assert (result["outcome"], "it broke" in result["reason"]) == ("ERROR", True)
    assert evidence.gather(pull, tree=pull.handoff.result_tree).executions["slsa"].conclusion == "failure"
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
    portal.push_bundle(portal.bundle(GOOD_CHANGE), email="lead@acme.invalid")
    portal.receive()
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    portal.verdict(VerdictKind.ESCALATE, question="Who is lead@acme.invalid?")
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
