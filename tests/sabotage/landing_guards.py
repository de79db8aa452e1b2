"""The guards of what is followed, judged and merged on GitHub."""

from __future__ import annotations

from tests.sabotage.engine import Guard

LANDING = "tests/github/test_landing.py"
COVERS = f"{LANDING}::test_a_release_covers_what_was_judged_and_while_it_holds"
ONE_COMMIT = f"{LANDING}::test_a_verdict_holds_for_one_commit_on_one_base_and_for_nothing_else"
INTERLEAVED = (
    "tests/github/test_interleavings.py::test_interleaved_lives_of_three_pull_requests_end_in_what_github_shows"
)
LATER = f"{LANDING}::test_a_pull_request_merged_without_a_release_is_a_bypass_also_if_the_verdict_comes_later"
ATTACKS = "tests/github/test_attacks.py"
JUDGED_BASE = f"{ATTACKS}::test_the_portal_merges_on_the_judged_base_alone_whatever_the_rules_let_through"
KEEPS = f"{ATTACKS}::test_no_text_run_or_pull_on_github_keeps_the_rest_of_a_repository_from_being_looked_at"
HIDES = f"{ATTACKS}::test_a_branch_that_git_refuses_hides_nothing_that_lands_and_a_lost_protected_one_is_said"
RUNS = "tests/github/test_runs.py"
GREEN = f"{RUNS}::test_a_gate_needs_the_right_workflow_and_its_evidence_not_a_green_run"
FAULTS = "tests/github/test_faults.py"
LOST = f"{FAULTS}::test_an_effect_whose_answer_was_lost_is_found_and_not_made_again"
GROUPS = "tests/github/test_publishing_groups.py"
ON_TOP = f"{GROUPS}::test_a_group_on_top_of_what_nobody_released_waits_until_it_is_classed_and_then_fails"
IN_TURN = f"{GROUPS}::test_a_release_waits_in_a_queue_while_only_what_was_released_lands"
QUEUED = "tests/github/test_queue_landing.py"
ONE_GROUP = (
    f"{QUEUED}::test_two_pull_requests_in_one_group_land_as_both_were_judged_whatever_github_names_as_their_commit"
)
PACKS = "tests/audit/test_pack_landings.py"
AS_JUDGED = f"{PACKS}::test_what_landed_is_what_was_judged_however_it_was_merged"
VERIFIERS_WORD = f"{PACKS}::test_what_a_queue_landed_on_a_later_base_needs_the_verifiers_word"
UNRELEASED = f"{PACKS}::test_what_a_queue_landed_on_something_that_nobody_released_is_not_believed"

LANDING_GUARDS: tuple[Guard, ...] = (
    Guard("verdicts/landing.py", "    if step.tree != merge_tree:\n", "    if False:\n", COVERS),
    Guard("verdicts/landing.py", "    if _was_taken_back(pull, merged_at):\n", "    if False:\n", COVERS),
    Guard("verdicts/landing.py", "        if line_since(hosted.repository_id, git, base_sha, step.base_sha) is not Line.RELEASED:\n", "        if False:\n", COVERS),
    Guard("verdicts/landing.py", "Q(created_at__lte=merged_at + SLACK) if merged_at else Q()", "Q()", LATER),
    Guard("handoffs/following.py", "        if found.base_ref != pull.base_ref:\n", "        if False:\n", ONE_COMMIT),
    Guard("handoffs/following.py", "found.head_sha != pull.head_sha and not _is_ours(pull, found.head_sha)", "False", ONE_COMMIT),
    Guard("verdicts/workflow_gates.py", "    if not code and not is_own:\n", "    if False:\n", GREEN),
    Guard("verdicts/workflow_gates.py", "    if not code and not _is_same_file(git, row.workflow, row.head_sha, pull.base_sha):\n", "    if False:\n", f"{RUNS}::test_a_workflow_that_the_protected_branch_does_not_have_counts_for_nothing"),
    Guard("handoffs/github/runs.py", "    if run.path != asked.path and not run.path.endswith(f\"/{asked.path}\"):\n", "    if False:\n", f"{RUNS}::test_a_run_is_the_one_that_was_asked_for_in_every_respect"),
    Guard("handoffs/following.py", "if pull.head_sha == head_sha or pull.status == PullStatus.MERGED:", "if pull.head_sha == head_sha or pull.status in {PullStatus.MERGED, PullStatus.CLOSED}:", INTERLEAVED),
    Guard("handoffs/following.py", "if pull.base_ref == base_ref or pull.status == PullStatus.MERGED:", "if pull.base_ref == base_ref or pull.status in {PullStatus.MERGED, PullStatus.CLOSED}:", INTERLEAVED),
    Guard("handoffs/following.py", "PullStatus.GATES_PASSING if has_tree else PullStatus.NEEDS_REVISION, {}", "PullStatus.GATES_PASSING, {}", INTERLEAVED),
    Guard("handoffs/reconciling.py", "    if has_moved:\n", "    if False:\n", INTERLEAVED),
    Guard("handoffs/tasks_github.py", "enforcer_looked_at=began, enforcer_error", "enforcer_looked_at=Now(), enforcer_error", "tests/github/test_hooks_over_http.py::test_what_came_while_somebody_looked_makes_them_look_again"),
    Guard("handoffs/reconciling.py", "            elif row.tried_at is None or row.tried_at < now - APPEARS:\n", "            else:\n", f"{FAULTS}::test_a_run_that_does_not_show_yet_is_not_asked_for_twice"),
    Guard("handoffs/github/forge.py", "            if error.code == \"github.refused\" and (number := self._open_pull(wanted)):\n", "            if False:\n", "tests/github/test_mirror.py::test_a_pull_request_that_somebody_opens_meanwhile_is_found"),
    Guard("handoffs/github/connection.py", "            self._begin()\n            raise", "            raise", "tests/github/test_connection.py::test_a_token_is_used_until_it_ends_and_then_renewed"),
    Guard("verdicts/merge_groups.py", "    if Line.NOT_CLASSED in lines and Line.OTHER not in lines:\n", "    if False:\n", ON_TOP),
    Guard("verdicts/merge_groups.py", " if Line.OTHER in lines else", " if False else", ON_TOP),
    Guard("verdicts/lineage.py", "    if pull.status != PullStatus.READY_TO_MERGE or pull.moved_at < timezone.now() - QUEUE_HOLDS:\n", "    if False:\n", IN_TURN),
    Guard("verdicts/lineage.py", "    if expectation is None or not expected_of(expectation).has_queue:\n", "    if False:\n", IN_TURN),
    Guard("verdicts/lineage.py", "    return line_since(pull.repository_id, git, pull.base_sha, tip) is Line.RELEASED\n", "    return True\n", IN_TURN),
    Guard("audit/pack_commits.py", "kind if landed.tree == by.get(\"merge_tree\") else \"landed with another tree\"", "kind", AS_JUDGED),
    Guard("audit/pack_commits.py", "    if not base or landed.parents not in ((base,), (base, head)):\n", "    if False:\n", AS_JUDGED),
    Guard("audit/pack_commits.py", "kind if is_found and _line_to(", "kind if _line_to(", VERIFIERS_WORD),
    Guard("audit/pack_commits.py", "        if commits[at].kind not in RELEASED or not commits[at].parents:\n", "        if not commits[at].parents:\n", UNRELEASED),
    Guard("audit/standalone_verifier.py", "kind if row[\"tree\"] == told.get(\"merge_tree\") else \"landed with another tree\"", "kind", AS_JUDGED),
    Guard("audit/standalone_verifier.py", "        if not base or row[\"parents\"] not in ([base], [base, head]):\n", "        if False:\n", AS_JUDGED),
    Guard("audit/standalone_verifier.py", "        if not any((leaf.body or {}).items() >= wanted.items() for leaf in found):\n", "        if False:\n", VERIFIERS_WORD),
    Guard("audit/standalone_verifier.py", "            if self.commits[at].get(\"class\") not in RELEASED:\n", "            if False:\n", UNRELEASED),
    Guard("verdicts/landing.py", "    return merged_at is None or pull.moved_at < merged_at\n", "    return merged_at is not None and pull.moved_at < merged_at\n", f"{ATTACKS}::test_a_pushed_merge_of_a_head_whose_verdict_was_superseded_is_a_bypass"),
    Guard("verdicts/merging_github.py", "    if found.base_ref != intent.pull_request.base_ref:\n", "    if False:\n", f"{JUDGED_BASE}[base]"),
    Guard("verdicts/merging_github.py", "    if tip != intent.base_sha:\n", "    if False:\n", f"{JUDGED_BASE}[tip]"),
    Guard("handoffs/following.py", "        if found.merged_at is not None and is_home:\n", "        if found.merged_at is not None:\n", f"{JUDGED_BASE}[base]"),
    Guard("handoffs/github/runs.py", "run.title.split()[-1:] == [asked.intent]", "asked.intent in run.title.split()", KEEPS),
    Guard("handoffs/reconciling.py", "                if error.code not in {\"github.refused\", \"github.forbidden\", \"github.not_found\"}:\n                    raise\n                log", "                raise\n                log", KEEPS),
    Guard("handoffs/reconciling.py", "        forge.refresh_only(protected, \"feature/*\")\n        return error\n", "        raise\n", HIDES),
    Guard("handoffs/reconciling.py", "    if trouble is not None:\n        raise trouble\n", "", HIDES),
    Guard("handoffs/following.py", "    base_ref = base_ref[:200]\n", "", KEEPS),
    Guard("handoffs/github/mirror.py", " if ref == f\"refs/heads/{name}\"), \"\")", "), \"\")", "tests/github/test_mirror.py::test_a_branch_whose_name_ends_like_another_is_another"),
    Guard("verdicts/landing.py", "Exists(ours).desc(), \"number\"", "\"number\"", f"{LANDING}::test_what_a_person_merges_with_the_button_after_pass_is_no_bypass_in_the_portal_nor_in_a_pack"),
    Guard("verdicts/landing.py", "Q(head_sha=parents[1]) if len(parents) == 2 else", "", ONE_GROUP),
    Guard("verdicts/tasks.py", "            log.warning(\"%s cannot be merged: %s\", intent, error)\n            if error.retry_in is not None:\n", "            if True:\n", f"{ATTACKS}::test_a_merge_that_github_always_refuses_stops_no_other"),
    Guard("verdicts/tasks.py", "    if tree and holds_in_queue(pull, git, tip):\n        return\n", "", f"{QUEUED}::test_two_pull_requests_land_through_the_queue_and_their_pack_proves_it"),
    Guard("handoffs/github/mirror.py", "            \"http.followRedirects\": \"false\",\n", "", "tests/github/test_mirror.py::test_the_token_goes_to_no_other_host"),
    Guard("verdicts/answering.py", "    if identity is None and _is_crowded(request):\n", "    if False:\n", "tests/github/test_answering.py::test_status_help_and_a_draft_for_lead_and_only_so_many_answers_to_strangers"),
    Guard("verdicts/tasks_landing.py", "        with alone(f\"what landed in {hosted}\"):\n            count +=", "        if True:\n            count +=", f"{ATTACKS}::test_one_repository_whose_landings_cannot_be_judged_hides_no_others"),
)  # fmt: skip
