"""The onboarding check: one repository on which all is well, and each thing that can be wrong with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from audit.canonical import JsonValue
from handoffs.github.codeowners import owners_of
from handoffs.github.contexts import context_problem, context_problems
from handoffs.github.findings import ACCEPTABLE, Outcome, broken, findings_from_json, findings_to_json, holds, is_green
from handoffs.github.live import (
    Actions,
    Bypass,
    Classic,
    Environment,
    ExpectedError,
    Installed,
    Live,
    RequiredCheck,
    Rule,
    Unseen,
    expected_from_json,
    expected_to_json,
)
from handoffs.github.onboarding import check_onboarding
from tests.support.protection import (
    BUILDERS,
    CONTEXTS,
    ENFORCER,
    ENFORCER_APP,
    EXPECTED,
    FEATURE,
    GATE,
    GATE_APP,
    GATES,
    HISTORY,
    LIVE,
    NOW,
    RULES,
    RULESETS,
    STAGING,
    lane,
    pull,
    required,
    ruleset,
    swap,
    with_rulesets,
)

CLASSIC = Classic(tuple(RequiredCheck(name, GATE_APP) for name in CONTEXTS), True, True, False, False, True, False)
TEAM = Bypass("Team", 9)
HIDDEN = Unseen("HTTP 403")
RED = Bypass("RepositoryRole", 5)


def codes(live: Live, expected=EXPECTED) -> set[str]:
    return {finding.code for finding in check_onboarding(expected, live, now=NOW) if finding.outcome is not Outcome.OK}


def live(**changes) -> Live:
    return replace(LIVE, **changes)


def test_a_repository_as_it_should_be_is_green():
    findings = check_onboarding(EXPECTED, LIVE, now=NOW)
    assert is_green(findings)
    assert not any(finding.step for finding in findings)
    assert not any(finding.got.startswith("somebody") for finding in findings)
    assert findings_from_json(findings_to_json(findings)) == findings
    assert not is_green(())


BROKEN = {
    "no rules": (live(rules=()), "config.ruleset"),
    "no pull request needed": (live(rules=swap("pull_request")), "config.ruleset"),
    "a gate is not required": (live(rules=swap("required_status_checks", required(*CONTEXTS[1:]))), "config.contexts"),
    "a gate was renamed": (
        live(rules=swap("required_status_checks", required("LEO Gate", *CONTEXTS[1:]))),
        "config.contexts",
    ),
    "loose": (live(rules=swap("required_status_checks", required(strict=False))), "config.unsafe"),
    "a queue that tests the last entry only": (
        live(
            rules=(
                *swap("required_status_checks", required(strict=False)),
                Rule("merge_queue", GATES, {"grouping_strategy": "HEADGREEN"}),
            )
        ),
        "config.unsafe",
    ),
    "strict for another check only": (
        live(rules=(*swap("required_status_checks", required(strict=False)), required("other"))),
        "config.unsafe",
    ),
    "administrators bypass": (with_rulesets({GATES: ruleset(GATES, RED)}), "config.bypass"),
    "a team nobody named bypasses": (with_rulesets({GATES: ruleset(GATES, TEAM)}), "config.bypass"),
    "classic, administrators are free": (
        live(rules=(), rulesets=(), classic=replace(CLASSIC, is_for_admins=False)),
        "config.bypass",
    ),
    "force-pushes": (live(rules=swap("non_fast_forward")), "config.force_push"),
    "deletion": (live(rules=swap("deletion")), "config.deletion"),
    "staging can be rewritten": (live(lanes={**LIVE.lanes, "staging": lane(STAGING)}), "config.lanes"),
    "builders may rewrite staging": (with_rulesets({HISTORY: ruleset(HISTORY, BUILDERS)}), "config.lanes"),
    "staging is open": (live(lanes={**LIVE.lanes, "staging": ()}), "config.lanes"),
    "feature can be updated": (live(lanes={**LIVE.lanes, "feature": lane(FEATURE)[:1]}), "config.lanes"),
    "feature is everybody's who is an administrator": (
        with_rulesets({FEATURE: ruleset(FEATURE, Bypass("Integration", ENFORCER_APP), RED)}),
        "config.lanes",
    ),
    "staging is the enforcer's": (
        with_rulesets({STAGING: ruleset(STAGING, Bypass("Integration", ENFORCER_APP))}),
        "config.lanes",
    ),
    "nobody may push to feature": (with_rulesets({FEATURE: ruleset(FEATURE)}), "config.lanes"),
    "tokens write": (live(actions=Actions("write", may_approve=False)), "config.actions_token"),
    "workflows approve": (live(actions=Actions("read", may_approve=True)), "config.actions_approve"),
    "a secret of the repository": (live(secrets=("DEPLOY_KEY",)), "config.secrets"),
    "an environment without reviewers": (live(environments=(Environment("x", False),)), "config.environments"),
    "no CODEOWNERS": (live(codeowners=None), "config.codeowners"),
    "CODEOWNERS of something else": (live(codeowners="/src/ @acme/a\n"), "config.codeowners"),
    "CODEOWNERS taken back": (live(codeowners="/.github/ @acme/a\n/.github/workflows/\n"), "config.codeowners"),
    "any way to merge": (live(rules=swap("pull_request", pull("merge", "squash"))), "config.history"),
    "linear": (live(rules=(*RULES, Rule("required_linear_history", GATES))), "config.history"),
    "an old webhook secret": (live(secrets_set={"gate": NOW - timedelta(days=91)}), "config.webhook_secret"),
    "no webhook secret": (live(secrets_set={}), "config.webhook_secret"),
    "another App writes checks": (
        live(installed=(GATE, ENFORCER, Installed(9, "ci", {"checks": "write"}))),
        "config.other_app",
    ),
    "another App writes statuses": (
        live(installed=(GATE, ENFORCER, Installed(9, "ci", {"statuses": "write"}))),
        "config.other_app",
    ),
    "the gate writes code": (
        live(installed=(replace(GATE, permissions={"checks": "write", "contents": "write"}), ENFORCER)),
        "config.gate_app",
    ),
    "the gate is not installed": (live(installed=(ENFORCER,)), "config.gate_app"),
    "the enforcer administers": (
        live(installed=(GATE, replace(ENFORCER, permissions={**ENFORCER.permissions, "administration": "write"}))),
        "config.enforcer_app",
    ),
}


@pytest.mark.threat("GATE-02")
@pytest.mark.threat("GATE-07")
@pytest.mark.threat("GATE-08")
@pytest.mark.threat("GATE-11")
@pytest.mark.parametrize("name", BROKEN)
def test_each_thing_that_is_wrong_is_found_with_its_next_step(name):
    wrong, code = BROKEN[name]
    found = {finding.code: finding for finding in broken(check_onboarding(EXPECTED, wrong, now=NOW))}
    assert code in found
    assert found[code].step
    assert found[code].got != found[code].expected


@pytest.mark.threat("GATE-01")
@pytest.mark.parametrize("app", [None, -1, 15368, ENFORCER_APP, 0])
def test_a_check_that_somebody_else_can_report_is_found(app):
    loose = live(rules=swap("required_status_checks", required(app=app)))
    assert codes(loose) == {"config.pin"}
    # Also where a second rule pins it: GitHub demands both, but the loose one is there by somebody's hand.
    assert codes(live(rules=(*RULES, required(app=app)))) == {"config.pin"}


@pytest.mark.threat("GATE-01")
@pytest.mark.parametrize("app", [0, -1, 15368])
def test_the_gate_is_never_anybody_or_every_workflow(app):
    """Not even if that is what was expected."""
    wrong = replace(EXPECTED, gate_app=app)
    assert "config.pin" in codes(live(rules=swap("required_status_checks", required(app=app))), wrong)


FINE = {
    "a queue in which every entry passes": live(
        rules=(
            *swap("required_status_checks", required(strict=False)),
            Rule("merge_queue", GATES, {"grouping_strategy": "ALLGREEN"}),
        )
    ),
    "further checks of others": live(rules=(*RULES, required("build", app=None, source=21))),
    "an organisation's own rules that its owners may bypass": replace(
        with_rulesets({}), rules=(*RULES, Rule("deletion", 21)), rulesets=(*RULESETS, ruleset(21, RED))
    ),
    "CODEOWNERS by pattern": live(codeowners=".github/** @acme/a\n"),
}


@pytest.mark.parametrize("name", FINE)
def test_what_does_no_harm_is_fine(name):
    assert not codes(FINE[name])


def test_break_glass_is_one_named_team():
    named = replace(EXPECTED, break_glass=9)
    assert not codes(with_rulesets({GATES: ruleset(GATES, TEAM)}), named)
    assert codes(with_rulesets({GATES: ruleset(GATES, TEAM, RED)}), named) == {"config.bypass"}
    assert codes(with_rulesets({GATES: ruleset(GATES, Bypass("User", 9))}), named) == {"config.bypass"}
    assert codes(with_rulesets({GATES: ruleset(GATES, Bypass("Team", 9, "exempt"))}), named) == {"config.bypass"}


def test_classic_protection_holds_alone():
    """It knows no patterns of branches, so the lanes stay open, and it does not say how to merge."""
    alone = live(rules=(), rulesets=(), classic=CLASSIC, lanes={"staging": (), "feature": ()})
    assert codes(alone) == {"config.lanes", "config.history"}
    only_merges = replace(alone, merge_methods=frozenset({"merge"}))
    assert codes(only_merges) == {"config.lanes"}
    accepting = replace(EXPECTED, accepted=("config.lanes",))
    assert is_green(check_onboarding(accepting, only_merges, now=NOW))


@pytest.mark.parametrize("code", sorted({code for _, code in BROKEN.values()}))
def test_the_gates_themselves_are_never_accepted(code):
    """Whoever enrols may take what their GitHub cannot do better, and nothing that lets something past."""
    wrong = next(live for live, found in BROKEN.values() if found == code)
    findings = check_onboarding(replace(EXPECTED, accepted=(code,)), wrong, now=NOW)
    assert is_green(findings) is (code in ACCEPTABLE)


def test_a_reading_by_an_app_holds_only_if_the_rules_were_seen():
    hidden = live(actions=HIDDEN, secrets=HIDDEN, environments=HIDDEN, installed=HIDDEN, secrets_set=HIDDEN)
    marked = replace(EXPECTED, ours=tuple((one.id, one.updated_at) for one in RULESETS))
    no_list = replace(hidden, rulesets=tuple(replace(one, bypass=HIDDEN) for one in RULESETS))
    assert holds(check_onboarding(marked, no_list, now=NOW))
    assert not holds(check_onboarding(EXPECTED, no_list, now=NOW))
    assert not holds(check_onboarding(marked, replace(no_list, rules=HIDDEN), now=NOW))
    assert not holds(check_onboarding(marked, replace(no_list, rules=swap("deletion")), now=NOW))
    assert not holds(())


UNSEEN = {
    "rules": (live(rules=HIDDEN, rulesets=()), 10),
    "lanes": (live(lanes={"staging": HIDDEN, "feature": HIDDEN}), 3),
    "actions": (live(actions=HIDDEN), 2),
    "secrets": (live(secrets=HIDDEN), 1),
    "environments": (live(environments=HIDDEN), 1),
    "codeowners": (live(codeowners=HIDDEN), 1),
    "apps": (live(installed=HIDDEN), 1),
    "webhook secrets": (live(secrets_set=HIDDEN), 1),
    "bypass": (live(rulesets=tuple(replace(one, bypass=HIDDEN) for one in RULESETS)), 4),
    "rule sets": (live(rulesets=()), 4),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_cannot_be_seen_is_never_fine(name):
    hidden, count = UNSEEN[name]
    findings = check_onboarding(EXPECTED, hidden, now=NOW)
    unseen = [finding for finding in findings if finding.outcome is Outcome.UNSEEN]
    assert len(unseen) == count
    assert {finding.code for finding in unseen} == {"config.unseen"}
    assert all(finding.step for finding in unseen)
    assert not is_green(findings)


@pytest.mark.threat("GATE-08")
def test_a_rule_set_whose_bypass_list_is_hidden_is_known_by_when_it_changed():
    known = replace(EXPECTED, ours=((GATES, "2026-11-26T10:00:00Z"),))
    hidden = live(rulesets=tuple(replace(one, bypass=HIDDEN) if one.id == GATES else one for one in RULESETS))
    assert codes(hidden, known) == {"config.unseen"}
    touched = replace(
        hidden, rulesets=tuple(replace(one, updated_at="2026-11-26T11:00:00Z") for one in hidden.rulesets)
    )
    assert codes(touched, known) == {"config.changed"}


MALFORMED = (
    "LEO Gate Validation / Run Gate 3 for PRD-*",
    "LEO Gate ?",
    "LEO Gate [a]",
    " LEO Gate",
    "LEO Gate ",
    "",
    "LEO\tGate",
    "LEO Gate\n",
    "LEO\u00a0Gate",
    "LEO\u200bGate",
    "LEO  Gate",
    "LEO Gate ${{ matrix.os }}",
    "LEO Ｇate",
    "x" * 101,
)


@pytest.mark.threat("GATE-16")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_name_that_github_would_never_match_is_refused(name):
    assert context_problem(name)
    wrong = replace(EXPECTED, contexts=(*CONTEXTS[1:], name))
    found = {finding.code for finding in broken(check_onboarding(wrong, LIVE, now=NOW))}
    assert "config.context_name" in found


@pytest.mark.threat("GATE-16")
def test_names_that_stand_twice_are_refused():
    assert not context_problems(CONTEXTS)
    assert context_problems((*CONTEXTS, CONTEXTS[0]))
    assert context_problems((*CONTEXTS, CONTEXTS[0].upper()))
    assert context_problems(())


def test_an_expectation_is_read_back_as_it_was_written():
    for expected in (EXPECTED, replace(EXPECTED, builders=None, ours=((GATES, "x"),), listed=(3,), is_linear=True)):
        assert expected_from_json(expected_to_json(expected)) == expected
    stored = expected_to_json(EXPECTED)
    wrongs: tuple[JsonValue, ...] = (
        None,
        {},
        {**stored, "schema": "v2"},
        {**stored, "builders": "everybody"},
        {**stored, "rulesets": [1]},
    )
    for wrong in wrongs:
        with pytest.raises(ExpectedError, match=r"config\.expectation"):
            expected_from_json(wrong)


@pytest.mark.parametrize(
    ("pattern", "is_owned"),
    [
        ("*", True),
        ("/.github/", True),
        (".github/", True),
        (".github/**", True),
        ("/.github/workflows/*", True),
        ("*.yml", True),
        ("**/workflows/**", True),
        ("/.github/*", False),
        ("/.github/workflow", False),
        ("workflows/", True),
        ("/workflows/", False),
        ("*.y?ml", False),
        ("**a**b**c**", False),
    ],
)
def test_patterns_of_codeowners(pattern, is_owned):
    assert bool(owners_of(".github/workflows/leo.yml", f"{pattern} @acme/owners # who looks")) is is_owned
    assert owners_of(".github/workflows/leo.yml", f"{pattern} nobody") == ()
