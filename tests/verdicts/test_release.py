"""What was released stays released only while nothing new speaks against it, and only by what was really looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone

from audit.actions import append_event, issue_token
from audit.events import Role
from audit.models import Principal, RoleGrant
from handoffs.git.repository import Git
from handoffs.models import PullRequest, PullStatus
from leoportal import setup
from tests.support.portal import Portal, git
from tests.verdicts.test_evasion import UNTESTED_CHANGE, finding, outside, report
from verdicts import actions, evidence, rounds
from verdicts.actions import GateReport, enact_policy
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import AgentReport, DecisionKind, VerdictError, VerificationWork, WorkStatus
from verdicts.results import AgentKind, AgentOutcome, GateOutcome, Severity
from verdicts.tasks import sweep_verification

PROGRAM = "#!/usr/bin/env python3\nimport sys\neval(sys.argv[1])\n"


def override() -> dict[str, Any]:
    return {
        "reason_class": "risk-accepted",
        "reference": "TICKET-1",
        "expires_at": timezone.now() + timedelta(days=3),
    }


def move_main(portal: Portal, name: str) -> str:
    """Somebody else's commit lands on the protected branch."""
    store = Git(portal.bare)
    base = store.resolve("refs/heads/main")
    tree = store.with_file(base, name, store.write_blob(b"x\n"))
    when = datetime(2026, 11, 2, tzinfo=UTC)
    commit = store.write_commit(tree, [base], "other", name="Mo", email="mo@acme.invalid", when=when)
    git(portal.bare, "update-ref", "refs/heads/main", commit)
    return commit


def merge(portal: Portal, by: str = "plan") -> None:
    merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor(by))


@pytest.mark.threat("GATE-03")
@pytest.mark.parametrize("how", ["the base moved", "LEAD forced a re-run"])
def test_a_reviewers_finding_stays_on_its_head(portal: Portal, how: str):
    pull = portal.verified()
    if how == "the base moved":
        report(portal, outside(AgentKind.SECURITY, pull.head_sha, finding(Severity.CRITICAL)))
        move_main(portal, "OTHER.md")
    else:
        portal.verdict(VerdictKind.ESCALATE, question="Is this finding real, LEAD?")
        report(portal, outside(AgentKind.SECURITY, pull.head_sha, finding(Severity.CRITICAL)))
        portal.decide(DecisionKind.RERUN)
    sweep_verification()
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS, run_id="again")
    assert portal.pull().head_sha == pull.head_sha
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)


def test_a_second_high_finding_after_lead_accepted_the_first_takes_the_release_back(portal: Portal):
    pull = portal.verified()
    first = finding(Severity.HIGH)
    report(portal, outside(AgentKind.SECURITY, pull.head_sha, first))
    portal.verdict(VerdictKind.ESCALATE, question="One high finding, may we?")
    portal.decide(DecisionKind.APPROVE, **override())
    report(portal, outside(AgentKind.SECURITY, pull.head_sha, first))
    assert portal.pull().status == PullStatus.READY_TO_MERGE
    second = replace(first, rule="rce", message="remote code execution")
    report(portal, outside(AgentKind.SECURITY, pull.head_sha, first, second))
    assert portal.pull().status == PullStatus.GATES_PASSING


def test_lead_approves_the_evidence_that_was_shown_and_no_other(portal: Portal):
    portal.verified(UNTESTED_CHANGE)
    portal.verdict(VerdictKind.CONDITIONAL_PASS)
    pull = portal.pull()
    seen = evidence.gather(pull, tree=pull.handoff.result_tree).digest
    report(portal, outside(AgentKind.SECURITY, pull.head_sha, finding(Severity.MEDIUM)))
    with pytest.raises(VerdictError, match=r"decision\.evidence_changed"):
        portal.decide(DecisionKind.APPROVE, seen=seen)
    assert portal.decide(DecisionKind.APPROVE).decision == "approve"


def test_an_older_approval_does_not_lower_the_bar_of_a_later_pass(portal: Portal):
    pull = portal.verified()
    error = replace(outside(AgentKind.DATABASE, pull.head_sha), outcome=AgentOutcome.ERROR, reason="no licence")
    report(portal, error)
    portal.verdict(VerdictKind.ESCALATE, question="The reviewer is broken, may we?")
    portal.decide(DecisionKind.APPROVE, **override())
    portal.report("story-release", GateOutcome.FAILURE, run_id="r2")
    portal.report("story-release", GateOutcome.SUCCESS, run_id="r3")
    report(portal, outside(AgentKind.DATABASE, pull.head_sha))
    portal.verdict(VerdictKind.PASS)
    report(portal, error)
    assert portal.pull().status == PullStatus.GATES_PASSING


def test_the_worst_of_two_reporters_of_a_gate_counts_whoever_was_first(portal: Portal):
    portal.hand_over()
    portal.run_work()
    portal.add_person("security-bot", Role.REPORTER)
    portal.report("story-release", GateOutcome.SUCCESS, run_id="run-1", by="security-bot")
    portal.report("story-release", GateOutcome.FAILURE, run_id="run-1")
    portal.report("story-release", GateOutcome.SUCCESS, run_id="run-2", by="security-bot")
    with pytest.raises(VerdictError, match=r"verdict\.laxer_than_computed"):
        portal.verdict(VerdictKind.PASS)


def test_a_run_from_before_the_workflows_were_triggered_again_is_refused(portal: Portal):
    pull = portal.verified()
    move_main(portal, "OTHER.md")
    sweep_verification()
    with pytest.raises(VerdictError, match=r"gate\.run_old"):
        portal.report("story-release", GateOutcome.SUCCESS, run_id=f"story-{pull.pk}")


@pytest.mark.parametrize("said", ["blocked", "no confidence"])
def test_a_reviewer_cannot_take_an_opinion_back(portal: Portal, said: str):
    pull = portal.verified()
    good = outside(AgentKind.SECURITY, pull.head_sha)
    changes: dict[str, Any] = {"outcome": AgentOutcome.BLOCKED, "reason": "waiting for the vendor"}
    report(portal, replace(good, **(changes if said == "blocked" else {"confidence": Decimal(0)})))
    report(portal, good)
    with pytest.raises(VerdictError):
        portal.verdict(VerdictKind.PASS)


def test_nothing_passes_or_merges_while_checks_run(portal: Portal):
    portal.verified()
    rounds.verify_again(portal.pull().pk, by=portal.actor("plan"))
    with pytest.raises(VerdictError, match=r"verdict\.still_running"):
        portal.verdict(VerdictKind.PASS)
    portal.run_work()
    portal.verdict(VerdictKind.PASS)
    rounds.verify_again(portal.pull().pk, by=portal.actor("plan"))
    with pytest.raises(VerdictError, match=r"merge\.still_running"):
        merge(portal)
    portal.run_work()
    merge(portal)
    assert portal.pull().status == PullStatus.MERGED


def test_a_merge_looks_at_the_evidence_once_more(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    late = outside(AgentKind.SECURITY, pull.head_sha, finding(Severity.HIGH))
    report(portal, late)
    PullRequest.objects.filter(pk=pull.pk).update(status=PullStatus.READY_TO_MERGE)
    with pytest.raises(VerdictError, match=r"merge\.evidence_changed"):
        merge(portal)


def test_a_failing_gate_takes_a_release_back(portal: Portal):
    portal.verified()
    portal.verdict(VerdictKind.PASS)
    portal.report("story-release", GateOutcome.FAILURE, run_id="late")
    assert portal.pull().status == PullStatus.GATES_PASSING


def test_a_policy_that_no_longer_allows_the_builder_stops_the_merge(portal: Portal):
    portal.verified()
    portal.verdict(VerdictKind.PASS)
    lines = evidence.policy_in_force().document.splitlines()
    other = "allowed_builders: ['https://other.invalid/b']"
    text = "\n".join(other if line.startswith("allowed_builders") else line for line in lines) + "\n"
    enact_policy(text.encode(), by=setup.OPERATOR)
    with pytest.raises(VerdictError, match=r"merge\.evidence_changed.*no longer allows"):
        merge(portal)


def test_a_builder_whose_role_was_taken_away_gets_no_pass(portal: Portal):
    portal.verified()
    with transaction.atomic():
        said = append_event("role.ended", portal.actor("plan"), "", {})
        RoleGrant.objects.filter(principal__name="codex").update(ends_at=timezone.now(), end_entry=said)
    with pytest.raises(VerdictError, match="no longer has the role BUILDER"):
        portal.verdict(VerdictKind.PASS)


def test_a_gate_that_began_before_the_base_moved_does_not_replace_the_new_run(portal: Portal):
    pull = portal.verified()
    old = VerificationWork.objects.get(name="policy-bundle")
    VerificationWork.objects.filter(pk=old.pk).update(status=WorkStatus.WAITING)
    move_main(portal, "OTHER.md")
    sweep_verification()
    new = VerificationWork.objects.filter(name="policy-bundle").latest("pk")
    assert new.pk != old.pk
    by = portal.actor("leoportal-verifier")
    actions.finish_gate_work(new, GateReport("policy-bundle", GateOutcome.FAILURE, "new", pull.head_sha, {}), by=by)
    actions.finish_gate_work(old, GateReport("policy-bundle", GateOutcome.SUCCESS, "old", pull.head_sha, {}), by=by)
    found = evidence.gather(portal.pull(), tree=pull.handoff.result_tree)
    assert found.executions["policy-bundle"].conclusion == "failure"


def test_nobody_speaks_for_the_portals_own_sub_agents(portal: Portal):
    portal.hand_over()
    with pytest.raises(CommandError, match=r"token\.own_lane"):
        call_command("operate", "token", "leoportal-verifier")
    with pytest.raises(VerdictError, match=r"result\.built_in"):
        report(portal, outside(AgentKind.SECURITY, portal.pull().head_sha), by="leoportal-verifier")


def test_programs_that_no_scanner_reads_are_for_a_person(portal: Portal):
    pull = portal.verified(
        {"bin/tool": PROGRAM, "web/run.php": "<?php system($_GET['c']); ?>\n", "app.go": "package a\n"}
    )
    found = evidence.gather(pull, tree=pull.handoff.result_tree)
    assert found.judgement.verdict is not VerdictKind.PASS
    unread = {f.file for result in found.inputs.results for f in result.findings if f.rule == "source.unread"}
    assert unread == {"bin/tool", "web/run.php", "app.go"}


@pytest.mark.parametrize("where", ["tool", "version", "subject"])
def test_a_report_that_could_not_be_read_back_is_not_stored(portal: Portal, client: Client, where: str):
    pull = portal.verified()
    before = AgentReport.objects.count()
    token = issue_token(Principal.objects.get(name="story-gate"), "t", days=1, by=setup.OPERATOR)
    driver = {"name": "a\nb" if where == "tool" else "ab", "version": "1\n2" if where == "version" else "1"}
    run: dict[str, object] = {"tool": {"driver": driver}, "results": [], "invocations": [{"executionSuccessful": True}]}
    if where == "subject":
        run["artifacts"] = [{"location": {"uri": "a\nb"}}]
    answer = client.post(
        f"/api/v1/prs/acme/payments/{pull.number}/agents?format=sarif&kind=SECURITY&head_sha={pull.head_sha}",
        data=json.dumps({"version": "2.1.0", "runs": [run]}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "result.schema")
    assert AgentReport.objects.count() == before


def test_a_stored_report_that_cannot_be_read_is_an_error_and_stops_nobody(portal: Portal):
    pull = portal.verified()
    good = AgentReport.objects.filter(agent="SECURITY").latest("pk")
    stored = {**good.result, "tools": [{"name": "a\nb", "version": "1"}]}
    entry = AgentReport.objects.filter(agent="DESIGN").latest("pk").log_entry
    with transaction.atomic():
        copy = type(entry).objects.create(
            **{f.name: getattr(entry, f.name) for f in entry._meta.concrete_fields if f.name != "id"}
        )
        AgentReport.objects.create(
            pull_request=pull,
            agent="SECURITY",
            head_sha=pull.head_sha,
            round=1,
            result=stored,
            reporter_id=portal.actor("story-gate").principal_id,
            created_at=timezone.now(),
            log_entry=copy,
        )
    found = evidence.gather(pull, tree=pull.handoff.result_tree).judgement
    assert found.verdict is VerdictKind.FAIL
    assert any("cannot be read" in reason.sentence for reason in found.reasons)
    portal.push_bundle(portal.bundle({"docs.md": "x\n"}, branch="staging/codex-two"), branch="staging/codex-two")
    portal.receive()
    sweep_verification()
    assert portal.pull().triggered_at is not None
