"""How the protection of a repository stands, and that a verdict, its leaf, its statement and its exports carry it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now

from audit.actions import actor_of
from audit.events import Actor
from audit.models import LogEntry, Principal
from handoffs.actions import Enrolment, govern_on_github
from handoffs.attestations.vsa import read_envelope
from handoffs.github.findings import Outcome, Protection
from handoffs.github.live import Expected, Live, Unseen
from handoffs.github.onboarding import check_onboarding
from handoffs.models import (
    CanaryOutcome,
    GitHubRepository,
    ProtectionReading,
    ProtectionWatch,
    Reader,
    ReadingState,
    Repository,
)
from handoffs.protecting import (
    Attempt,
    Canary,
    expect_protection,
    newest_expectation,
    note_unread,
    record_canary,
    record_reading,
)
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.support.portal import Portal
from tests.support.protection import CONTEXTS, EXPECTED, LIVE, NOW, RULESETS, required, swap
from tests.web.scene import Scene, make_scene
from verdicts import evidence
from verdicts.comparing import find_changed_rows
from verdicts.decision import Verdict as VerdictKind
from verdicts.evidence import VERIFIER
from verdicts.models import DecisionKind
from verdicts.policy import default_policy_yaml, parse_policy
from verdicts.protection import ENFORCED_BY_HOOK, protection_of
from verdicts.replaying import replay_decision
from verdicts.statement_rows import VerdictStatement
from verdicts.tables import sheet_of
from verdicts.tasks import sweep_statements

POLICY = parse_policy(default_policy_yaml())
REFUSED = Canary(CanaryOutcome.REFUSED, 7, "a" * 40, (Attempt("merge", 405, "Required status check", True),))
MARKED = replace(EXPECTED, ours=tuple((one.id, one.updated_at) for one in RULESETS))
RENAMED = replace(LIVE, rules=swap("required_status_checks", required("LEO Gate", *CONTEXTS[1:])))


@pytest.fixture
def scene(db, settings, tmp_path: Path) -> Scene:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    return make_scene(tmp_path)


@pytest.fixture
def hosted(scene: Scene, tmp_path: Path) -> GitHubRepository:
    enrolment = Enrolment(1, "acme/hosted", "main", "b" * 40, tmp_path / "mirror.git", 2, 3, 4)
    return govern_on_github(enrolment, by=OPERATOR)


def publisher() -> Actor:
    return actor_of(Principal.objects.get(name=VERIFIER))


def read(repository: Repository, live: Live = LIVE, reader: str = Reader.ADMINISTRATOR) -> ProtectionReading:
    expectation = newest_expectation(repository)
    assert expectation is not None
    lane, by = ("operator", OPERATOR) if reader == Reader.ADMINISTRATOR else ("publisher", publisher())
    with acting_in(lane):
        return record_reading(expectation, check_onboarding(MARKED, live, now=NOW), reader=reader, by=by)


def enrol(repository: Repository, expected: Expected = MARKED, *, canary: Canary | None = REFUSED) -> None:
    with acting_in("operator"):
        expectation = expect_protection(repository, expected, is_observed=False, by=OPERATOR)
        if canary:
            record_canary(expectation, canary, by=OPERATOR)
    read(repository)


def test_a_repository_is_enforced_once_a_canary_proved_it_and_the_rules_agree(hosted: GitHubRepository):
    repository = hosted.repository
    assert protection_of(repository, POLICY).is_enrolled is False
    enrol(repository, canary=None)
    standing = protection_of(repository, POLICY)
    assert (standing.state, standing.is_enrolled) == (Protection.UNENFORCED, False)
    assert "canary" in standing.why
    enrol(repository)
    standing = protection_of(repository, POLICY)
    assert (standing.state, standing.is_enrolled, standing.why, standing.label) == (Protection.ENFORCED, True, "", "")


def test_a_canary_that_merged_enrols_nothing(hosted: GitHubRepository):
    enrol(hosted.repository, canary=replace(REFUSED, outcome=CanaryOutcome.MERGED))
    standing = protection_of(hosted.repository, POLICY)
    assert (standing.state, standing.is_enrolled) == (Protection.UNENFORCED, False)
    assert "merged" in standing.why
    assert LogEntry.objects.filter(kind="canary.merged").count() == 1
    enrol(hosted.repository, canary=replace(REFUSED, outcome=CanaryOutcome.UNPROVEN))
    assert not protection_of(hosted.repository, POLICY).is_enrolled


@pytest.mark.threat("GATE-16")
@pytest.mark.threat("GATE-08")
def test_drift_is_recorded_once_and_so_is_its_end(hosted: GitHubRepository):
    repository = hosted.repository
    enrol(repository)
    for _ in range(3):
        read(repository, RENAMED, Reader.APP)
    standing = protection_of(repository, POLICY)
    assert (standing.state, standing.is_enrolled) == (Protection.UNENFORCED, True)
    assert {finding.code for finding in standing.open_findings} == {"config.contexts"}
    assert standing.step.startswith("run `leo repo govern`")
    entry = LogEntry.objects.get(kind="protection.drifted")
    assert entry.open()["code"] == "config.drift"
    read(repository, LIVE, Reader.APP)
    assert protection_of(repository, POLICY).state is Protection.ENFORCED
    assert LogEntry.objects.filter(kind="protection.agreed").count() == 2
    assert find_changed_rows() == []


def test_what_an_app_does_not_see_is_kept_as_not_seen(hosted: GitHubRepository):
    enrol(hosted.repository)
    blind = replace(LIVE, secrets=Unseen("403"), rulesets=tuple(replace(o, bypass=Unseen("403")) for o in RULESETS))
    reading = read(hosted.repository, blind, Reader.APP)
    assert reading.state == ReadingState.AGREED
    standing = protection_of(hosted.repository, POLICY)
    assert {finding.outcome for finding in standing.open_findings} == {Outcome.UNSEEN}
    blind = replace(blind, rulesets=())
    assert read(hosted.repository, blind, Reader.APP).state == ReadingState.DRIFTED


def test_rules_that_nobody_reads_are_not_known(hosted: GitHubRepository):
    enrol(hosted.repository)
    with acting_in("publisher"):
        note_unread(hosted.repository, "github.unreachable: no")
    assert protection_of(hosted.repository, POLICY).state is Protection.ENFORCED
    ProtectionWatch.objects.update(read_at=Now() - timedelta(seconds=121))
    standing = protection_of(hosted.repository, POLICY)
    assert standing.state is Protection.UNENFORCED
    assert "github.unreachable" in standing.why


def test_a_policy_with_another_check_is_not_what_the_rules_require(hosted: GitHubRepository):
    enrol(hosted.repository)
    text = default_policy_yaml().replace(b"LEO SLSA Verification", b"LEO Provenance")
    assert protection_of(hosted.repository, parse_policy(text)).state is Protection.UNENFORCED


def test_observe_mode_says_so(hosted: GitHubRepository):
    with acting_in("operator"):
        expect_protection(hosted.repository, EXPECTED, is_observed=True, by=OPERATOR)
    standing = protection_of(hosted.repository, POLICY)
    assert (standing.label, standing.is_enrolled) == ("OBSERVE MODE", True)
    enrol(hosted.repository)
    assert protection_of(hosted.repository, POLICY).state is Protection.ENFORCED


def test_an_expectation_that_says_the_same_is_no_row(hosted: GitHubRepository):
    with acting_in("operator"):
        first = expect_protection(hosted.repository, EXPECTED, is_observed=False, by=OPERATOR)
        assert expect_protection(hosted.repository, EXPECTED, is_observed=False, by=OPERATOR) == first
        assert expect_protection(hosted.repository, MARKED, is_observed=False, by=OPERATOR) != first


def test_the_hook_enforces_locally(scene: Scene):
    assert protection_of(scene.repository, POLICY) is ENFORCED_BY_HOOK


@pytest.mark.threat("GATE-08")
def test_verdict_decision_leaf_statement_and_export_carry_it(portal: Portal, monkeypatch):
    """Judged where the rules drifted, which is said of this repository here; everything else is real."""
    drifted = replace(ENFORCED_BY_HOOK, state=Protection.UNENFORCED, why="The rules drifted.")
    monkeypatch.setattr(evidence, "protection_of", lambda _repository, _policy: drifted)
    portal.verified({"docs/fees.md": "# Fees\n"})
    verdict = portal.verdict(VerdictKind.ESCALATE, question="May this merge while nothing blocks?")
    decision = portal.decide(DecisionKind.SEND_BACK)
    sweep_statements()
    for row in (verdict, decision):
        assert row.protection == "UNENFORCED"
        assert row.log_entry.open()["protection"] == "UNENFORCED"
    statement = json.loads(read_envelope(bytes(VerdictStatement.objects.get().envelope)).payload)
    assert statement["predicate"]["leoportal_protection"] == "UNENFORCED"
    assert ("protection", "protection") in sheet_of("leo_verification_results", {}).columns
    assert ("protection", "protection") in sheet_of("pr_approval_audit", {}).columns
    body = verdict.log_entry.open()
    assert replay_decision("verdict.recorded", body, verdict.policy.log_entry.open()["rules"]) == ""
    assert find_changed_rows() == []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE leo_verification_results DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE leo_verification_results SET protection = 'ENFORCED'")
        cursor.execute("ALTER TABLE leo_verification_results ENABLE ALWAYS TRIGGER append_only_rows")
    assert [row for row in find_changed_rows() if "protection" in row]
