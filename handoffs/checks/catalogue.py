"""Every check of a bundle, in the order they are shown. All run; none stops at the first failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from handoffs.checks import archive, attestation, patch, sbom, scope, text
from handoffs.checks.evidence import NOT_CHECKED, CheckResult, Context, Evidence, GitFacts, Judged, Outcome, read_parts
from handoffs.checks.judges import Judge, tool_of

__all__ = [
    "CHECKS",
    "RECORD_CHECKS",
    "Check",
    "CheckResult",
    "Context",
    "Evidence",
    "GitFacts",
    "Outcome",
    "RecordCheck",
    "read_parts",
    "run_checks",
]


@dataclass(frozen=True)
class Check:
    """One named check. The first sentence of the function's docstring is what it says to people."""

    code: str
    judge: Callable[[Evidence], Judged]
    by: Judge = Judge.LEOPORTAL

    @cached_property
    def group(self) -> str:
        """The part of the bundle the check is about."""
        return self.code.split(".", 1)[0]

    @cached_property
    def sentence(self) -> str:
        """What the check says, for people."""
        return (self.judge.__doc__ or self.code).strip().split("\n", 1)[0]

    def run(self, evidence: Evidence) -> CheckResult:
        """Judge the evidence."""
        judged = self.judge(evidence)
        tool = tool_of(self.by, evidence.facts.tool if evidence.facts else "")
        return CheckResult(self.code, self.group, self.sentence, judged.outcome, judged.got, judged.expected, tool)


@dataclass(frozen=True)
class RecordCheck:
    """A check that asks the portal's own records: who is registered, who took part, what was handed over before.

    It runs where the records are (`handoffs.people`, `handoffs.verifying`); without a portal nobody can run it.
    """

    code: str
    group: str
    sentence: str

    def found(self, outcome: Outcome, *, got: str, expected: str) -> CheckResult:
        """What the records say."""
        return CheckResult(self.code, self.group, self.sentence, outcome, got, expected)


SPONSOR: Final = RecordCheck(
    "manifest.sponsor", "manifest", "The sponsor named in the manifest is the person registered for this builder."
)
ONE_DUTY: Final = RecordCheck("sod.conflict", "manifest", "Nobody behind this bundle has another duty on this handoff.")
KNOWN_PEOPLE: Final = RecordCheck(
    "sod.unknown_principal", "manifest", "Everybody behind this bundle is a principal of the portal."
)
SIGNED_BY_BUILDER: Final = RecordCheck(
    "manifest.signer", "manifest", "The staging commit is signed by the builder that the manifest names."
)
NOT_TWICE: Final = RecordCheck("handoff.duplicate", "marker", "The bundle was not handed over before.")
RECORD_CHECKS: Final = (SPONSOR, SIGNED_BY_BUILDER, ONE_DUTY, KNOWN_PEOPLE, NOT_TWICE)
SECRETS: Final = "secrets.none"
WITHHELD: Final = "withheld: a credential was found in this bundle"
CHECKS: Final = (
    Check("archive.size", archive.archive_size),
    Check("archive.readable", archive.archive_readable),
    Check("archive.members", archive.archive_members),
    Check("archive.regular_files", archive.archive_regular_files),
    Check("archive.unique_names", archive.archive_unique_names),
    Check("archive.no_traversal", archive.archive_no_traversal),
    Check("archive.deterministic", archive.archive_deterministic),
    Check("marker.grammar", archive.marker_grammar),
    Check("marker.digest", archive.marker_digest),
    Check("marker.branch", archive.marker_branch),
    Check("manifest.json", archive.manifest_readable),
    Check("manifest.schema", archive.manifest_schema),
    Check("manifest.members", archive.manifest_members),
    Check("manifest.repository", archive.manifest_repository),
    Check("manifest.branch", archive.manifest_branch),
    Check("manifest.people", archive.manifest_people),
    Check("merge_base.exists", patch.merge_base_exists, Judge.GIT),
    Check("merge_base.ancestor", patch.merge_base_is_ancestor, Judge.GIT),
    Check("merge_base.recent", patch.merge_base_recent, Judge.GIT),
    Check("patch.not_empty", patch.patch_not_empty),
    Check("patch.parses", patch.patch_parses),
    Check("patch.hunk_counts", patch.patch_hunk_counts),
    Check("patch.limits", patch.patch_limits),
    Check("patch.safe_paths", patch.patch_safe_paths),
    Check("patch.submodules", patch.patch_submodules),
    Check("patch.applies", patch.patch_applies, Judge.GIT),
    Check("patch.modes", patch.patch_modes, Judge.GIT),
    Check("patch.exact", patch.patch_exact, Judge.GIT),
    Check("patch.declared_paths", patch.patch_declared_paths, Judge.GIT),
    Check("patch.index_blobs", patch.patch_index_blobs, Judge.GIT),
    Check("patch.twins", patch.patch_twins, Judge.GIT),
    Check("patch.reused", patch.patch_reused),
    Check("scope.control_plane", scope.scope_control_plane),
    Check("scope.unreviewable", scope.scope_unreviewable),
    Check("scope.informational_gate", scope.scope_informational_gate),
    Check("sbom.readable", sbom.sbom_readable),
    Check("sbom.schema", sbom.sbom_schema, Judge.SCHEMA),
    Check("sbom.spec_version", sbom.sbom_spec_version),
    Check("sbom.serial_number", sbom.sbom_serial_number),
    Check("sbom.subject", sbom.sbom_subject),
    Check("sbom.not_empty", sbom.sbom_not_empty),
    Check("sbom.bom_refs", sbom.sbom_bom_refs),
    Check("sbom.hashes", sbom.sbom_hashes),
    Check("sbom.files", sbom.sbom_files, Judge.GIT),
    Check("sbom.lock_files", sbom.sbom_lock_files, Judge.GIT),
    Check("sbom.lock_delta", sbom.sbom_lock_delta, Judge.GIT),
    Check("sbom.licences", sbom.sbom_licences, Judge.LICENCES),
    Check("attestation.envelope", attestation.attestation_envelope),
    Check("attestation.statement", attestation.attestation_statement),
    Check("attestation.predicate", attestation.attestation_predicate),
    Check("attestation.signature", attestation.attestation_signature),
    Check("attestation.subjects", attestation.attestation_subjects),
    Check("attestation.digests", attestation.attestation_digests),
    Check("attestation.materials", attestation.attestation_materials),
    Check("attestation.merge_base", attestation.attestation_merge_base),
    Check("attestation.builder", attestation.attestation_builder),
    Check("attestation.build_type", attestation.attestation_build_type),
    Check("rollback.present", text.rollback_present),
    Check("rollback.says_how", text.rollback_says_how),
    Check(SECRETS, text.secrets_none),
)


def run_checks(evidence: Evidence, facts: GitFacts | None) -> tuple[CheckResult, ...]:
    """Run every check on the parts of an archive and what git found; `facts` None: no repository was asked.

    Beside a credential, what the other checks saw is withheld: a text cut short could still show half of it.
    """
    whole = replace(evidence, facts=facts)
    results = tuple(check.run(whole) for check in CHECKS)
    if not holds_secret(results):
        return results
    return tuple(
        result if result.code == SECRETS else replace(result, got=WITHHELD, expected=WITHHELD) for result in results
    )


def holds_secret(results: Iterable[CheckResult]) -> bool:
    """Whether a credential was found (and not only: could not be looked for)."""
    return any(
        result.code == SECRETS and result.outcome is Outcome.FAILED and not result.got.startswith(NOT_CHECKED)
        for result in results
    )
