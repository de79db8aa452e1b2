"""The guards of the log: sequencer, signer, witness, quorum, and what may not land before it is signed."""

from __future__ import annotations

from tests.sabotage.engine import Guard

LANES = "tests/lanes/test_guards.py"
HOSTILE = f"{LANES}::test_no_search_path_says_what_the_triggers_of_the_log_mean"
SIGNING = "tests/audit/test_log_signing.py"
LOG, WITNESSING = "tests/audit/test_log.py", "tests/audit/test_witnessing.py"
WITNESS = f"{WITNESSING}::test_a_witness_signs_what_extends_what_it_signed_and_nothing_else"
NAMED = "tests/lanes/test_named_rows.py"
COPIES = "tests/audit/test_copies.py"
UPKEEP = "tests/leoportal/test_upkeep.py"
CHECKING = "tests/verdicts/test_checking.py::test_a_wrong_bit_in_the_second_copy_is_no_alarm"
COVERED = "tests/verdicts/test_covered.py"
QUORUM = f"{LOG}::test_nothing_counts_before_a_checkpoint_with_its_quorum_covers_it"

CATALOGUE, WATCHING = "tests/lanes/test_catalogue.py", "tests/lanes/test_watching.py"

LOG_GUARDS: tuple[Guard, ...] = (
    # Append and sequence.
    Guard("audit/actions.py", "    if not connection.in_atomic_block:", "    if False:", "tests/audit/test_trail.py::test_no_act_without_a_leaf"),
    Guard("audit/migrations/0002_log_guards.py", "        PERFORM public.leo_refuse_in_alarm(NEW.kind);\n", "        NULL;\n", f"{LANES}::test_no_lane_appends_while_an_alarm_stands[plan]"),
    Guard("audit/migrations/0002_log_guards.py", "    NEW.xid := pg_catalog.txid_current();", "    NEW.xid := txid_current();", HOSTILE),
    Guard("audit/migrations/0002_log_guards.py", "pg_catalog.sha256(NEW.salt OPERATOR", "sha256(NEW.salt OPERATOR", HOSTILE),
    Guard("audit/migrations/0002_log_guards.py", "'\\x00'::pg_catalog.bytea", "'\\x00'::bytea", HOSTILE),
    Guard("leoportal/settings.py", "[\"prepare_threshold\"] = 2", "[\"prepare_threshold\"] = None", "tests/audit/test_trail.py::test_an_append_is_planned_once_in_a_connection_and_reads_what_the_database_wrote"),
    Guard("leoportal/lanes/guards.py", "session_user::pg_catalog.text ", "session_user::text ", HOSTILE),
    Guard("audit/migrations/0002_log_guards.py", "    NEW.created_at := pg_catalog.clock_timestamp();\n", "", f"{LOG}::test_the_database_writes_number_time_and_login_whatever_is_claimed"),
    Guard("leoportal/lanes/guards.py", "IF NOT {_keys(_loggable(matrix))} OPERATOR", "IF FALSE AND {_keys(_loggable(matrix))} OPERATOR", "tests/lanes/test_guards.py::test_an_act_of_another_lane_leaves_nothing"),
    Guard("leoportal/lanes/guards.py", "for role in (Role if (lane, kind) in matrix.in_anothers_role else says[lane])", "for role in Role", "tests/lanes/test_guards.py::test_an_act_of_another_lane_leaves_nothing"),
    Guard("audit/sequencing.py", "AND e.xid < coalesce(%s, pg_snapshot_xmin(pg_current_snapshot())::text::bigint)", "AND e.xid < coalesce(%s, 1::bigint << 62)", f"{LOG}::test_no_leaf_is_skipped_that_commits_late_and_none_counts_that_was_taken_back"),
    Guard("audit/sequencing.py", "AND NOT EXISTS (SELECT FROM leo_log_entry", "AND EXISTS (SELECT FROM leo_log_entry", f"{LOG}::test_a_governed_row_whose_entry_was_taken_away_is_an_alarm"),
    Guard("leoportal/management/commands/log.py", "            refuse_lost()\n", "", f"{LOG}::test_a_governed_row_whose_entry_was_taken_away_is_an_alarm"),
    # The database's own guards.
    Guard("leoportal/lanes/differences.py", "if found.get(name) != wanted.get(name):", "if False:", f"{CATALOGUE}::test_what_a_person_has_to_decide_is_said"),
    Guard("leoportal/lanes/watching.py", "    guard.watch(catalogue_trouble)\n", "    return\n", f"{WATCHING}::test_every_process_that_acts_looks"),
    Guard("audit/rollback.py", "(look() for look in self._looks)", "(look() for look in self._looks[:1])", f"{WATCHING}::test_without_a_guard_nothing_is_done_and_everybody_is_told"),
    Guard("leoportal/lanes/watching.py", "    if told == known:", "    if True:", f"{WATCHING}::test_the_log_keeps_when_it_was_seen_and_when_it_was_over"),
    # Rows that name their entries.
    Guard("audit/appendonly.py", " AND xid = pg_current_xact_id()::text::bigint", "", f"{NAMED}::test_an_entry_of_another_transaction_says_nothing"),
    Guard("audit/appendonly.py", " AND {is_kind}", "", f"{NAMED}::test_no_lane_changes_a_row_without_the_entry_that_says_so"),
    Guard("audit/appendonly.py", "IF ({new}) IS DISTINCT FROM ({old}) THEN", "IF false THEN", f"{NAMED}::test_no_lane_changes_a_row_without_the_entry_that_says_so"),
    Guard("handoffs/migrations/0003_signing_guards.py", "        names_entry(KEY, \"log_entry_id\", \"key.created\"),\n", "", f"{NAMED}::test_no_lane_inserts_a_row_that_names_no_entry_of_its_transaction"),
    Guard("handoffs/migrations/0002_record_guards.py", "        OR NEW.next_number < OLD.next_number THEN", "        THEN", f"{NAMED}::test_a_repository_stays_what_was_enrolled"),
    Guard("handoffs/expiring.py", "        _record(done.filter(digest__in=due, erase_entry=None), before, by)", "        pass", "tests/handoffs/test_expiring.py"),
    Guard("handoffs/tasks.py", "        record_expired(lane, by=enforcer())", "        pass", "tests/handoffs/test_rotating.py::test_that_a_key_expired_is_put_on_record_once_and_its_private_half_goes"),
    Guard("verdicts/comparing.py", "    return [found for model in _COLUMNS for found in _changed(model)] + list(_gone())", "    return []", f"{NAMED}::test_a_row_beside_its_entry_and_an_entry_without_its_row_are_found"),
    # The second copy, and what is beside the log.
    Guard("audit/copying.py", "        self.refuse_other_root(wanted)\n", "", f"{COPIES}::test_the_copy_takes_only_what_was_signed"),
    Guard("audit/copying.py", "if wanted.size < have.size:", "if False:", f"{COPIES}::test_the_copy_takes_only_what_was_signed"),
    Guard("audit/copies.py", "(_most, _copy_first, _database_first)", "(_most,)", f"{COPIES}::test_a_leaf_that_was_rewritten_with_its_hashes_comes_back_from_the_copy"),
    Guard("audit/copies.py", "if tree.root == head.root:", "if True:", f"{COPIES}::test_where_both_are_wrong_about_one_leaf_nobody_guesses"),
    Guard("audit/copies.py", "    if head.size and keys:", "    if False:", f"{COPIES}::test_a_copy_whose_checkpoint_is_not_ours_is_not_believed"),
    Guard("verdicts/tasks.py", "if not finding.code.startswith(\"copy.\")", "if True", CHECKING),
    Guard("leoportal/upkeep.py", "if name == Upkeep.REKOR and not settings.LOG_REKOR:", "if False:", f"{UPKEEP}::test_without_the_setting_nobody_is_asked"),
    Guard("leoportal/upkeep.py", "return _client().verify(Bundles(digest, found.bundle)", "return _client().verify(Bundles(found.digest, found.bundle)", f"{UPKEEP}::test_a_checkpoint_is_anchored_once_and_holds_offline"),
    Guard("leoportal/cli_db.py", "            left += not_durable(connection)\n", "", f"{CATALOGUE}::test_a_server_that_may_lose_what_it_acknowledged_is_told"),
    Guard("leoportal/stack/postgres.py", "        if self.is_throwaway:\n            options |= NOT_DURABLE", "        if True:\n            options |= NOT_DURABLE", "tests/leoportal/test_stack.py::test_the_cluster_of_make_demo_keeps_what_it_acknowledged"),
    Guard("verdicts/comparing.py", "if (by := _BY.get(model)) and getattr(row, by) != row.log_entry.principal:", "if (by := _BY.get(model)) and False:", "tests/audit/test_trail.py::test_a_row_that_was_made_somebody_elses_past_its_guard_is_found"),
    # Sign.
    Guard("audit/signer.py", "if size < state.tree.size:", "if False:", f"{SIGNING}::test_a_log_that_was_cut_or_set_back_is_not_signed"),
    Guard("audit/signer.py", "if tuple(_leaf_hashes(first, state.tree.size)) != state.tail:", "if False:", "tests/audit/test_tampering.py::test_what_a_checkpoint_covers_cannot_be_rewritten_unseen[edit-covered]"),
    Guard("audit/signer.py", "if tree.root != bytes(head.root):", "if False:", f"{SIGNING}::test_a_head_that_is_not_the_root_of_its_leaves_is_not_signed"),
    Guard("audit/signer.py", "if LogCheckpoint.objects.filter(origin=self.key.name).exists():", "if False:", f"{SIGNING}::test_a_signer_without_its_memory_signs_nothing"),
    Guard("audit/signer.py", "        self._write(grown)\n", "", f"{SIGNING}::test_what_is_signed_is_in_the_signers_file_before_anybody_sees_it"),
    Guard("audit/signer.py", "self._state = None  # until it is shown", "self._state = grown  # until it is shown", f"{SIGNING}::test_a_checkpoint_that_the_database_was_away_for_is_shown_although_nothing_comes_after_it"),
    # Witness.
    Guard("audit/witness.py", "        if submission.old_size != known.size:", "        if False:", WITNESS),
    Guard("audit/witness.py", "if known.size == checkpoint.size and known.root != checkpoint.root:", "if False:", WITNESS),
    Guard("audit/witness.py", "            return Answer(422, f\"{error.detail}\\n\")", "            pass", WITNESS),
    Guard("audit/witness.py", "            submission.note.verify([log])", "            pass", WITNESS),
    Guard("audit/witness.py", "        self._store(checkpoint)\n", "", f"{WITNESSING}::test_a_witness_stores_before_it_signs"),
    Guard("audit/notes.py", "        if not found:\n            names", "        if False:\n            names", f"{WITNESSING}::test_only_the_witness_that_was_named_counts"),
    # What may be relied on.
    Guard("audit/migrations/0002_log_guards.py", ">= coalesce((SELECT witnesses FROM quorum), 0)", ">= 0", QUORUM),
    Guard("audit/migrations/0002_log_guards.py", "ORDER BY c.id DESC LIMIT 1), false)", "ORDER BY c.id LIMIT 1), false)", QUORUM),
    Guard("audit/migrations/0001_initial.py", "fields=(\"checkpoint\", \"witness\"), name", "fields=(\"checkpoint\", \"witness\", \"line\"), name", QUORUM),
    Guard("audit/migrations/0002_log_guards.py", "       AND NOT EXISTS (SELECT FROM leo_log_alarm a", "       AND 0 <= (SELECT count(*) FROM leo_log_alarm a", QUORUM),
    Guard("verdicts/merging.py", "    _wait_for_the_log(pull, tools.log_seconds)\n", "", f"{COVERED}::test_a_merge_waits_for_its_quorum_and_lands_with_it"),
    Guard("verdicts/migrations/0003_release_guards.py", "AND live.merge_tree = pull.merge_tree AND leo_log_covers(live.log_entry_id))", "AND live.merge_tree = pull.merge_tree)", f"{COVERED}::test_the_hook_takes_no_merge_that_is_not_covered_whatever_the_portal_thinks"),
    Guard("audit/epochs.py", " or len(people) != 2", "", f"{LOG}::test_an_epoch_takes_two_people_quotes_the_last_checkpoint_and_ends_the_alarm"),
    Guard("audit/views_log.py", "if tile.last_leaf > size:", "if False:", f"{LOG}::test_checkpoint_and_tiles_are_served_and_entries_only_to_who_sees_the_trail"),
)  # fmt: skip
