"""The guards of a repository's rules at GitHub: what the onboarding check finds, the canary counts, and a verdict claims."""

from __future__ import annotations

from tests.sabotage.engine import Guard

ONBOARDING = "tests/github/test_onboarding.py"
EACH = f"{ONBOARDING}::test_each_thing_that_is_wrong_is_found_with_its_next_step"
PIN = f"{ONBOARDING}::test_a_check_that_somebody_else_can_report_is_found"
NAMES = f"{ONBOARDING}::test_a_name_that_github_would_never_match_is_refused"
UNSEEN = f"{ONBOARDING}::test_what_cannot_be_seen_is_never_fine"
CHANGED = f"{ONBOARDING}::test_a_rule_set_whose_bypass_list_is_hidden_is_known_by_when_it_changed"
GLASS = f"{ONBOARDING}::test_break_glass_is_one_named_team"
ACCEPTED = f"{ONBOARDING}::test_the_gates_themselves_are_never_accepted"
APP = f"{ONBOARDING}::test_a_reading_by_an_app_holds_only_if_the_rules_were_seen"
TEMPLATES = "tests/github/test_templates.py::test_what_would_be_a_hole_is_not_written"
STANDING = "tests/verdicts/test_protection.py"
RULES, AROUND = "handoffs/github/onboarding_rules.py", "handoffs/github/onboarding_repository.py"
CONTEXTS, FINDINGS = "handoffs/github/contexts.py", "handoffs/github/findings.py"

PROTECTION_GUARDS: tuple[Guard, ...] = (
    Guard(RULES, "and check.app_id != case.expected.gate_app\n", "and check.app_id is None\n", PIN),
    Guard(RULES, " and case.expected.gate_app not in {0, -1, GITHUB_ACTIONS}", "", f"{ONBOARDING}::test_the_gate_is_never_anybody_or_every_workflow"),
    Guard(RULES, 'good=strict or queue == "ALLGREEN",', "good=bool(strict or queue),", EACH),
    Guard(RULES, "ruleset.updated_at != was:", "not was:", CHANGED),
    Guard(RULES, 'return is_team and actor.mode != "exempt"', "return is_team", GLASS),
    Guard(RULES, "found == {str(owner)},", "str(owner) in found,", EACH),
    Guard(RULES, "classic if isinstance(case.live.classic, Classic) and case.live.classic.is_for_admins else None", "classic if isinstance(case.live.classic, Classic) else None", EACH),
    Guard(AROUND, "if app.app_id not in known and any(", "if False and any(", EACH),
    Guard(AROUND, "good=app is not None and has_to <= writes <= may_write,", "good=app is not None and has_to <= writes,", EACH),
    Guard(AROUND, "good=not secrets,", "good=True,", EACH),
    Guard("handoffs/github/codeowners.py", 'tuple(owner for owner in owners if "@" in owner)', "tuple(owners)", f"{ONBOARDING}::test_patterns_of_codeowners"),
    Guard(CONTEXTS, "if wild := sorted(_PATTERN & set(name)):", "if wild := []:", NAMES),
    Guard(CONTEXTS, "if name != name.strip():", "if False:", NAMES),
    Guard(CONTEXTS, 'if name != unicodedata.normalize("NFKC", name):', "if False:", NAMES),
    Guard(CONTEXTS, "name.casefold()", "name", f"{ONBOARDING}::test_names_that_stand_twice_are_refused"),
    Guard(FINDINGS, "        Outcome.UNSEEN,\n        sentence,", "        Outcome.OK,\n        sentence,", UNSEEN),
    Guard(FINDINGS, "accepted = ACCEPTABLE & set(names)", "accepted = set(names)", ACCEPTED),
    Guard(FINDINGS, " or (finding.outcome is Outcome.UNSEEN and finding.about in ESSENTIAL)", "", APP),
    Guard("handoffs/github/templates.py", "if not _COMMAND.match(command):", "if False:", TEMPLATES),
    Guard("verdicts/protection.py", "if canary is None or canary.outcome != CanaryOutcome.REFUSED:", "if canary is None:", f"{STANDING}::test_a_canary_that_merged_enrols_nothing"),
    Guard("verdicts/protection.py", "if reading is None or reading.state != ReadingState.AGREED:", "if reading is None:", f"{STANDING}::test_drift_is_recorded_once_and_so_is_its_end"),
    Guard("verdicts/protection.py", "or watch.read_at < timezone.now() - READING_HOLDS", "", f"{STANDING}::test_rules_that_nobody_reads_are_not_known"),
    Guard("verdicts/protection.py", "if sorted(gate.check_name for gate in policy.gates) != required:", "if False:", f"{STANDING}::test_a_policy_with_another_check_is_not_what_the_rules_require"),
    Guard("handoffs/github/onboarding.py", "    rules.check_staging_history,\n", "", f"{ONBOARDING}::test_each_thing_that_is_wrong_is_found_with_its_next_step"),
    Guard("handoffs/github/rules_writing.py", '[{"type": FORCE_PUSH}])', "[])", "tests/github/test_flow_on_github.py::test_one_handoff_from_a_push_to_a_merge"),
    Guard("handoffs/github/canary.py", "bool(refusal.search(error.detail))", "True", "tests/github/test_governing.py::test_a_refusal_for_another_reason_proves_nothing"),
)  # fmt: skip
