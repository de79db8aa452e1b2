"""The guards of what leo-gate shows on GitHub."""

from __future__ import annotations

from tests.sabotage.engine import Guard

PURE, TEXT = "tests/verdicts/test_publishing.py", "tests/verdicts/test_check_text.py"
LANE, FLOW = "tests/github/test_publishing_lane.py", "tests/github/test_publishing_flow.py"
RACES, GROUPS = "tests/github/test_publishing_races.py", "tests/github/test_publishing_groups.py"
ONE = f"{PURE}::test_one_thing_that_does_not_hold_is_enough"
FAULTS = "tests/github/test_publishing_faults.py"
ATTACKS = "tests/github/test_attacks_on_checks.py"
ENDS = f"{ATTACKS}::test_a_merge_into_another_branch_ends_the_success_also_while_a_group_cannot_be_answered"
DATABASE = f"{LANE}::test_the_database_takes_no_success_that_nothing_releases"
OTHERS = f"{GROUPS}::test_a_group_with_anything_else_in_it_fails"
EDITED = f"{FLOW}::test_a_publication_that_was_edited_or_deleted_past_its_guard_is_found"
FORGING, ANSWERING = "tests/github/test_forging.py", "tests/github/test_answering.py"
TRIAL = "tests/github/test_trying_out.py"
SHOWN_ON_TRIAL = f"{TRIAL}::test_a_trial_shows_four_statuses_that_no_rule_takes_for_the_gates"
OVERWRITTEN = f"{TRIAL}::test_a_status_that_somebody_else_wrote_is_written_over"
STAYS = f"{TRIAL}::test_a_trial_stays_a_trial_and_its_names_are_nobody_elses"
GUARDED = "verdicts/migrations/0003_release_guards.py"

PUBLISHING_GUARDS: tuple[Guard, ...] = (
    Guard("verdicts/publishing.py", "    if not known.head_sha == cause.head_sha == sha:", "    if False:", ONE),
    Guard("verdicts/publishing.py", "    if cause.base_sha != known.base_sha:", "    if False:", ONE),
    Guard("verdicts/publishing.py", "    if not cause.is_covered:", "    if False:", ONE),
    Guard("verdicts/publishing.py", "        elif seen is not None and not seen.is_covered:", "        elif False:", ONE),
    Guard("verdicts/publishing.py", "    if one.base_ref != pulls[0].base_ref:", "    if False:", ONE),
    Guard("verdicts/publishing.py", "    if len(pulls) > 1:", "    if False:", f"{PURE}::test_nobody_elses_head_gets_a_success"),
    Guard("verdicts/publishing.py", "        if one.stage is not Stage.RELEASED:", "        if False:", f"{PURE}::test_a_merge_group_passes_only_if_every_member_is_released"),
    Guard("verdicts/publishing.py", "key=lambda one: (one.is_release, one.is_satisfying, not one.is_own)", "key=lambda one: one.context", f"{PURE}::test_what_is_taken_back_comes_first_and_what_releases_last"),
    Guard("verdicts/check_text.py", "    return text.replace(\"@\", \"@ \")", "    return text", f"{TEXT}::test_findings_with_a_line_are_remarks_worst_first_and_nobody_is_called"),
    Guard("verdicts/publisher.py", "        if not _holds(one, again()):\n            raise MovedError(one.run.head_sha)\n        _answer(row, written)", "        _answer(row, written)", f"{RACES}::test_the_head_moves_between_every_pair_of_calls[close]"),
    Guard("verdicts/publisher.py", "    except BaseException:\n        _withdraw(desk, one, found, row)\n", "    except BaseException:\n", FAULTS),
    Guard("verdicts/publisher.py", "            desk.checks.withdraw(found, one.run.title, one.run.summary)\n", "", f"{FLOW}::test_a_success_is_taken_back_at_once[alarm]"),
    Guard("verdicts/publishing_facts.py", "    if current_skew():", "    if False:", f"{FLOW}::test_a_success_is_taken_back_at_once[skew]"),
    Guard("verdicts/publishing_facts.py", "    if news := evidence.news_since(", "    if news := () and evidence.news_since(", f"{FLOW}::test_a_success_is_taken_back_at_once[builder_gone]"),
    Guard("verdicts/tasks_publishing.py", "refuse_other_app(checks, hosted.gate_app)", "pass", f"{LANE}::test_the_key_of_another_app_publishes_nothing"),
    Guard("handoffs/github/check_runs.py", "    if run.conclusion in {\"success\", \"neutral\", \"skipped\"}:", "    if False:", f"{LANE}::test_what_satisfies_github_is_never_made_only_written_into_a_run_that_is_known"),
    Guard("verdicts/merge_groups.py", " and _merges_to(git, parents[0], head, tree)]", "]", OTHERS),
    Guard("verdicts/merge_groups.py", "    if request.text.removeprefix(REFS) != desk.hosted.repository.protected_branch:", "    if False:", f"{GROUPS}::test_nobody_else_gets_an_answer_for_a_branch_that_looks_like_the_queues"),
    Guard("verdicts/comparing.py", "        \"is_own\": \"own\",\n", "", EDITED),
    Guard("verdicts/comparing.py", "    \"check.intended\": CheckPublication,\n", "", EDITED),
    Guard("verdicts/tampering.py", "f\"--max-count={MAX_COMMITS}\"", "\"--max-count=1\"", f"{FORGING}::test_a_marker_in_twelve_places_by_four_actors_changes_nothing"),
    Guard("handoffs/deliveries.py", "text=\"\" if asked.kind is AskedKind.COMMAND else asked.text,", "text=asked.text,", f"{ANSWERING}::test_a_question_is_erased_with_its_authors_other_texts"),
    Guard("verdicts/views.py", "principal=request.actor.principal_id, verb=Verb.ESCALATE", "verb=Verb.ESCALATE", f"{ANSWERING}::test_status_help_and_a_draft_for_lead_and_only_so_many_answers_to_strangers"),
    Guard("verdicts/publisher.py", "        merged = there.is_merged and is_home and there", "        merged = there.is_merged and there", ENDS),
    Guard("verdicts/tasks_publishing.py", "        try:\n            publish_groups(desk)\n        finally:\n            publish_repository(desk)\n", "        publish_groups(desk)\n        publish_repository(desk)\n", ENDS),
    Guard("verdicts/publisher.py", "key=lambda head: (head not in known, head)", "key=str", ENDS),
    Guard("verdicts/publisher.py", "        if sha not in known and sha not in first and not desk.checks.has_to_spare:\n", "        if False:\n", ENDS),
    Guard("handoffs/github/contexts.py", "return name if is_separated else", "return name if True else", SHOWN_ON_TRIAL),
    Guard("handoffs/github/contexts.py", "if name.lower().startswith(TRIAL):", "if False:", STAYS),
    Guard("handoffs/github/statuses.py", "    is_ours_alone = False", "    is_ours_alone = True", OVERWRITTEN),
    Guard("handoffs/github/statuses.py", "f\"{NOT_SEPARATED} · {title}\"", "title", SHOWN_ON_TRIAL),
    Guard("handoffs/protecting.py", "    if not hosted.is_separated:", "    if False:", STAYS),
    Guard("verdicts/protection.py", "    if not expectation.expected.get(\"gateApp\"):", "    if False:", SHOWN_ON_TRIAL),
    Guard("verdicts/projecting.py", "\"\" if facts.is_separated else", "\"\" if True else", SHOWN_ON_TRIAL),
    Guard(GUARDED, "NOT leo_log_covers(cause) OR ", "", DATABASE),
    Guard(GUARDED, "(NEW.is_group OR p.number = NEW.pull_number AND p.head_sha = NEW.head_sha)", "true", DATABASE),
)  # fmt: skip
