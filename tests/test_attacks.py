"""What a builder with push access, or somebody with a second hat, tried: each attempt and how it ends."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from audit.canonical import JsonValue
from audit.models import LogEntry
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import MAX_ATTEMPTS, PullRequest, Status
from handoffs.tasks import sweep_staging
from tests.support.portal import GOOD_CHANGE, Portal, git
from tests.support.raw_commits import WHEN, add_raw_commit
from verdicts import evidence
from verdicts.actions import GateReport, report_gate
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.rounds import verify_again
from verdicts.tasks import sweep_work


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
