"""The guards of what GitHub sends: webhooks, identity tokens of workflow runs, and their evidence."""

from __future__ import annotations

from tests.sabotage.engine import Guard

VIEW, DELIVERIES, OIDC = "handoffs/views_github.py", "handoffs/deliveries.py", "handoffs/github/oidc.py"
EVENTS, ADMISSION = "handoffs/github/events.py", "handoffs/github/admission.py"
INTAKE, TAKEN = "tests/github/test_intake.py", "tests/github/test_deliveries.py"
TOKEN, EVIDENCE = "tests/github/test_oidc.py", "tests/github/test_run_evidence.py"
READ = "tests/github/test_events.py"
FORGED = f"{INTAKE}::test_a_forged_delivery_is_refused_and_leaves_nothing"
LENGTH = f"{INTAKE}::test_the_length_is_looked_at_before_a_byte_is_read"
FOREIGN = f"{READ}::test_what_belongs_to_another_repository_installation_or_fork_wakes_nobody"
CLAIMS = f"{TOKEN}::test_a_token_that_says_something_else_is_refused"
OTHER = f"{EVIDENCE}::test_evidence_of_another_file_repository_event_or_commit_is_refused"

CIRCUIT = "tests/github/test_circuit.py"
ONE_ASKS = f"{CIRCUIT}::test_after_failures_in_a_row_one_asks_at_a_time_until_it_answers"
DIED = f"{CIRCUIT}::test_who_was_to_ask_and_died_is_replaced_and_a_token_from_memory_is_no_answer"
OUTAGE = "tests/github/test_outage.py::test_half_an_hour_without_github"

HOOK_GUARDS: tuple[Guard, ...] = (
    Guard("verdicts/tasks_projecting.py", "GitHubRepository.objects.reachable(\"enforcer\").select_related", "GitHubRepository.objects.select_related", OUTAGE),
    Guard("verdicts/tasks_protection.py", "GitHubRepository.objects.reachable(\"gate\").filter", "GitHubRepository.objects.filter", OUTAGE),
    Guard("handoffs/circuits.py", "        elif self._failures >= MOST_FAILURES:", "        elif False:", OUTAGE),
    Guard("handoffs/circuits.py", "        if may_probe and next_try_at <= now and self._rows", "        if may_probe and self._rows", ONE_ASKS),
    Guard("handoffs/circuits.py", "        self._failures = 0\n        if self._probing is not None:", "        if self._probing is not None:", f"{CIRCUIT}::test_failures_that_are_not_in_a_row_stop_nobody"),
    Guard("handoffs/circuits.py", "self._rows.filter(next_try_at=next_try_at).update", "self._rows.update", f"{CIRCUIT}::test_of_two_whose_turn_it_is_at_one_moment_one_asks"),
    Guard("handoffs/github/connection.py", "        with self.talking(is_asking=False):", "        with self.talking():", DIED),
    Guard("handoffs/github/connection.py", "            self._breaker.admit(may_probe=False)", "            pass", DIED),
    Guard("verdicts/tasks_publishing.py", "        if error.code == SILENT:\n", "        if False:\n", OUTAGE),
    Guard("leoportal/lanes/matrix.toml", "publisher = \"S(app delivery_id)\"\n", "", "tests/github/test_hooks_over_http.py::test_what_did_not_reach_the_gate_is_asked_for_again_by_its_own_worker_and_processed"),
    Guard(VIEW, "        _refuse_forged(body, signature, secrets)\n", "", FORGED),
    Guard(VIEW, "    if signed is None:", "    if False:", FORGED),
    Guard(VIEW, "int(length) > MAX_BODY_BYTES:", "int(length) > 99 * MAX_BODY_BYTES:", LENGTH),
    Guard(VIEW, "for secret in secrets]", "for secret in secrets[:1]]", f"{INTAKE}::test_of_two_secrets_both_are_active_and_the_old_one_dies_when_it_is_taken_out"),
    Guard(VIEW, "        raise WebhookError(503, \"webhook.not_stored\"", "        return True\n        raise WebhookError(503, \"webhook.not_stored\"", f"{INTAKE}::test_what_cannot_be_stored_is_not_acknowledged"),
    Guard(VIEW, "            if now - self._told_at.get(key, float(\"-inf\")) < TOLD_SECONDS:", "            if False:", f"{INTAKE}::test_refusals_are_counted_and_told_once_a_minute"),
    Guard("leoportal/logs.py", "        return record.levelno >= logging.ERROR or not str(path)", "        return True or not str(path)", f"{INTAKE}::test_nobody_fills_the_log_by_knocking"),
    Guard("handoffs/models/hooks.py", "\nON CONFLICT (app, delivery_id) DO NOTHING\n", "\n", f"{INTAKE}::test_a_delivery_is_stored_once_for_each_app_however_often_it_comes"),
    Guard(ADMISSION, "    if subscription is None:\n        return Outcome(Taken.REFUSED, FOREIGN_REPOSITORY)", "    if subscription is None:\n        return Outcome(Taken.DONE, \"\")", FOREIGN),
    Guard(ADMISSION, "    if found.installation_id != subscription.installation_id:", "    if False:", FOREIGN),
    Guard(ADMISSION, "    if found.head_repository_id not in {0, found.repository_id}:", "    if False:", FOREIGN),
    Guard(EVENTS, "or body.action != \"created\":\n        return None\n    line", "or False:\n        return None\n    line", f"{READ}::test_no_other_comment_is_a_command"),
    Guard(EVENTS, "        asked = replace(asked, key=f\"{asked.key} {digest}\")\n", "        pass\n", f"{READ}::test_buttons_and_re_runs_of_check_runs_are_asked_for_once_for_the_same_bytes"),
    Guard(DELIVERIES, "    if recent.filter(subject=subject).exists() or recent.count() >= MOST_AUDITED:", "    if False:", f"{TAKEN}::test_nobody_floods_the_log_with_foreign_events"),
    Guard(DELIVERIES, "            _audit_foreign(delivery, found, outcome.code, by)\n", "            pass\n", f"{TAKEN}::test_results_of_another_repository_installation_or_fork_change_nothing_and_are_audited"),
    Guard(DELIVERIES, "bulk_create([request], ignore_conflicts=True)", "bulk_create([request])", f"{TAKEN}::test_what_was_asked_for_is_kept_once_under_whatever_number_it_comes"),
    Guard(DELIVERIES, "        body=None,\n", "", f"{TAKEN}::test_a_delivery_marks_its_repository_wakes_who_has_to_look_and_loses_its_body"),
    Guard(OIDC, "    if claims[\"aud\"] != audience:", "    if False:", CLAIMS),
    Guard(OIDC, "    if said.job_workflow_ref != said.workflow_ref:", "    if False:", CLAIMS),
    Guard(OIDC, " and ref.startswith(\"refs/heads/\")):", "):", CLAIMS),
    Guard(OIDC, "            issuer=keys.issuer,\n", "", CLAIMS),
    Guard(OIDC, " and key.key.key_size >= MIN_RSA_BITS:", ":", f"{TOKEN}::test_a_short_key_is_passed_over"),
    Guard(OIDC, "timeout=seconds, allow_redirects=False,", "timeout=seconds,", f"{TOKEN}::test_keys_come_from_the_issuers_own_address_and_from_nowhere_it_sends_one_to"),
    Guard("handoffs/run_evidence.py", "    if run.event_name != EVENT:", "    if False:", OTHER),
    Guard("handoffs/run_evidence.py", "    if hosted.full_name.lower() != run.full_name.lower():", "    if False:", f"{EVIDENCE}::test_a_repository_that_took_the_old_name_is_another_repository"),
    Guard("handoffs/run_evidence.py", "    if found.digest != digest:", "    if False:", f"{EVIDENCE}::test_the_same_again_is_kept_once_and_another_document_for_the_same_attempt_is_refused"),
    Guard("handoffs/run_evidence.py", "    if not PullRequest.objects.filter(repository=repository, head_sha=run.head_sha).exists():", "    if False:", f"{EVIDENCE}::test_evidence_about_a_commit_that_no_pull_request_has_is_refused"),
    Guard("leoportal/api_github.py", "    if actor is None or actor.role is not Role.REPORTER:", "    if actor is None:", f"{EVIDENCE}::test_without_a_reporter_nothing_is_recorded_in_anybody_elses_name"),
)  # fmt: skip
