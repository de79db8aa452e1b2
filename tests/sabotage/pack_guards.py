"""The guards of both verifiers of evidence packs, of what packs hold, and of the registry's rows that name their entries."""

from __future__ import annotations

from tests.sabotage.engine import Guard

PACKED, EDGES, DECISIONS = (f"tests/audit/test_pack_{name}.py" for name in ("guards", "edges", "decisions"))
SEALED = f"{PACKED}::test_a_pack_that_the_log_sealed_is_not_believed_for_that"
LATE = f"{PACKED}::test_a_review_after_a_day_is_late"
EDGE = f"{EDGES}::test_a_period_whose_edge_is_not_shown_or_not_one_is_refused"
LIE = f"{DECISIONS}::test_a_verdict_that_does_not_follow_from_its_inputs_is_named"
APPROVAL = f"{DECISIONS}::test_an_approval_that_does_not_follow_from_its_inputs_is_named"
TWICE = "tests/verdicts/test_decisions_twice.py"
UNKNOWN = f"{TWICE}::test_what_a_program_does_not_know_or_the_sop_forbids_it_does_not_run"
ARTIFACTS = "tests/verdicts/test_pack_artifacts.py"
DETACHED = f"{ARTIFACTS}::test_a_detached_signature_that_does_not_hold_is_named"
NAMED_FILE = f"{ARTIFACTS}::test_a_file_is_the_artifact_that_was_signed_by_both_verifiers"
MOMENTS = "tests/verdicts/test_packing_moments.py"
NAMED = "tests/audit/test_named_entries.py"
AGAIN = f"{NAMED}::test_what_ended_never_names_another_entry_and_never_begins_again"

PACK_GUARDS: tuple[Guard, ...] = (
    # Reviews, periods and their edges.
    Guard("audit/pack_duties.py", "if (review.leaf.at if review else", "if (act.leaf.at if review else", f"{LATE}[25-by_portal]"),
    Guard("audit/standalone_verifier.py", "if review is not None and review.at > due:", "if False:", f"{LATE}[25-standing_alone]"),
    Guard("audit/pack_scope.py", 'case "period" if len(runs) != 1:', 'case "period" if len(runs) > 1:', f"{SEALED}[it is called a period, and has single leaves-by_portal]"),
    Guard("audit/standalone_verifier.py", 'if kind == "period" and len(runs) != 1:', 'if kind == "period" and len(runs) > 1:', f"{SEALED}[it is called a period, and has single leaves-standing_alone]"),
    Guard("audit/pack_scope.py", 'case "log" if runs != [(0, size)] or len(proofs) > 1:', 'case "log" if False:', f"{SEALED}[it is called the whole log, and has a part of it-by_portal]"),
    Guard("audit/standalone_verifier.py", 'if kind == "log" and (runs != [(0, head.size)] or len(proofs) > 1):', "if False:", f"{SEALED}[it is called the whole log, and has a part of it-standing_alone]"),
    Guard("audit/pack_scope.py", '        if at >= bound if side == "before" else at < bound:', '        if side == "after" and at < bound:', f"{EDGE}[the first leaf is left out-by_portal-Days]"),
    Guard("audit/pack_scope.py", '        if at >= bound if side == "before" else at < bound:', '        if side == "before" and at >= bound:', f"{EDGE}[the last leaf is left out-by_portal-Days]"),
    Guard("audit/pack_scope.py", 'at >= bound if side == "before"', 'at > bound if side == "before"', f"{EDGE}[the first leaf is left out-by_portal-AtMidnight]"),
    Guard("audit/pack_scope.py", "        if at is None:", "        if at is None:\n            continue\n        if False:", f"{EDGE}[the leaf before is not shown-by_portal-Days]"),
    Guard("audit/pack_scope.py", "        if bound is None:", "        if bound is None:\n            continue\n        if False:", f"{EDGE}[it has no start, and does not begin at the first leaf-by_portal-Days]"),
    Guard("audit/standalone_verifier.py", "            if at >= start:", "            if False:", f"{EDGE}[the first leaf is left out-standing_alone-Days]"),
    Guard("audit/standalone_verifier.py", "            if at >= start:", "            if at > start:", f"{EDGE}[the first leaf is left out-standing_alone-AtMidnight]"),
    Guard("audit/standalone_verifier.py", "            if at < until:", "            if False:", f"{EDGE}[the last leaf is left out-standing_alone-Days]"),
    Guard("audit/standalone_verifier.py", "        if first > 0:\n            at = ", "        if first > 0 and start is not None:\n            at = ", f"{EDGE}[it has no start, and does not begin at the first leaf-standing_alone-Days]"),
    Guard("verdicts/packing_scope.py", "        first, end = _grown(first, end, filters, checkpoint.size)\n", "", f"{MOMENTS}::test_the_run_of_a_period_goes_on_to_leaves_outside_of_it"),
    Guard("verdicts/packing_scope.py", "own = {index for index in (first - 1, end) if 0 <= index < checkpoint.size}", "own = set[int]()", f"{MOMENTS}::test_the_run_of_a_period_goes_on_to_leaves_outside_of_it"),
    # Decisions, run again.
    Guard("verdicts/replaying.py", "        if body.get(name) != getattr(inputs, source):", "        if False:", f"{LIE}[the inputs are of another head-by_portal]"),
    Guard("verdicts/replaying.py", "    if inputs.policy != enacted:", "    if False:", f"{LIE}[the inputs hold other rules-by_portal]"),
    Guard("verdicts/replaying.py", "    if computed != said:", "    if False:", f"{APPROVAL}[a gate is changed-by_portal]"),
    Guard("verdicts/replaying.py", "    if judgement_to_json(found) != body.get(\"reasons\") or", "    if", f"{LIE}[a reason is left out-by_portal]"),
    Guard("verdicts/replaying.py", " or not is_at_least_as_strict(Verdict(str(verdict)), found.verdict):", ":", f"{LIE}[a verdict is laxer-by_portal]"),
    Guard("audit/pack_checks.py", "            if problem:\n                raise PackError(where, problem)\n        bodies", "        bodies", f"{DECISIONS}::test_the_rules_of_a_policy_are_what_its_text_says"),
    Guard("audit/pack_checks.py", "            for detail in self.misjudged[1:]:", "            for detail in self.misjudged[2:]:", f"{DECISIONS}::test_every_wrong_decision_is_named_not_only_the_first[by_portal]"),
    Guard("audit/standalone_verifier.py", "        if inputs is None or body.get(name) != inputs[source]:", "        if False:", f"{LIE}[the inputs are of another head-standing_alone]"),
    Guard("audit/standalone_verifier.py", '    if completed(enacted) != completed(inputs["policy"]) if inputs else True:', "    if False:", f"{LIE}[the inputs hold other rules-standing_alone]"),
    Guard("audit/standalone_verifier.py", "    if computed != said:", "    if False:", f"{APPROVAL}[a gate is changed-standing_alone]"),
    Guard("audit/standalone_verifier.py", '    if found != body.get("reasons") or', "    if", f"{LIE}[a reason is left out-standing_alone]"),
    Guard("audit/standalone_verifier.py", ' or STRICTER.index(verdict) < STRICTER.index(found["verdict"]):', ":", f"{LIE}[a verdict is laxer-standing_alone]"),
    Guard("audit/standalone_verifier.py", "    if strange := sorted(set(value) - set(allowed)) + sorted(set(wanted) - set(value)):", "    if strange := sorted(set(wanted) - set(value)):", f"{UNKNOWN}[a member of the policy]"),
    Guard("audit/standalone_verifier.py", "            if not isinstance(part, dict) or not set(part) <= known:", "            if not isinstance(part, dict):", f"{UNKNOWN}[a member of a section]"),
    Guard("audit/standalone_verifier.py", "    if threshold < 85 or", "    if", f"{UNKNOWN}[a threshold below the SOP's]"),
    Guard("audit/standalone_verifier.py", "total < rules.threshold * used", "hundredths < rules.threshold * 99", f"{TWICE}::test_both_programs_agree_on_every_outcome_of_two_sub_agents_and_on_the_line[84.99]"),
    Guard("audit/standalone_verifier.py", '    elif outcome not in SILENT and told["head_sha"] != head:', "    elif False:", f"{TWICE}::test_both_programs_judge_stored_inputs_alike"),
    # The separation is of the pack's checkpoint.
    Guard("audit/pack_duties.py", '        if log != {"size": self.head.size, "root": self.head.root.hex()}:', "        if False:", f"{SEALED}[it was judged at another tree-by_portal]"),
    Guard("audit/pack_duties.py", "        if events != sum(counts.values()):", "        if False:", f"{SEALED}[it counts an act that is newer-by_portal]"),
    Guard("audit/pack_duties.py", "if newer := [number for number, count in counts.items() if count == 0]:", "if newer := list[str]():", f"{SEALED}[it names a handoff that is newer-by_portal]"),
    Guard("audit/pack_duties.py", '        if pending and state != "not_computed":', "        if False:", f"{SEALED}[it is called separated before it is covered-by_portal]"),
    Guard("audit/standalone_verifier.py", '        if row.get("log") != {"size": head.size, "root": head.root.hex()}:', "        if False:", f"{SEALED}[it was judged at another tree-standing_alone]"),
    Guard("audit/standalone_verifier.py", "        if events != held:", "        if False:", f"{SEALED}[it counts an act that is newer-standing_alone]"),
    Guard("audit/standalone_verifier.py", "if newer := [subject for subject in handoffs if subject not in self.counts]:", "if newer := list[str]():", f"{SEALED}[it names a handoff that is newer-standing_alone]"),
    Guard("audit/standalone_verifier.py", '            if row.get("state") != "not_computed":', "            if False:", f"{SEALED}[it is called separated before it is covered-standing_alone]"),
    Guard("verdicts/separation_proof.py", '    if not found["pending"]:', "    if True:", f"{MOMENTS}::test_a_pack_made_while_a_verdict_is_not_signed_yet_says_nothing_of_it"),
    # Artifacts and their detached signatures.
    Guard("verdicts/replaying.py", "public_key=public, fingerprint=fingerprint, received_at=at)\n        except", "public_key=public, fingerprint=fingerprint)\n        except", f"{DETACHED}[received at another time than it says]"),
    Guard("verdicts/replaying.py", "        if problem := _outside_window(key, at):", "        if problem := None:", f"{DETACHED}[received after the key expired]"),
    Guard("verdicts/replaying.py", "        if hashlib.sha256(artifact).hexdigest() != row.get(\"digest\"):", "        if False:", f"{ARTIFACTS}::test_an_artifact_that_is_not_in_the_pack_is_given_or_it_is_said_that_nobody_checked"),
    Guard("verdicts/replaying.py", "    if found.tzinfo is None:", "    if False:", f"{DETACHED}[a time without a zone]"),
    Guard("audit/pack_signatures.py", "            if digest and self.pack.digest(name)[1] != digest:", "            if False:", f"{NAMED_FILE}[other bytes]"),
    Guard("audit/pack_signatures.py", "            if digest and digest not in known:", "            if False:", f"{NAMED_FILE}[nobody signed it]"),
    Guard("audit/standalone_verifier.py", 'if name != f"artifact-{digest}.tar.gz" or digest not in signed:', "if digest not in signed:", f"{NAMED_FILE}[another name]"),
    Guard("audit/standalone_verifier.py", 'if name != f"artifact-{digest}.tar.gz" or digest not in signed:', 'if name != f"artifact-{digest}.tar.gz":', f"{NAMED_FILE}[nobody signed it]"),
    # Rows of the registry name the entry that ended them, once.
    Guard("audit/migrations/0001_initial.py", "models.Q((\"end_entry\", None), (\"ends_at\", None)),\n                            _connector=\"OR\",\n                        ),\n                        name=\"rolegrant_end_is_named\"", "models.Q((\"id__gt\", 0)),\n                            _connector=\"OR\",\n                        ),\n                        name=\"rolegrant_end_is_named\"", f"{NAMED}::test_nothing_of_the_registry_ends_without_an_entry_that_says_so[RoleGrant]"),
    Guard("audit/migrations/0003_people_guards.py", "AND (NEW.ends_at, NEW.end_entry_id) IS DISTINCT FROM (OLD.ends_at, OLD.end_entry_id)", "AND NEW.ends_at IS DISTINCT FROM OLD.ends_at", f"{AGAIN}[Identity]"),
    Guard("audit/migrations/0003_people_guards.py", "OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.end_entry_id, NEW.expires_at)", "FALSE AND (NEW.revoked_at, NEW.end_entry_id, NEW.expires_at)", f"{AGAIN}[ApiToken]"),
    Guard("audit/appendonly.py", "    IF to_jsonb(OLD) ->> TG_ARGV[0] IS NOT NULL\n        OR (", "    IF (", f"{AGAIN}[PersonLink]"),
)  # fmt: skip
