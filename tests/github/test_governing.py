"""A repository is put under the portal, over HTTP: rules, check, canary; and what keeps it from being enforced."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.events import AuditError
from audit.models import LogEntry
from handoffs.forges.protocol import ForgeError
from handoffs.github.findings import Outcome, Protection
from handoffs.models import CanaryRun, GitHubRepository, HandoffError, ProtectionReading
from leoportal import governing, setup
from leoportal.governing import Ending
from leoportal.lanes.switching import acting_in
from tests.github.governing import CODEOWNERS, Town, make_town
from tests.support.github import GitHub
from verdicts.evidence import policy_in_force
from verdicts.policy import parse_policy
from verdicts.protection import Standing, protection_of
from verdicts.tasks_protection import due_for_reading, sweep_protection, watch_protection


@pytest.fixture
def town(transactional_db, github: GitHub, settings, tmp_path: Path) -> Town:
    setup.ensure_lanes("opal", "rhea")
    setup.ensure_policy(())
    return make_town(github, settings, tmp_path)


def standing() -> Standing:
    return protection_of(GitHubRepository.objects.get().repository, parse_policy(policy_in_force().document.encode()))


def open_codes(town: Town) -> set[str]:
    return {finding.about or finding.code for finding in standing().open_findings}


def no_canary_is_left(town: Town) -> bool:
    branches = town.repo.git.refs("refs/heads/leo/")
    return not branches and all(pull.state == "closed" for pull in town.repo.pulls.values())


@pytest.mark.threat("GATE-01")
@pytest.mark.threat("GATE-08")
def test_a_repository_is_enforced_only_once_everything_is_green_and_a_canary_was_refused(town: Town):
    tip = town.repo.sha("main")
    done = town.govern()
    assert done.ending is Ending.ENFORCED, town.said
    assert {finding.outcome for finding in done.findings} == {Outcome.OK}
    canary = CanaryRun.objects.get()
    assert [(one["what"], one["status"], one["refused"]) for one in canary.said] == [
        ("merge the pull request", 405, True),
        ("push to main", 422, True),
    ]
    assert town.repo.sha("main") == tip
    assert no_canary_is_left(town)
    assert standing().state is Protection.ENFORCED
    written = list(LogEntry.objects.order_by("pk").values_list("kind", flat=True))
    for kind in ("repository.governed", "protection.expected", "protection.agreed", "canary.refused"):
        assert written.count(kind) == 1
    # Again: nothing is written twice at GitHub, and a new canary is flown.
    rules = [one.updated_at for one in town.repo.rulesets]
    assert town.govern().ending is Ending.ENFORCED
    assert [one.updated_at for one in town.repo.rulesets] == rules
    assert any("nothing was changed" in line for line in town.said)
    assert (GitHubRepository.objects.count(), CanaryRun.objects.count()) == (1, 2)


@pytest.mark.threat("GATE-01")
@pytest.mark.threat("GATE-08")
def test_where_github_has_no_rule_sets_classic_protection_is_written_proved_and_watched(town: Town):
    town.repo.has_rulesets = False
    town.repo.merge_methods = {"merge"}
    next(one for one in town.github.installations if one.app is town.gate).permissions["administration"] = "read"
    assert town.govern().ending is Ending.OPEN
    assert open_codes(town) == {"config.lanes"}  # it knows no patterns
    accepted = ("config.lanes", "config.history")  # leo-gate is not shown how the repository lets merge
    done = town.govern(accepted=accepted)
    assert done.ending is Ending.ENFORCED, town.said
    assert [(one["status"], one["refused"]) for one in CanaryRun.objects.get().said] == [(405, True), (422, True)]
    assert no_canary_is_left(town)
    assert not town.repo.rulesets
    names = {gate.check_name for gate in parse_policy(policy_in_force().document.encode()).gates}
    (asked, *again) = [one.json() for one in town.github.requests if one.method == "PUT" and "protection" in one.path]
    pinned = [{"context": name, "app_id": town.gate.id} for name in names]
    assert sorted(asked["required_status_checks"]["checks"], key=str) == sorted(pinned, key=str)
    assert (asked["required_status_checks"]["contexts"], asked["enforce_admins"], again) == ([], True, [])

    repository = GitHubRepository.objects.get().repository_id
    assert watch_protection(repository)
    assert standing().state is Protection.ENFORCED, standing().open_findings
    town.repo.protections["main"]["enforce_admins"] = False
    assert watch_protection(repository)
    assert (standing().state, open_codes(town) & {"config.bypass"}) == (Protection.UNENFORCED, {"config.bypass"})
    assert LogEntry.objects.filter(kind="protection.drifted").last().role == "REPORTER"
    assert town.govern(accepted=accepted).ending is Ending.ENFORCED  # repaired
    assert town.repo.protections["main"]["enforce_admins"]


@pytest.mark.threat("GATE-01")
def test_what_is_required_is_reported_by_the_gate_alone(town: Town):
    town.govern()
    head = town.repo.commit({"a.txt": "a"}, branch="change", by=town.dev)
    pull = town.repo.open_pull("change", by=town.dev)
    names = [gate.check_name for gate in parse_policy(policy_in_force().document.encode()).gates]
    writers = {
        "dev": town.dev.token(),
        "enforcer": town.github.installations[0].token(),
        "boss": town.boss.token(),
    }
    for token in writers.values():
        for name in names:
            for path, body in (
                ("check-runs", {"name": name, "head_sha": head, "status": "completed", "conclusion": "success"}),
                (f"statuses/{head}", {"state": "success", "context": name}),
            ):
                with town.github.contract.ignoring_requests():
                    town.ask(token, "POST", path, body)
    assert not pull.mergeable
    gate = next(one for one in town.github.installations if one.app is town.gate).token()
    for name in names:
        body = {"name": name, "head_sha": head, "status": "completed", "conclusion": "success"}
        assert town.ask(gate, "POST", "check-runs", body).status_code == 201
    assert pull.mergeable


@pytest.mark.parametrize("is_admin_free", [True, False])
def test_a_canary_that_merges_is_an_incident(town: Town, is_admin_free: bool, monkeypatch):
    """Nobody looks at the findings here: what counts is what GitHub does."""
    town.govern(is_observed=True)
    monkeypatch.setattr(governing, "is_green", lambda _: True)
    monkeypatch.setattr(governing, "_write", lambda _reader, _name, expected, _say: expected)
    done = town.govern()
    assert done.ending is Ending.INCIDENT
    assert "INCIDENT" in done.next_step
    assert LogEntry.objects.filter(kind="canary.merged").count() == 1
    assert not standing().is_enrolled
    assert no_canary_is_left(town)


def test_a_refusal_for_another_reason_proves_nothing(town: Town, monkeypatch):
    monkeypatch.setattr(governing, "_write", lambda _reader, _name, expected, _say: expected)
    monkeypatch.setattr(governing, "is_green", lambda _: True)
    town.repo.merge_methods = {"squash"}
    with town.github.contract.ignoring_requests():
        done = town.govern()
    assert done.ending is Ending.INCIDENT  # the merge was refused for its method, the push was not
    assert CanaryRun.objects.get().said[0]["refused"] is False


@pytest.mark.threat("GATE-11")
def test_a_secret_of_the_repository_keeps_it_from_being_enforced(town: Town):
    town.repo.secrets.append("DEPLOY_KEY")
    done = town.govern()
    assert (done.ending, done.next_step.startswith("move them into an environment")) == (Ending.OPEN, True)
    assert not CanaryRun.objects.exists()
    assert not standing().is_enrolled


def test_observe_mode_blocks_nothing_and_says_so(town: Town):
    done = town.govern(is_observed=True)
    assert done.ending is Ending.OBSERVED
    assert town.repo.rulesets == []
    assert standing().label == "OBSERVE MODE"
    assert GitHubRepository.objects.get().is_observed
    assert town.govern().ending is Ending.ENFORCED
    assert not GitHubRepository.objects.get().is_observed


def test_only_an_administrator_governs_and_the_token_is_kept_nowhere(town: Town):
    with acting_in("operator"), pytest.raises(ForgeError, match=r"github\.not_admin"):
        governing.govern(town.wish(), town.connect(town.dev), say=town.said.append, pause=lambda: None)
    connection = town.connect()
    token = connection.token()
    with acting_in("operator"):
        governing.govern(town.wish(), connection, say=town.said.append, pause=lambda: None)
    bodies = b"".join(bytes(entry.body or b"") for entry in LogEntry.objects.all())
    assert token.encode() not in bodies
    assert token not in " ".join(town.said)


def test_apps_that_are_not_there_are_named(town: Town, settings):
    town.github.uninstall(next(one for one in town.github.installations if one.app is town.gate))
    with acting_in("operator"), pytest.raises(HandoffError, match="leo-gate"):
        town.govern()
    settings.GITHUB_GATE_APP_ID = settings.GITHUB_ENFORCER_APP_ID
    with acting_in("operator"), pytest.raises(HandoffError, match=r"apps\.unknown"):
        town.govern()


def test_a_change_by_hand_is_put_back_and_only_ours_is_touched(town: Town):
    town.govern()
    gates = town.ruleset("gates")
    gates.rules = [rule for rule in gates.rules if rule["type"] != "deletion"]
    gates.bypass_actors = [{"actor_type": "RepositoryRole", "actor_id": 5, "bypass_mode": "always"}]
    town.repo.require("build", app=town.gate)
    others = [one for one in town.repo.rulesets if "leoportal" not in one.name]
    before = [(one.name, one.updated_at) for one in others]
    assert town.govern().ending is Ending.ENFORCED
    line = next(line for line in town.said if "rule deletion is missing" in line)
    assert "RepositoryRole 5" in line
    assert [(one.name, one.updated_at) for one in others] == before


DRIFTS = {
    "renamed": ("config.contexts", lambda town: _check(town)[0].update(context="LEO Gate")),
    "unpinned": ("config.pin", lambda town: _check(town)[0].pop("integration_id")),
    "any workflow": ("config.pin", lambda town: _check(town)[0].update(integration_id=15368)),
    "loose": ("config.unsafe", lambda town: _required(town).update(strict_required_status_checks_policy=False)),
    "disabled": ("config.ruleset", lambda town: setattr(town.ruleset("gates"), "enforcement", "disabled")),
    "only evaluated": ("config.ruleset", lambda town: setattr(town.ruleset("gates"), "enforcement", "evaluate")),
    "deleted": ("config.ruleset", lambda town: town.repo.rulesets.remove(town.ruleset("gates"))),
    "of another branch": (
        "config.ruleset",
        lambda town: town.ruleset("gates").conditions["ref_name"].update(include=["refs/heads/other"]),
    ),
    "staging can be rewritten": ("config.lanes", lambda town: town.repo.rulesets.remove(town.ruleset("history"))),
    "lanes open": ("config.lanes", lambda town: town.repo.rulesets.remove(town.ruleset("staging"))),
}


def _required(town: Town):
    return next(r for r in town.ruleset("gates").rules if r["type"] == "required_status_checks")["parameters"]


def _check(town: Town):
    return _required(town)["required_status_checks"]


@pytest.mark.threat("GATE-08")
@pytest.mark.threat("GATE-16")
def test_each_drift_is_seen_by_the_next_look_and_so_is_its_repair(town: Town):
    """One repository, one drift after the other, each put back by `leo repo govern`."""
    town.govern()
    repository_id = GitHubRepository.objects.get().repository_id
    assert watch_protection(repository_id)
    assert (standing().state, standing().reading.reader) == (Protection.ENFORCED, "app")
    assert "config.secrets" in open_codes(town)  # an App is not shown them, and that is said
    for code, spoil in DRIFTS.values():
        spoil(town)
        assert watch_protection(repository_id)
        assert standing().state is Protection.UNENFORCED, code
        assert code in {finding.code for finding in standing().open_findings}
        assert town.govern().ending is Ending.ENFORCED, town.said[-9:]
        assert watch_protection(repository_id)
        assert standing().state is Protection.ENFORCED
    assert LogEntry.objects.filter(kind="protection.drifted").count() == len(DRIFTS)


@pytest.mark.threat("GATE-08")
def test_who_may_bypass_is_hidden_from_the_app_but_that_it_changed_is_not(town: Town):
    town.govern()
    gates = town.ruleset("gates")
    body = {"bypass_actors": [{"actor_type": "OrganizationAdmin", "actor_id": 1, "bypass_mode": "always"}]}
    town.github.clock.advance(60)
    assert town.ask(town.boss.token(), "PUT", f"rulesets/{gates.id}", body).status_code == 200
    sweep_protection()
    assert standing().state is Protection.ENFORCED  # it was read a moment ago; nobody looks again yet
    watch_protection(GitHubRepository.objects.get().repository_id)
    assert standing().state is Protection.UNENFORCED
    assert "config.changed" in open_codes(town)
    with acting_in("operator"):
        findings = governing.check(town.repo.full_name, town.connect(), say=town.said.append)
    assert {finding.code for finding in findings if finding.outcome is Outcome.BROKEN} == {"config.bypass"}


def test_rules_are_read_each_minute_and_after_an_event_and_an_outage_is_told(town: Town, settings):
    town.govern()
    hosted = GitHubRepository.objects.get()
    assert not due_for_reading(seconds=45).exists()
    GitHubRepository.objects.update(enforcer_dirty_at=hosted.repository.protection_watch.read_at.replace(year=2099))
    assert due_for_reading(seconds=45).get() == hosted
    assert due_for_reading(seconds=-1).get() == hosted
    with acting_in("publisher"):
        assert watch_protection(hosted.repository_id)
    count = len(town.github.requests)
    assert watch_protection(hosted.repository_id)
    assert {request.status for request in town.github.requests[count:]} <= {304, 403, 404}  # nothing was paid for
    town.github.chaos.outage()
    assert not watch_protection(hosted.repository_id)
    assert "github." in standing().error
    assert ProtectionReading.objects.count() == 2


def test_an_app_of_other_permissions_is_found(town: Town):
    town.github.installations[1].permissions["contents"] = "write"
    done = town.govern()
    assert done.ending is Ending.OPEN
    assert "config.gate_app" in {finding.code for finding in done.findings if finding.outcome is Outcome.BROKEN}


def test_a_persons_repository_is_governed_by_the_numbers_of_its_installations(town: Town):
    """GitHub lists nobody's installed Apps there: that no other App writes checks is not seen, and taken by name."""
    town.repo = own = town.github.create_repository("boss/tool", seed=CODEOWNERS)
    own.token_permissions |= {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    own.add(town.builder, "push")
    given = (town.github.install(town.enforcer, own).id, town.github.install(town.gate, own).id)
    with pytest.raises(HandoffError, match=r"apps\.unseen"):
        town.govern()
    assert town.govern(installations=given).ending is Ending.OPEN
    done = town.govern(installations=given, accepted=("config.other_app",))
    assert done.ending is Ending.ENFORCED, town.said
    assert {finding.about for finding in done.findings if finding.outcome is Outcome.ACCEPTED} == {"config.other_app"}
    hosted = GitHubRepository.objects.get()
    assert (hosted.enforcer_installation, hosted.gate_installation) == given
    with acting_in("operator"):
        assert governing.check("boss/tool", town.connect(), say=town.said.append)
    assert watch_protection(hosted.repository_id)
    assert standing().state is Protection.ENFORCED


def test_a_refused_actor_governs_nothing(town: Town):
    with acting_in("plan"), pytest.raises((AuditError, Exception)):
        governing.govern(town.wish(), town.connect(), say=town.said.append, pause=lambda: None)
    assert not GitHubRepository.objects.exists()
