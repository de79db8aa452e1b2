"""The guards: one line each of what the product refuses, with the test that must fail when it is gone.

Chosen to cover every area of the threat list that has one; a new guard of weight gets its line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.sabotage.engine import Guard
from tests.sabotage.github_guards import GITHUB_GUARDS
from tests.sabotage.hook_guards import HOOK_GUARDS
from tests.sabotage.landing_guards import LANDING_GUARDS
from tests.sabotage.log_guards import LOG_GUARDS
from tests.sabotage.name_guards import NAME_GUARDS
from tests.sabotage.pack_guards import PACK_GUARDS
from tests.sabotage.protection_guards import PROTECTION_GUARDS
from tests.sabotage.publishing_guards import PUBLISHING_GUARDS
from tests.sabotage.scope_guards import SCOPE_GUARDS
from tests.sabotage.separation_guards import SEPARATION_GUARDS
from tests.sabotage.trust_guards import TRUST_GUARDS

type Line = tuple[str, str, str]


def _of(file: str, lines: Iterable[Line]) -> Iterator[Guard]:
    for old, new, test in lines:
        yield Guard(file, old, new, f"tests/{test}")


BUNDLE, CHECKS, PATCHES = "handoffs/test_bundle.py", "handoffs/test_checks.py", "handoffs/test_patches.py"
CHECKS_PATCH, CHECKS_ATTESTATION = "handoffs/test_checks_patch.py", "handoffs/test_checks_attestation.py"
BOUNDS, STATES = "handoffs/test_bounds.py", "handoffs/test_signature_states.py"
SIGNATURES = "handoffs/test_signatures.py"
DISAGREE = f"{BUNDLE}::test_two_readers_cannot_disagree"
ODD = f"{PATCHES}::test_a_patch_with_anything_odd_is_refused"
PLANTED = "test_house.py::test_a_planted_archive_module_or_shell_fails_the_lint"
JSON = "audit/test_canonical.py::test_what_two_readers_could_read_differently_is_refused"
ATTESTATION = f"{CHECKS_ATTESTATION}::test_a_wrong_attestation_is_refused"
PLACE = f"{CHECKS}::test_a_bundle_in_the_wrong_place_is_refused"
MARKERS = "handoffs/test_markers.py::test_near_misses_are_refused"
HOOK = "test_intake.py::test_look_alike_branches_and_rewritten_history_are_refused_by_the_hook_and_audited"
TRAIL, RELEASE, DECIDING = "audit/test_trail.py", "verdicts/test_release.py", "verdicts/test_deciding.py"
SIGNERS = "handoffs/test_commit_signatures.py"
MERKLE, EXPORTS = "audit/test_merkle.py", "web/test_exports.py"
PACKED = "audit/test_pack_guards.py"
GLASS = f"{PACKED}::test_a_glass_is_broken_by_two_and_reviewed_by_a_third_or_it_is_said"
PACKING_GLASS = "verdicts/test_packing_glass.py"
SEALED = f"{PACKED}::test_a_pack_that_the_log_sealed_is_not_believed_for_that"
SEAL_FORM = f"{PACKED}::test_a_seal_has_one_form"

GZIP: tuple[Line, ...] = (
    ("if raw[3] != 0:", "if False:", f"{BUNDLE}::test_optional_gzip_fields_are_refused"),
    (
        "if len(unpacked) > limits.max_ratio * len(raw):",
        "if False:",
        f"{BUNDLE}::test_what_grows_more_than_two_hundred_times_is_refused_however_small_it_is",
    ),
)

ARCHIVE: tuple[Line, ...] = (
    ("if not is_fixed:", "if False:", f"{BUNDLE}::test_a_compressed_archive_is_read_and_refused"),
    (
        'if header[156:157] != b"0" or any(header[157:257]):',
        "if False:",
        f"{BUNDLE}::test_only_regular_files_are_taken",
    ),
    ("if header != _header(name, len(body)):", "if False:", DISAGREE),
    ("if any(padding):", "if False:", DISAGREE),
    ("if any(rest):", "if False:", DISAGREE),
    ("if len(body) > limits.of_member(name):", "if False:", f"{BOUNDS}::test_one_more_in_any_dimension_is_refused"),
    (
        '((foreign, "foreign"), (missing, "missing"))',
        '((missing, "missing"),)',
        DISAGREE,
    ),
    ('(twins, "twins but for case or folder")', '((), "")', DISAGREE),
    ("unsafe = [name for name in seen if", "unsafe = [name for name in seen[:0] if", DISAGREE),
    ("and seen != allowed:", "and False:", DISAGREE),
)

PATCH: tuple[Line, ...] = (
    (
        'elif not line.startswith(b"--- "):',
        "elif False:",
        f"{PATCHES}::test_text_outside_a_section_is_named_with_its_line",
    ),
    ("if old_at < next_old or new_at != old_at + shift:", "if False:", ODD),
    ("if header.old_name is not None and not hunks:", "if False:", ODD),
    ("if not (hunks or binary or header.is_change):", "if False:", ODD),
    ('if all(row.startswith(b" ") for row in found):', "if False:", ODD),
    ("if len(files) > limits.max_files:", "if False:", f"{BOUNDS}::test_one_more_in_any_dimension_is_refused"),
    (
        "if self.changed_lines > self.limits.max_changed_lines:",
        "if False:",
        f"{BOUNDS}::test_one_more_in_any_dimension_is_refused",
    ),
    ("self.binary_left -= spent", "pass", f"{BOUNDS}::test_binary_halves_share_one_budget"),
)

CHECKED: tuple[Line, ...] = (
    (
        'if change.new_mode not in FILE_MODES | {_NO_MODE} or "160000" in {change.old_mode, change.new_mode}',
        "if False",
        f"{CHECKS_PATCH}::test_links_and_submodules_are_refused",
    ),
    ("if len(same) > 1 and new & set(same)", "if False", f"{CHECKS_PATCH}::test_case_twins_are_refused"),
    ("if digest in evidence.context.other_patches:", "if False:", PLACE),
)

PATHS: tuple[Line, ...] = (
    ('if "\\\\" in path:', "if False:", f"{PATCHES}::test_a_path_that_could_mean_another_file_is_refused"),
    (
        'if unicodedata.normalize("NFC", path) != path:',
        "if False:",
        f"{PATCHES}::test_a_path_that_could_mean_another_file_is_refused",
    ),
    (
        'if _SHORT_GIT.match(_plain(name)) and _plain(name) != "git":',
        "if False:",
        f"{PATCHES}::test_a_path_that_could_mean_another_file_is_refused",
    ),
    ('path.isascii() and "gi" not in', '"gi" not in', f"{PATCHES}::test_submodules_are_seen_in_every_spelling"),
    (
        'visible = name if name.isascii() else _HFS_IGNORABLE.sub("", unicodedata.normalize("NFC", name))',
        "visible = name",
        f"{PATCHES}::test_submodules_are_seen_in_every_spelling",
    ),
)

GIT: tuple[Line, ...] = (
    (
        'environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **env}',
        "environment = {**os.environ, **ENVIRONMENT, **env}",
        "handoffs/test_git.py::test_the_workers_environment_reaches_no_git",
    ),
    (
        '"core.fsmonitor=false"',
        '"core.untrackedCache=false"',
        "handoffs/test_git.py::test_reading_a_work_tree_runs_nothing_that_its_configuration_names",
    ),
    (
        '"protocol.allow=never"',
        '"protocol.allow=always"',
        "handoffs/test_git.py::test_only_files_and_https_are_transports",
    ),
)

CLAIMS: tuple[Line, ...] = (
    ("if names == sorted(ABOUT) else", "if True else", ATTESTATION),
    (
        "if (name, value) != known and (name not in LENGTHS or not has_digest(content, name, value))",
        "if False",
        ATTESTATION,
    ),
    ("if commits == {base}:", "if commits:", ATTESTATION),
    (
        "if found.builder_id != evidence.manifest.builder_id:",
        "if False:",
        f"{CHECKS_ATTESTATION}::test_another_allowed_builder_than_the_manifests_is_refused",
    ),
    ("if allowed is not None and found.builder_id not in allowed:", "if False:", PLACE),
)

MARKER: tuple[Line, ...] = (
    ("if len(digits) != 64 or not set(digits) <= _HEX:", "if False:", MARKERS),
    ('if after[:1] != b"]" or after[1:] not in {b"", b" "}:', "if False:", MARKERS),
    ("if rest.translate(None, _CONTROL) != rest:", "if False:", MARKERS),
    ("and set(rest) <= _NAME", "", "handoffs/test_markers.py::test_other_branches"),
)

FORGE: tuple[Line, ...] = (
    ('if not is_staging_branch(change.ref.removeprefix("refs/heads/")):', "if False:", HOOK),
    ("if not ZERO.match(change.old) and not _is_ancestor(change.old, change.new):", "if False:", HOOK),
    ("if not _is_small(change.new):", "if False:", "test_attacks.py::test_a_push_of_very_many_commits_is_refused"),
    (
        "if ZERO.match(change.new):",
        "if False:",
        "test_attacks.py::test_deleting_a_branch_is_refused_with_a_code_and_in_the_trail",
    ),
)

STRICT_JSON: tuple[Line, ...] = (
    ("if key in found:", "if False:", JSON),
    ("parse_constant=_refuse_constant,", "", JSON),
    ("if depth > max_depth:", "if False:", JSON),
    ("if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:", "if False:", JSON),
    ('if "\\0" in item:', "if False:", JSON),
    ("if _is_exact(quick, marks):", "if True:", JSON),
    (", option=orjson.OPT_STRICT_INTEGER", "", JSON),
    ("json.Decoder(float_hook=_inexact)", "json.Decoder()", JSON),
    ("if is_shallow and not _is_doubtful(raw):", "if not _is_doubtful(raw):", JSON),
    ("if is_shallow and not _is_doubtful(raw):", "if is_shallow:", JSON),
    ('if raw.startswith(b"\\xef\\xbb\\xbf"):', "if False:", JSON),
    (
        "if len(raw) > max_bytes:",
        "if False:",
        "audit/test_canonical.py::test_a_document_over_the_size_is_refused_before_it_is_read",
    ),
)

OPENPGP: tuple[Line, ...] = (
    ("if self._expires_at <= now:", "if False:", f"{SIGNATURES}::test_an_expired_key_does_not_sign"),
    ("if found != [fingerprint]:", "if False:", f"{SIGNATURES}::test_a_signature_by_another_key_is_refused"),
    ("if raw.count(ARMOR_BEGIN) != 1:", "if False:", f"{SIGNATURES}::test_two_signatures_in_one_text_are_refused"),
    (
        "if created is None or abs(created - received_at) > MAX_SKEW:",
        "if False:",
        f"{STATES}::test_a_stolen_key_that_is_still_valid_cannot_date_its_signatures_back",
    ),
    (
        "if certificate.fingerprint.upper() != fingerprint:",
        "if False:",
        f"{SIGNATURES}::test_the_wrong_password_or_another_keys_fingerprint_opens_nothing",
    ),
)

RULES: tuple[Line, ...] = (
    (
        "if fingerprint.upper() in KNOWN_TEST_KEYS:",
        "if False:",
        "handoffs/test_key_rules.py::test_a_published_test_key_is_refused_in_any_spelling",
    ),
    (
        "elif len(set(password)) < 8:",
        "elif False:",
        "handoffs/test_key_rules.py::test_a_weak_or_derived_password_is_refused_without_being_repeated",
    ),
)

MERGE: tuple[Line, ...] = (
    (
        "if evidence.has_work_left(pull) and not is_emergency:",
        "if False:",
        f"{RELEASE}::test_nothing_passes_or_merges_while_checks_run",
    ),
    ("if news:", "if False:", f"{RELEASE}::test_a_merge_looks_at_the_evidence_once_more"),
)

VERDICT: tuple[Line, ...] = (
    (
        "if is_at_least_as_strict(wanted, computed):",
        "if True:",
        f"{DECIDING}::test_a_pass_below_85_is_refused_and_kept_in_the_trail",
    ),
    (
        "if request.decision is DecisionKind.APPROVE and request.evidence_digest != found.digest:",
        "if False:",
        f"{RELEASE}::test_lead_approves_the_evidence_that_was_shown_and_no_other",
    ),
    (
        "        _refuse_bare_override(request)",
        "        pass",
        f"{DECIDING}::test_an_override_needs_class_reference_and_expiry",
    ),
)

VERIFYING, SIGNING_FLOW, OUTAGES = (
    "handoffs/test_sigstore_verifying.py",
    "handoffs/test_signing.py",
    "handoffs/test_outages.py",
)
MUTATIONS, JUDGED_BY = "handoffs/test_sigstore_mutations.py", "handoffs/test_sigstore_roots.py"
OTHER_SIGNER = f"{VERIFYING}::test_another_identity_issuer_kind_or_repository_is_refused"
EARLY = f"{OUTAGES}::test_openpgp_stands_in_only_after_the_probes_and_lead"
STATEMENTS, ROOTS = "verdicts/test_statements.py", "handoffs/test_trusted_roots.py"
CLOCKS, RESIGNING, TRUSTING = "handoffs/test_clocks.py", "handoffs/test_resigning.py", "handoffs/test_trusting.py"
HELD = f"{ROOTS}::test_what_does_not_hold_is_refused_and_the_old_root_stays"
POLICY_BOTH = f"{STATEMENTS}::test_the_policy_gate_wants_both_and_each_about_this_policy"

ATTESTED: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "handoffs/signatures/sigstore_verifying.py",
        (
            ("if kind != PAYLOAD_TYPE:", "if False:", f"{VERIFYING}::test_a_validly_signed_envelope_of_another_payload_type_is_refused"),
            ("if found.payload is not None and not found.unsupported:", "if False:", f"{VERIFYING}::test_a_statement_is_not_a_signature_over_an_artifact_and_the_other_way_round"),
            ("if found.payload is None and not found.unsupported:", "if False:", f"{VERIFYING}::test_a_statement_is_not_a_signature_over_an_artifact_and_the_other_way_round"),
            ("cut = root.cut(issued=found.certificate.not_valid_before_utc, certified=found.certified_at, logged=times)", "cut = write_json(root.document)", f"{JUDGED_BY}::test_a_retired_log_does_not_count_under_another_name"),
            ("    refuse_unproved(stamps, found.signature, root)\n", "", f"{VERIFYING}::test_a_timestamp_of_something_else_is_refused_also_where_the_log_vouches_for_the_time"),
            ("named = policy.found", "named = certified(found.certificate)", f"{VERIFYING}::test_a_library_that_does_not_ask_whose_signature_it_is_verifies_nothing"),
            ("if sha256 and root.digest != sha256:", "if False:", f"{JUDGED_BY}::test_the_public_root_is_the_pinned_one_and_any_other_file_is_not"),
        ),
    ),
    ("handoffs/signatures/sigstore_wire.py", (("if not is_canonical:", "if False:", f"{MUTATIONS}::test_what_a_second_spelling_of_the_same_bytes_would_hide_is_refused"),)),
    ("handoffs/signatures/certificates.py", (("    ValueError,\n", "", f"{MUTATIONS}::test_a_certificate_is_read_to_its_end_before_anything_is_judged_by_it"),)),
    (
        "handoffs/signatures/sigstore_bundles.py",
        (
            ('if told is not None and told.algorithm != "SHA2_256":', "if False:", f"{MUTATIONS}::test_a_message_digest_by_another_algorithm_cannot_be_judged"),
            ("    if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):", "    if False:", f"{MUTATIONS}::test_a_key_of_another_kind_cannot_be_judged"),
            ("not isinstance(media_type, str) or ", "", f"{VERIFYING}::test_every_part_of_a_bundle_is_bound_to_the_artifact"),
            ("if (proof := entry.inclusion_proof) is not None:", "if False:", f"{MUTATIONS}::test_a_number_of_a_proof_is_a_number"),
        ),
    ),
    (
        "handoffs/signatures/sigstore_signers.py",
        (
            ("if found.issuer != wanted.issuer or not wanted.issuer:", "if False:", OTHER_SIGNER),
            ("if (found.identity, found.kind) != (wanted.identity, kind) or not wanted.identity:", "if False:", OTHER_SIGNER),
            ("if wanted.repository_id and found.repository_id != wanted.repository_id:", "if False:", OTHER_SIGNER),
        ),
    ),
    (
        "handoffs/attestations/statements.py",
        (
            ("if strong and all(", "if all(", f"{VERIFYING}::test_a_subject_without_the_true_digest_is_refused"),
            ("if strong and all(digests.get(name) == value for name, value in strong.items()):", "if strong:", f"{VERIFYING}::test_a_subject_without_the_true_digest_is_refused"),
            ('if result != "PASSED":', "if False:", f"{VERIFYING}::test_a_summary_must_say_passed_and_be_the_wanted_verifiers"),
        ),
    ),
    (
        "handoffs/signatures/trust_roots.py",
        (
            ("if root.digest in set(replaced) or root.newest_at < last_seen[1]:", "if False:", f"{JUDGED_BY}::test_an_older_root_than_the_last_is_refused_and_a_stale_one_flagged"),
            ("window_of(_key(item)).start", "window_of(item).start", f"{JUDGED_BY}::test_a_root_that_is_not_one_is_refused"),
            ('Window(_moment(told["start"])', 'Window(_moment(told.get("start", "2020-01-01T00:00:00Z"))', f"{JUDGED_BY}::test_a_root_that_is_not_one_is_refused"),
            ("dict(self._judged), True", "dict(self.document), True", f"{JUDGED_BY}::test_the_last_moment_of_a_timestamp_authority_belongs_to_it"),
            ("(window.end + _TICK)", "window.end", f"{JUDGED_BY}::test_the_last_moment_of_a_timestamp_authority_belongs_to_it"),
            ("if age < (FRESH_ONLINE if is_online else timedelta(days=FRESH_DAYS)):", "if age < timedelta(days=FRESH_DAYS):", f"{ROOTS}::test_age_is_said_after_a_day_online_after_a_week_offline_and_bounded_by_policy"),
        ),
    ),
    (
        "handoffs/fallback.py",
        (
            ("self.probes >= self.rules.probes and ", "", f"{OUTAGES}::test_two_failed_probes_are_too_few_however_far_apart"),
            (" and self.span >= timedelta(seconds=self.rules.probe_seconds)", "", EARLY),
            ("    if not outage.may_fall_back:", "    if False:", f"{OUTAGES}::test_no_acknowledgement_where_the_policy_says_never"),
            ("    require(by, Act.ACKNOWLEDGE_DOWNGRADE)\n", "", EARLY),
            ("    take_part(handoff.chain, by)\n", "", f"{OUTAGES}::test_lead_who_has_another_duty_on_the_handoff_cannot_acknowledge"),
        ),
    ),
    (
        "handoffs/signing.py",
        (
            (' and is_acknowledged)', ")", EARLY),
            ('(rules.fallback == "acknowledged" and ', "(", f"{OUTAGES}::test_a_policy_without_fallback_never_downgrades"),
            ("    check_clocks(tools)\n", "", f"{CLOCKS}::test_signing_says_the_same_code"),
        ),
    ),
    (
        "handoffs/clocks.py",
        (("filter(read_at__gte=Now() - READING_HOLDS)", "none()", f"{CLOCKS}::test_a_service_that_disagrees_stops_both_until_it_agrees"),),
    ),
    (
        "verdicts/actions.py",
        (("    if report.conclusion is GateOutcome.SUCCESS:\n        refuse_wrong_clock()\n", "", f"{CLOCKS}::test_nothing_is_published_as_a_success_until_the_clocks_agree"),),
    ),
    ("verdicts/merging.py", (("        refuse_wrong_clock(tools.clock)\n", "", f"{CLOCKS}::test_no_pass_and_no_merge_while_a_clock_is_wrong"),)),
    (
        "verdicts/statements.py",
        (
            ("    refuse_skew()\n", "", f"{CLOCKS}::test_no_pass_and_no_merge_while_a_clock_is_wrong"),
            ("        verify_receipt(found.key, version.document.encode(), found.signature, received_at=found.signed_at)\n", "        pass\n", POLICY_BOTH),
            ("if said != _policy_statement(version) or text != version.digest:", "if False:", POLICY_BOTH),
        ),
    ),
    (
        "leoportal/cli_verify.py",
        (("if attestation is None or missing:", "if attestation is None:", "leoportal/test_cli_verify.py::test_a_policy_is_a_policy_signed_and_attested"),),
    ),
    (
        "handoffs/trusting.py",
        (
            ("    refuse_stale(rules, root, now)\n    take_root", "    take_root", f"{TRUSTING}::test_a_root_older_than_the_policy_allows_stops_the_lane"),
            ("    if seen and not pinned:", "    if False:", f"{TRUSTING}::test_a_root_that_was_replaced_stays_replaced"),
        ),
    ),
    (
        "handoffs/trusted_roots.py",
        (
            ("last_seen=_last_seen(mirror)", "last_seen={}", HELD),
            ("    if root.digest != fetch.digest:", "    if False:", f"{ROOTS}::test_stored_bytes_that_changed_are_not_used"),
            ("    refuse_skew(clock)\n", "", f"{ROOTS}::test_only_an_operator_refreshes_and_chooses_and_only_what_was_fetched"),
        ),
    ),
    (
        "handoffs/signatures/tuf_client.py",
        (('    if target.length > work["max_bytes"]:', "    if False:", HELD),),
    ),
    (
        "handoffs/resigning.py",
        (
            ("    rows = rows.exclude(handoff__pull_request__status__in=_ENDED)\n", "", f"{RESIGNING}::test_what_was_merged_is_flagged_and_not_signed_again"),
            ("    if not fallen_signatures().filter(pk=renewal.renewed.pk).exists():", "    if False:", f"{RESIGNING}::test_two_workers_at_once_and_a_key_that_ends_on_the_way"),
        ),
    ),
    ("verdicts/revoking.py", (("            verify_signature_again(pull)\n", "            pass\n", f"{RESIGNING}::test_an_open_handoff_is_signed_again_by_the_new_key"),)),
)  # fmt: skip

PACK_HEADS: tuple[Line, ...] = (
    ("if not rest and write_json(seal) == raw:", "if not rest:", f"{SEAL_FORM}[other white space-by_portal]"),
    ("if old.origin != head.origin:", "if False:", f"{SEALED}[the earlier checkpoint is another log's-by_portal]"),
    (
        "        verify_consistency(old.size, head.size, old.root, head.root, path)\n",
        "",
        f"{SEALED}[the earlier checkpoint has another root-by_portal]",
    ),
    (
        "            if key.name not in {found.name for found in signed}:",
        "            if False:",
        f"{PACKED}::test_a_witness_that_the_reader_trusts_has_to_have_signed[by_portal]",
    ),
)
PACK_LEAVES: tuple[Line, ...] = (
    (
        '            verify_inclusion(found, first, head.size, decoded(proof.get("path"), PROOFS), head.root)\n',
        "",
        f"{SEALED}[a single leaf is another-by_portal]",
    ),
)
PACK_DUTIES: tuple[Line, ...] = (
    ('if problem and state == "ok":', "if False:", f"{SEALED}[it is called separated, and is not-by_portal]"),
    (
        "for part in self.parts.get(subject, set()) - parts:",
        "for part in set[Part]():",
        f"{SEALED}[a participant is not listed-by_portal]",
    ),
    (
        "        if glass.second != act.leaf.principal:",
        "        if False:",
        f"{GLASS}[opened by somebody else-by_portal]",
    ),
    ("        if len(people) < len(acted):", "        if False:", f"{GLASS}[one person under two names-by_portal]"),
    (
        'elif act.leaf.kind == DECISION_RECORDED and (act.body or {}).get("reason_class") == "break-glass":',
        "elif False:",
        f"{GLASS}[for another head-by_portal]",
    ),
    ("else made_at or act.leaf.at) > due:", "else act.leaf.at) > due:", f"{GLASS}[not reviewed for a day-by_portal]"),
)
PACK_RECORDS: tuple[Line, ...] = (
    (
        "        if name not in TEXT_PARTS and not _agrees(name, value, act):",
        "        if False:",
        f"{SEALED}[a row says something else-by_portal]",
    ),
    (
        'if record.get("leafHash") != act.digest or not isinstance(row, dict):',
        "if not isinstance(row, dict):",
        f"{SEALED}[a row names another leaf's hash-by_portal]",
    ),
    (
        "            return value == leaf.principal and type(value) is int",
        "            return True",
        f"{SEALED}[a row is somebody else's-by_portal]",
    ),
)
PACKS: tuple[Line, ...] = (
    (
        'if act.leaf.kind == events.VERDICT_RECORDED and body.get("policy") not in texts & enacted:',
        "if False:",
        f"{SEALED}[a policy is missing-by_portal]",
    ),
    ("        if texts - enacted:", "        if False:", f"{SEALED}[a policy was never enacted-by_portal]"),
)
DUTIES: tuple[Line, ...] = (
    (
        "    if len(people) < len(acted):",
        "    if False:",
        f"{PACKING_GLASS}::test_a_broken_glass_that_nobody_reviewed_in_time_breaks_the_separation",
    ),
    (
        "    if glass.review_due_at is None or looked_at > glass.review_due_at:",
        "    if False:",
        f"{PACKING_GLASS}::test_a_broken_glass_that_nobody_reviewed_in_time_breaks_the_separation",
    ),
)
PACK_COMMITS: tuple[Line, ...] = (
    (
        "    if commit.kind != found:",
        "    if False:",
        f"{PACKED}::test_a_merge_is_called_what_let_it_through_and_nothing_else[PASS-by_portal]",
    ),
    (
        'if body.get("reason_class") == "break-glass" else',
        "if False else",
        f"{PACKED}::test_a_merge_is_called_what_let_it_through_and_nothing_else[BREAK-GLASS-by_portal]",
    ),
    ("    if found.hexdigest() != name:", "    if False:", f"{SEALED}[a commit's bytes are another's-by_portal]"),
)
STANDALONE: tuple[Line, ...] = (
    (
        'if json.dumps(seal, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != raw:',
        "if False:",
        f"{SEAL_FORM}[other white space-standing_alone]",
    ),
    (
        "                if old.origin != head.origin or not is_consistent(old, head, path):",
        "                if False:",
        f"{SEALED}[the earlier checkpoint has another root-standing_alone]",
    ),
    (
        "elif root_from_inclusion(found, index, head.size, path) != head.root:",
        "elif False:",
        f"{SEALED}[a single leaf is another-standing_alone]",
    ),
    (
        'if bool(clashes) and row.get("state") == "ok":',
        "if False:",
        f"{SEALED}[it is called separated, and is not-standing_alone]",
    ),
    (
        "                    if (principal, role) not in parts:",
        "                    if False:",
        f"{SEALED}[a participant is not listed-standing_alone]",
    ),
    (
        "            return type(value) is int and value == leaf.principal",
        "            return True",
        f"{SEALED}[a row is somebody else's-standing_alone]",
    ),
    (
        "if leaf.body is not None and (digest not in texts or digest not in enacted):",
        "if False:",
        f"{SEALED}[a policy is missing-standing_alone]",
    ),
    (
        "        if unknown := set(texts) - enacted:",
        "        if unknown := set[str]():",
        f"{SEALED}[a policy was never enacted-standing_alone]",
    ),
    (
        "        if name not in TEXT_PARTS and not agrees(name, value, leaf):",
        "        if False:",
        f"{SEALED}[a row says something else-standing_alone]",
    ),
    (
        '    if row.get("leafHash") != leaf.digest:',
        "    if False:",
        f"{SEALED}[a row names another leaf's hash-standing_alone]",
    ),
    (
        "            if moment is None:",
        "            if False:",
        f"{PACKED}::test_a_witness_that_the_reader_trusts_has_to_have_signed[standing_alone]",
    ),
    (
        '        if row.get("class") != found:',
        "        if False:",
        f"{PACKED}::test_a_merge_is_called_what_let_it_through_and_nothing_else[PASS-standing_alone]",
    ),
    (
        '            if names["second"] != leaf.principal:',
        "            if False:",
        f"{GLASS}[opened by somebody else-standing_alone]",
    ),
    (
        "            if len({people[one] for one in acted}) < len(acted):",
        "            if False:",
        f"{GLASS}[one person under two names-standing_alone]",
    ),
    (
        'if body.get("reason_class") == "break-glass" and told not in released:',
        "if False:",
        f"{GLASS}[for another head-standing_alone]",
    ),
    (
        'elif review is None and (microseconds(str(self.manifest.get("madeAt"))) or leaf.at) > due:',
        "elif review is None and leaf.at > due:",
        f"{GLASS}[not reviewed for a day-standing_alone]",
    ),
)

GUARDS: tuple[Guard, ...] = (
    *_of("audit/pack_checks.py", PACKS),
    *_of("audit/pack_commits.py", PACK_COMMITS),
    *_of("audit/pack_heads.py", PACK_HEADS),
    *_of("audit/pack_leaves.py", PACK_LEAVES),
    *_of("audit/pack_duties.py", PACK_DUTIES),
    *_of("audit/pack_records.py", PACK_RECORDS),
    *_of("verdicts/duty_rules.py", DUTIES),
    *_of("audit/standalone_verifier.py", STANDALONE),
    *_of("handoffs/bundles/gzip_member.py", GZIP),
    *_of("handoffs/bundles/archive.py", ARCHIVE),
    *_of("handoffs/bundles/patches_reading.py", PATCH),
    *_of("handoffs/checks/verification.py", [("partial(suspects_in, archive)", "frozenset", "handoffs/test_isolation.py::test_a_bundle_that_is_worth_a_thread_is_judged_the_same")]),
    *_of("handoffs/packages/sbom.py", [("is_told = raw.count(b'\"bom-ref\"') == len(told)", "is_told = True", "handoffs/test_checks_sbom.py")]),
    *_of(
        "handoffs/bundles/patches.py",
        [("if whole[start:at] != before:", "if False:", f"{PATCHES}::test_hunks_apply_at_their_lines_only")],
    ),
    *_of("handoffs/checks/patch.py", CHECKED),
    *_of("handoffs/bundles/paths.py", PATHS),
    *_of("handoffs/git/process.py", GIT),
    *_of(
        "handoffs/git/repository.py",
        [('    "--binary",\n', '    "--binary",\n    "--ext-diff",\n', f"{CHECKS_PATCH}::test_nothing_of_the_repository_is_executed")],
    ),
    *_of(
        "handoffs/scope/control_plane.py",
        [("if lowered.startswith(folder) or", "if path.startswith(folder) and", f"{CHECKS_PATCH}::test_control_plane_paths_are_seen_in_six_encodings")],
    ),
    *_of(
        "handoffs/diffing.py",
        [("        for change in changes\n", "        for change in changes if counts.get(change.path) != (None, None)\n", "handoffs/test_diffing.py::test_the_page_and_the_patch_name_exactly_the_paths_that_differ_for_10_000_patches")],
    ),
    *_of("handoffs/checks/attestation.py", CLAIMS),
    *_of(
        "handoffs/attestations/attestations.py",
        [("    if base64.b64encode(raw, alphabet).decode() != text:\n        raise ValueError\n", "", "handoffs/test_attestations.py::test_a_payload_that_is_written_in_another_way_is_refused")],
    ),
    *_of("handoffs/bundles/markers.py", MARKER),
    *_of("handoffs/forges/hook.py", FORGE),
    *_of(
        "handoffs/intake.py",
        [
            ('if rules.staging.push == "signed":', "if False:", f"{SIGNERS}::test_a_push_by_anyone_but_a_builder_is_quarantined_unread_and_audited"),
            ("previous = None if refusal else", "previous =", f"{SIGNERS}::test_a_strangers_push_neither_supersedes_the_builders_nor_uses_up_its_quota"),
        ],
    ),
    *_of(
        "handoffs/people.py",
        [("outcome = Outcome.PASSED if claimed == signer else Outcome.FAILED", "outcome = Outcome.PASSED", f"{SIGNERS}::test_one_builder_cannot_hand_over_in_anothers_name")],
    ),
    *_of("audit/canonical.py", STRICT_JSON),
    *_of("handoffs/signatures/openpgp.py", OPENPGP),
    *_of("handoffs/signatures/key_rules.py", RULES),
    *_of(
        "handoffs/keys.py",
        [("    if key.vouches_for(received_at):", "    if True:", f"{STATES}::test_a_revocation_has_a_moment_and_what_was_received_before_it_still_holds")],
    ),
    *_of(
        "audit/separation.py",
        [
            ("if part.duty != duty and registry.person(part.principal_id) == person:", "if False:", "audit/test_separation.py"),
            (
                "return Assurance.SINGLE_OPERATOR if makers & deciders else Assurance.SEPARATED",
                "return Assurance.SEPARATED",
                "audit/test_separation.py::test_one_person_behind_builder_and_lead_lowers_the_assurance",
            ),
        ],
    ),
    *_of(
        "audit/sequencing.py",
        [("if leaf_hash(leaf) != stored:", "if False:", f"{TRAIL}::test_an_entry_whose_leaf_was_changed_on_disk_stops_the_sequencer")],
    ),
    *_of(
        "audit/merkle.py",
        [
            ("    if found != root:", "    if False:", f"{MERKLE}::test_no_altered_inclusion_proof_holds"),
            ("    if found_old != old_root:", "    if False:", f"{MERKLE}::test_no_altered_consistency_proof_holds"),
        ],
    ),
    *(guard for file, lines in ATTESTED for guard in _of(file, lines)),
    *_of("verdicts/merging.py", MERGE),
    *_of("verdicts/deciding.py", VERDICT),
    *_of("leoportal/settings.py", [('    "max_retries": 1,\n', "", "handoffs/test_nudge.py::test_a_broker_that_hangs_up_is_asked_twice_and_no_more")]),
    *_of(
        "audit/export.py",
        [
            ("CASE WHEN {is_formula} THEN '''' ELSE '' END || ", "", f"{EXPORTS}::test_csv_cells_are_read_back_and_none_is_a_formula"),
            ("    require(by, Act.EXPORT_TRAIL)\n", "", f"{EXPORTS}::test_only_an_auditor_downloads"),
        ],
    ),
    *_of(
        "pyproject.toml",
        [
            ('"tarfile".msg = ', '"tarfiles".msg = ', PLANTED),
            ('"zipfile".msg = ', '"zipfiles".msg = ', PLANTED),
            ('"RUF", "S", "SIM"', '"RUF", "SIM"', PLANTED),
        ],
    ),
    # Lanes in PostgreSQL.
    Guard(
        "leoportal/web.py",
        "            with acting_in(LANE_OF[request.actor.role]):\n                response = view(",
        "            if LANE_OF:\n                response = view(",
        "tests/lanes/test_pages.py::test_a_page_acts_in_the_lane_of_its_reader",
    ),
    Guard(
        "leoportal/web.py",
        "        with acting_in(VISITOR):\n            return",
        "        if VISITOR:\n            return",
        "tests/lanes/test_pages.py::test_before_and_after_its_view_a_request_is_a_visitors",
    ),
    Guard(
        "leoportal/lanes/switching.py",
        "        _acting.role = before\n        _become_again(before)",
        "        _acting.role = before",
        "tests/lanes/test_switching.py::test_lanes_nest_and_end",
    ),
    Guard(
        "leoportal/lanes/switching.py",
        "            connection.connection.close()\n            connection.close()",
        "            pass",
        "tests/lanes/test_switching.py::test_a_lane_that_cannot_be_left_takes_its_connection_with_it",
    ),
    Guard(
        "leoportal/lanes/pooling.py",
        '    connection.execute("RESET ROLE")\n',
        "",
        "tests/lanes/test_switching.py::test_the_pool_gives_no_request_the_role_of_another",
    ),
    Guard(
        "leoportal/celery.py",
        "        with acting_in(lane_of(self.name)):\n            return",
        "        if self.name:\n            return",
        "tests/lanes/test_pages.py::test_a_task_acts_in_the_lane_of_its_queue",
    ),
    Guard(
        "leoportal/lanes/matrix.toml",
        '[tables.leo_verdict_statement]\nappend_only = true\noperator = "S"\nverifier = "S I"\nenforcer = "S(id key_id signed_at)"',
        '[tables.leo_verdict_statement]\nappend_only = true\noperator = "S"\nverifier = "S I"\nenforcer = "S I"',
        "tests/lanes/test_grants.py::test_the_enforcer_signs_no_verdict",
    ),
    Guard(
        "handoffs/people.py",
        "        principal__grants__role=Role.BUILDER.value,\n",
        "",
        "tests/handoffs/test_people.py::test_a_builders_id_counts_only_for_who_builds",
    ),
    *GITHUB_GUARDS,
    *HOOK_GUARDS,
    *LANDING_GUARDS,
    *LOG_GUARDS,
    *NAME_GUARDS,
    *PACK_GUARDS,
    *PROTECTION_GUARDS,
    *PUBLISHING_GUARDS,
    *SCOPE_GUARDS,
    *SEPARATION_GUARDS,
    *TRUST_GUARDS,
)  # fmt: skip

# A fixed handful, whose tests take no database and little time: what `make test` runs.
SHORT: tuple[Guard, ...] = tuple(
    guard
    for guard in GUARDS
    if guard.old
    in {"if raw[3] != 0:", 'elif not line.startswith(b"--- "):', "if key in found:", "    if found != root:"}
)
