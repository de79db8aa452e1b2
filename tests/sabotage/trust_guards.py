"""The guards of what evidence packs say of signing keys and signatures, in both verifiers and where packs are made."""

from __future__ import annotations

from tests.sabotage.engine import Guard

TRUST = "tests/audit/test_pack_trust.py"
FORCE = f"{TRUST}::test_a_verdict_is_judged_by_the_signature_that_was_in_force"
TABLES = f"{TRUST}::test_the_tables_say_what_the_leaves_say"
RENEWALS = "tests/verdicts/test_pack_renewals.py"
ANCHORS = "tests/audit/test_pack_anchors.py"
WRONG_ANCHOR = f"{ANCHORS}::test_an_anchor_that_is_none_of_this_log_is_named"
OF_PORTAL = "tests/verdicts/test_packing_anchors.py"
REMEMBERING = "tests/leoportal/test_remembering.py"
MISSED = f"{REMEMBERING}::test_an_entry_without_a_row_is_missed_by_who_wrote_it"
UNPLACED = "tests/lanes/test_named_rows.py::test_what_a_row_names_stays_named_until_it_is_in_the_tree"
PORTAL, FILE = "audit/pack_trust.py", "audit/standalone_verifier.py"

TRUST_GUARDS: tuple[Guard, ...] = (
    # Which signature was in force.
    Guard(PORTAL, "if one.since <= signed.at and (entry", "if (entry", f"{FORCE}[revoked before, from a later moment on-by_portal]"),
    Guard(PORTAL, "(entry is None or one.entry < entry)", "True", f"{FORCE}[revoked after the merge-by_portal]"),
    Guard(PORTAL, "        for found in [*acts, *filter(None, map(self._of_merge, self.merges))]:", "        for found in acts:", f"{FORCE}[revoked between verdict and merge-by_portal]"),
    Guard(PORTAL, "if one.digest == found.digest and", "if", f"{TRUST}::test_a_verdict_about_a_bundle_that_nobody_signed_is_told[by_portal]"),
    Guard(FILE, "fingerprint in revoked and revoked[fingerprint] <= at", "fingerprint in revoked", f"{FORCE}[revoked before, from a later moment on-standing_alone]"),
    Guard(FILE, "revoked[name] = min(since, revoked.get(name, since))", "revoked.setdefault(name, since)", f"{FORCE}[revoked again, from an earlier moment on-standing_alone]"),
    Guard(FILE, 'elif leaf.kind in DECIDED or leaf.kind == "merge.intended":', "elif leaf.kind in DECIDED:", f"{FORCE}[revoked between verdict and merge-standing_alone]"),
    Guard(FILE, "if one[0] == digest]", "]", f"{TRUST}::test_a_verdict_about_a_bundle_that_nobody_signed_is_told[standing_alone]"),
    Guard(FILE, "if not moment(key, \"createdAt\", \"keys.json\") <= at < min(ends, default=at):", "if False:", f"{TRUST}::test_the_single_file_says_it_of_a_key_that_was_not_in_use"),
    # Tables against leaves.
    Guard(PORTAL, "        if wanted:\n", "        if False:\n", f"{TABLES}[the later signature is left out-by_portal]"),
    Guard(PORTAL, "            if problem := _other_row(row, found):", "            if problem := \"\":", f"{TABLES}[another moment-by_portal]"),
    Guard(PORTAL, "            if found.fingerprint and found.fingerprint not in self.keys:", "            if False:", f"{TRUST}::test_a_key_that_no_leaf_made_signs_nothing[by_portal]"),
    Guard(PORTAL, "if row is None and is_whole:", "if False:", f"{TABLES}[a key is left out-by_portal]"),
    Guard(PORTAL, "if None in window or window !=", "if window !=", f"{TRUST}::test_a_key_without_a_window_is_none[by_portal]"),
    Guard(PORTAL, "if since is not None and (told is None or told > since):", "if since is not None and told is None:", f"{TABLES}[a key was distrusted later-by_portal]"),
    Guard(PORTAL, "(retired is None or retired > replaced.leaf.at)", "retired is None", f"{TABLES}[a key was replaced later-by_portal]"),
    Guard(PORTAL, "        if self.timeless:\n", "        if False:\n", f"{TRUST}::test_a_leaf_that_says_no_moment_is_told[by_portal]"),
    Guard(FILE, "            raise PackError(\"signatures.jsonl\", f\"no row is about", "            print(\"signatures.jsonl\", f\"no row is about", f"{TABLES}[the later signature is left out-standing_alone]"),
    Guard(FILE, "            if not all(same):", "            if False:", f"{TABLES}[another moment-standing_alone]"),
    Guard(FILE, "                if is_cut:\n", "                if True:\n", f"{TABLES}[a key is left out-standing_alone]"),
    Guard(FILE, "                if found is None or found > limit:", "                if found is None:", f"{TABLES}[a key was distrusted later-standing_alone]"),
    Guard(FILE, "if key is None or row.get(\"fingerprint\") not in made:", "if key is None:", f"{TRUST}::test_a_key_that_no_leaf_made_signs_nothing[standing_alone]"),
    # Anchors.
    Guard("audit/pack_anchors.py", "            verify_consistency(old.size,", "            (old.size,", f"{WRONG_ANCHOR}[another history was anchored-by_portal]"),
    Guard("audit/pack_anchors.py", "        if found.origin != head.origin:", "        if False:", f"{WRONG_ANCHOR}[another log's name-by_portal]"),
    Guard("audit/pack_anchors.py", "found, head = self.heads.signed(raw), self.head", "found, head = parse_checkpoint(parse_note(raw).text), self.head", f"{WRONG_ANCHOR}[nobody signed it-by_portal]"),
    Guard("audit/pack_anchors.py", '        if _object_id("commit", commit, length) != name:', "        if False:", f"{WRONG_ANCHOR}[another commit's name-by_portal]"),
    Guard("audit/pack_anchors.py", "        if first != f\"tree", "        if not first and first != f\"tree", f"{WRONG_ANCHOR}[another tree's commit-by_portal]"),
    Guard("audit/pack_anchors.py", "        if tree != b\"100644", "        if False and tree != b\"100644", f"{WRONG_ANCHOR}[another file-by_portal]"),
    Guard("audit/pack_anchors.py", "        if _signed_digest(bundle) != digest.digest():", "        if False:", f"{WRONG_ANCHOR}[a bundle about something else-by_portal]"),
    Guard("audit/pack_anchors.py", "        elif problem:\n", "        elif False:\n", f"{ANCHORS}::test_the_bundle_in_rekor_is_judged_by_whom_the_reader_names"),
    Guard(FILE, "if found.origin != head.origin or not is_consistent(old, new, path):\n                raise PackError(where, f\"its tree", "if found.origin != head.origin:\n                raise PackError(where, f\"its tree", f"{WRONG_ANCHOR}[another history was anchored-standing_alone]"),
    Guard(FILE, "    if names[0].hexdigest() != name or", "    if", f"{WRONG_ANCHOR}[another commit's name-standing_alone]"),
    Guard(FILE, '    if tree != b"100644 checkpoint\\0" + blob:', "    if False:", f"{WRONG_ANCHOR}[another file-standing_alone]"),
    Guard(FILE, '            if about.get("messageDigest") != signed:', "            if False:", f"{WRONG_ANCHOR}[a bundle about something else-standing_alone]"),
    Guard("verdicts/exporting.py", "        if is_anchoring(export.seal, export.tree_size):\n            return False\n", "", f"{OF_PORTAL}::test_a_pack_waits_for_the_anchor_that_it_asked_for"),
    Guard("verdicts/exporting.py", "        ask_for_anchors()\n", "", f"{OF_PORTAL}::test_a_pack_waits_for_the_anchor_that_it_asked_for"),
    Guard("verdicts/packing_anchors.py", "timezone.now() < seal.created_at + PATIENCE and ", "", f"{OF_PORTAL}::test_a_signer_that_is_down_delays_no_pack"),
    # What nothing else names.
    Guard("audit/actions.py", "    memory.remember(entry)\n", "", f"{MISSED}[taken away]"),
    Guard("audit/remembering.py", "transaction.on_commit(lambda: self._add(entry.pk, said))", "self._add(entry.pk, said)", f"{REMEMBERING}::test_what_was_taken_back_or_is_there_is_no_trouble[rolled_back]"),
    Guard("audit/remembering.py", "                if _says(leaf, number) != expected[number]:", "                if False:", f"{MISSED}[made somebody else's]"),
    Guard("audit/remembering.py", "            if self._epoch not in {None, epoch}:", "            if False:", f"{REMEMBERING}::test_after_a_restore_nothing_older_is_expected"),
    Guard("audit/remembering.py", "                if is_placed:\n", "                if False:\n", f"{REMEMBERING}::test_what_has_its_place_is_not_asked_for_again"),
    Guard("leoportal/lanes/watching.py", "    guard.watch(memory.look)\n", "", "tests/lanes/test_watching.py::test_every_process_that_acts_looks"),
    Guard("audit/erasure.py", "    refuse_unplaced(principal.hold_entry_id)\n", "", f"{UNPLACED}[end_hold-AuditError]"),
    Guard("handoffs/migrations/0003_signing_guards.py", '        keeps_until_placed(KEY, "revoke_entry_id"),\n', "", f"{UNPLACED}[revoke_past_it-IntegrityError]"),
    Guard("audit/migrations/0003_people_guards.py", '        keeps_until_placed("audit_principal", "hold_entry_id"),\n', "", f"{UNPLACED}[end_hold_past_it-IntegrityError]"),
    # Making packs.
    Guard("handoffs/revocations.py", "    list(PullRequest.objects.is_open().select_for_update().filter(handoff__in=affected).order_by(\"pk\").values(\"pk\"))\n", "", f"{RENEWALS}::test_a_revocation_is_written_after_whoever_holds_the_pull_request"),
    Guard("verdicts/packing_signatures.py", "        yield _bundle_row(renewal.renewed, renewal,", "        _bundle_row(renewal.renewed, renewal,", f"{RENEWALS}::test_a_pack_holds_the_fallen_signature_and_the_one_that_the_verdict_rested_on"),
)  # fmt: skip
