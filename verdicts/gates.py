"""The two gates that the portal runs itself: SLSA verification and policy verification.

Each looks again at the real thing (bytes, signatures, trees), not at what earlier steps said, and answers with
evidence. One check that does not hold makes the gate a failure; there is no informational mode.
Source: SOP sections 3 and 10.4; GATE-09 and GATE-10 of the threat list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from audit.canonical import JsonValue
from handoffs.actions import Tools
from handoffs.bundles.bundle import BundleError, digest_of, read_change
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.checks.evidence import Outcome
from handoffs.forges.protocol import ARTIFACT_PATH, ForgeError
from handoffs.git.process import GitError
from handoffs.models import Handoff, PullRequest
from handoffs.verifying import MAX_ARTIFACT_BYTES
from verdicts import evidence
from verdicts.models import PolicyVersion, VerdictError
from verdicts.policy import parse_policy
from verdicts.policy_document import PolicyError
from verdicts.results import GateOutcome
from verdicts.signature_checks import GateCheck, check_signature
from verdicts.statements import verify_policy_signature, verify_policy_statement
from verdicts.workflow_gates import check_workflow


@dataclass(frozen=True)
class GateResult:
    """What a gate found: success only if it checked something and all of it holds."""

    checks: tuple[GateCheck, ...]

    @property
    def conclusion(self) -> GateOutcome:
        """The gate's conclusion."""
        is_met = bool(self.checks) and all(check.is_met for check in self.checks)
        return GateOutcome.SUCCESS if is_met else GateOutcome.FAILURE

    @property
    def evidence(self) -> dict[str, JsonValue]:
        """The checks as JSON, for the record."""
        return {"checks": [{"name": c.name, "met": c.is_met, "got": c.got[:500]} for c in self.checks]}


def run_slsa_gate(pull: PullRequest, tools: Tools) -> GateResult:
    """Verify the artifact's bytes, our signature over them, our statement, the builder's claim and the head's tree."""
    handoff = Handoff.objects.select_related("repository").get(pk=pull.handoff_id)
    return GateResult(
        (
            _artifact_bytes(handoff, tools),
            *check_signature(handoff, tools),
            _provenance_claim(handoff),
            _head_tree(pull, handoff, tools),
            _commit_graph(pull, handoff, tools),
            *check_workflow(pull, "slsa", tools.git),
        )
    )


def run_policy_gate(pull: PullRequest, tools: Tools) -> GateResult:
    """Verify the policy in force and the bundle against it: builder, sizes, age of the merge base, secrets."""
    handoff = Handoff.objects.select_related("repository").get(pk=pull.handoff_id)
    version = evidence.policy_in_force()
    digest = hashlib.sha256(version.document.encode()).hexdigest()
    try:
        policy = parse_policy(version.document.encode())
    except PolicyError as error:
        return GateResult((GateCheck("the policy in force reads", is_met=False, got=str(error)),))
    builder = handoff.checks.filter(code="attestation.builder").first()
    builder_id = handoff.builder.identities.filter(kind="builder_id").first() if handoff.builder else None
    changed = len(tools.git.changes(handoff.merge_base, handoff.result_tree))
    age = timezone.now() - tools.git.committed_at(handoff.merge_base)
    limit = timedelta(days=policy.limits.merge_base_age_days)
    behind = tools.git.is_ancestor(handoff.merge_base, pull.base_sha)
    secrets = list(handoff.checks.filter(group="secrets").values_list("outcome", flat=True))
    return GateResult(
        (
            GateCheck("the policy in force is the text that was enacted", is_met=digest == version.digest, got=digest),
            *_policy_evidence(version),
            GateCheck(
                "the policy allows this builder",
                is_met=builder_id is not None and builder_id.value in policy.allowed_builders,
                got=builder_id.value if builder_id else (builder.got if builder else "no builder"),
            ),
            GateCheck(
                f"the bundle has at most {policy.limits.bundle_bytes} bytes",
                is_met=handoff.size_bytes <= policy.limits.bundle_bytes,
                got=str(handoff.size_bytes),
            ),
            GateCheck(
                f"at most {policy.limits.changed_files} files change",
                is_met=changed <= policy.limits.changed_files,
                got=str(changed),
            ),
            GateCheck("the merge base is part of the target branch", is_met=behind, got=handoff.merge_base),
            GateCheck(
                f"the merge base is at most {limit.days} days behind now, or is the branch's tip",
                is_met=age <= limit or handoff.merge_base == pull.base_sha,
                got=f"{age.days} days",
            ),
            GateCheck(
                "no credential was found in the bundle",
                is_met=bool(secrets) and Outcome.FAILED.value not in secrets,
                got=", ".join(secrets) or "not checked",
            ),
            *check_workflow(pull, "policy-bundle", tools.git),
        )
    )


def _policy_evidence(version: PolicyVersion) -> tuple[GateCheck, GateCheck]:
    """Signature and attestation, both. Not made yet is no answer: the gate runs again. Source: SOP section 10.4."""
    return (
        _policy_check("the policy in force is signed by the gate lane", verify_policy_signature, version),
        _policy_check("the policy in force is attested by the gate lane", verify_policy_statement, version),
    )


def _policy_check(name: str, verify: Callable[[PolicyVersion], str], version: PolicyVersion) -> GateCheck:
    name = f"{name}, by a key that is trusted"
    try:
        return GateCheck(name, is_met=True, got=verify(version))
    except VerdictError as error:
        if error.code == "policy.unsigned":
            raise
        return GateCheck(name, is_met=False, got=str(error))


def _artifact(handoff: Handoff, tools: Tools) -> bytes:
    """Raises: GitError."""
    return tools.git.read_file(handoff.staging_commit, ARTIFACT_PATH, max_bytes=MAX_ARTIFACT_BYTES)


def _artifact_bytes(handoff: Handoff, tools: Tools) -> GateCheck:
    name = "the staging commit still holds the artifact that was verified"
    try:
        found = digest_of(_artifact(handoff, tools))
    except GitError as error:
        return GateCheck(name, is_met=False, got=str(error))
    return GateCheck(name, is_met=found == handoff.digest, got=found)


def _provenance_claim(handoff: Handoff) -> GateCheck:
    """The builder's own provenance is a claim: it must be coherent, and it raises no level."""
    checks = dict(handoff.checks.filter(group="attestation").values_list("code", "outcome"))
    failed = sorted(code for code, outcome in checks.items() if outcome == Outcome.FAILED.value)
    return GateCheck(
        "the builder's provenance is coherent and names the members and the merge base (builder-claimed)",
        is_met=bool(checks) and not failed,
        got=", ".join(failed) or f"{len(checks)} checks",
    )


def _head_tree(pull: PullRequest, handoff: Handoff, tools: Tools) -> GateCheck:
    """The bundle is applied again: what the enforcer lane wrote down of base and tree is compared, not believed."""
    name = "the pull request's head holds exactly the tree that the bundle, applied again, produces"
    try:
        raw = _artifact(handoff, tools)
        if digest_of(raw) != handoff.digest:
            return GateCheck(name, is_met=False, got="other bytes than were verified")
        change = read_change(raw)
        made, found = tools.git.result_tree(change.merge_base, change.patch), tools.git.tree_of(pull.head_sha)
    except (GitError, BundleError) as error:
        return GateCheck(name, is_met=False, got=str(error))
    is_met = (found, handoff.result_tree, handoff.merge_base) == (made, made, change.merge_base)
    return GateCheck(name, is_met=is_met, got=found if is_met else f"tree.mismatch: {found}, the bundle makes {made}")


def _commit_graph(pull: PullRequest, handoff: Handoff, tools: Tools) -> GateCheck:
    """No second commit, no merge, no push by anybody: a bad commit and its revert leave the tree as it was."""
    name = "commit.graph: the branch is exactly the enforcer's one commit on the merge base"
    git = tools.git
    try:
        tip = tools.forge.branch(pull.head_ref)
        parents = git.parents_of(tip) if tip else ()
        people = tools.forge.contributors(handoff.merge_base, tip) if tip else ()
        marker = git.message_of(tip).partition("]")[0] + "]" if tip else ""
    except (GitError, ForgeError) as error:
        return GateCheck(name, is_met=False, got=str(error))
    found = (tip, parents, people, marker)
    applied = write_marker(MarkerKind.CLAUDE_APPLIED, handoff.digest)
    expected = (handoff.applied_commit, (handoff.merge_base,), (tools.email.lower(),), applied)
    is_met = bool(tip) and pull.head_sha == tip and found == expected
    by = ", ".join(people) or "nobody"
    return GateCheck(
        name, is_met=is_met, got=f"{tip[:12] or 'no branch'} on {' '.join(p[:12] for p in parents)} by {by}"
    )
