"""The words, glyphs and shapes of every state a page can show. Word first, then shape, then colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final


@dataclass(frozen=True)
class Word:
    """How one state is said and drawn. `style` names a set of colours and a shape in app.css."""

    text: str
    glyph: str
    style: str


WORDS: Final[Mapping[str, Word]] = {
    # verdicts
    "PASS": Word("Pass", "✓", "pass"),
    "CONDITIONAL_PASS": Word("Conditional pass", "△", "cond"),
    "ESCALATE": Word("Escalate", "↑", "esc"),
    "FAIL": Word("Fail", "✗", "fail"),
    "NOT_READY": Word("Not ready", "○", "wait"),
    # what landed
    "OVERRIDE": Word("LEAD's override", "△", "cond"),
    "BREAK-GLASS": Word("Break-glass", "△", "cond"),
    "BYPASS": Word("Bypass", "✗", "fail"),
    "PRE-ENROLMENT": Word("Before the portal", "–", "wait"),
    # sub-agents and checks
    "PASSED": Word("Passed", "✓", "pass"),
    "WARNED": Word("Warned", "△", "cond"),
    "FAILED": Word("Failed", "✗", "fail"),
    "BLOCKED": Word("Blocked", "↑", "esc"),
    "ERROR": Word("Error", "✗", "fail"),
    "MISSING": Word("No result yet", "?", "wait"),
    "STALE": Word("Stale", "↻", "wait"),
    "NOT_APPLICABLE": Word("Not applicable", "–", "wait"),
    "CLAIMED": Word("Claimed", "?", "wait"),
    "VERIFIED": Word("Verified", "✓", "plain"),
    # SLSA properties
    "met": Word("Met", "✓", "pass"),
    "claimed": Word("Only claimed", "?", "wait"),
    "not met": Word("Not met", "○", "wait"),
    # gates, in GitHub's words
    "success": Word("Passed", "✓", "pass"),
    "failure": Word("Failed", "✗", "fail"),
    "neutral": Word("Neutral, not a pass", "–", "fail"),
    "cancelled": Word("Cancelled", "✗", "fail"),
    "skipped": Word("Skipped, not a pass", "–", "fail"),
    "timed_out": Word("Timed out", "✗", "fail"),
    "action_required": Word("Waits for LEAD", "↑", "esc"),
    "stale": Word("Stale", "↻", "fail"),
    "startup_failure": Word("Did not start", "✗", "fail"),
    "missing": Word("Expected, not reported", "?", "wait"),
    # check runs and workflow runs, as our own rows know them
    "queued": Word("Queued", "○", "wait"),
    "in_progress": Word("Running", "◔", "run"),
    "check-none": Word("Nothing said yet", "?", "wait"),
    "check-unsure": Word("Not confirmed", "?", "cond"),
    "check-withdrawn": Word("Taken back", "✗", "fail"),
    "check-neutral": Word("Accepted, not passed", "△", "cond"),
    "run-none": Word("Not asked for", "?", "wait"),
    "run-waits": Word("To be asked for", "○", "wait"),
    "run-asked": Word("Asked for, not seen yet", "○", "wait"),
    "run-other": Word("Not the run asked for", "✗", "fail"),
    "run-unproved": Word("Passed without evidence", "✗", "fail"),
    # pull requests
    "codex-building": Word("With the builder", "◔", "run"),
    "claude-enforcing": Word("Enforcing", "◔", "run"),
    "gates-passing": Word("In verification", "◔", "run"),
    "ready-to-merge": Word("Ready to merge", "✓", "pass"),
    "needs-revision": Word("Needs revision", "✗", "fail"),
    "lead-review": Word("With LEAD", "↑", "esc"),
    "merged": Word("Merged", "✓", "pass"),
    "superseded": Word("Superseded", "–", "wait"),
    "closed": Word("Closed", "–", "wait"),
    # handoffs
    "received": Word("Received, being verified", "◔", "run"),
    "verified": Word("Verified, being signed", "◔", "run"),
    "waiting-signer": Word("Waits for the signing service", "○", "wait"),
    "signed": Word("Signed, being applied", "◔", "run"),
    "applied": Word("Applied, pull request next", "◔", "run"),
    "opened": Word("Pull request open", "◔", "run"),
    "triggered": Word("Handed over to PLAN", "✓", "pass"),
    "refused": Word("Refused", "✗", "fail"),
    "quarantined": Word("Quarantined", "✗", "fail"),
    # steps and rules
    "done": Word("Done", "✓", "pass"),
    "running": Word("Running", "◔", "run"),
    "waits": Word("Waits", "○", "wait"),
    "stuck": Word("Stuck", "✗", "fail"),
    "failed": Word("Failed", "✗", "fail"),
    "ended": Word("Not reached", "–", "wait"),
    "ok": Word("Holds", "✓", "pass"),
    "broken": Word("Does not hold", "✗", "fail"),
    "late": Word("Late", "△", "cond"),
    "differs": Word("Differs", "△", "cond"),
    "not_computed": Word("Not computed", "?", "wait"),
    "not_needed": Word("Not needed", "–", "wait"),
    # protection of a repository
    "ENFORCED": Word("Enforced", "✓", "pass"),
    "UNENFORCED": Word("Unenforced", "✗", "fail"),
    "OBSERVE MODE": Word("Observe mode", "△", "cond"),
    "trial": Word("Trial: nothing is blocked", "✗", "fail"),
    "unseen": Word("Not seen", "?", "wait"),
    "accepted": Word("Accepted", "△", "cond"),
    "agreed": Word("As expected", "✓", "pass"),
    "drifted": Word("Drifted", "✗", "fail"),
    "canary-refused": Word("Refused, as it must be", "✓", "pass"),
    "canary-merged": Word("Merged: an incident", "✗", "fail"),
    "canary-unproven": Word("Proved nothing", "?", "cond"),
    # packages of a change
    "package_added": Word("Added", "+", "plain"),
    "package_removed": Word("Removed", "−", "plain"),
    "package_changed": Word("Changed", "△", "plain"),
    "unknown": Word("Unknown", "?", "wait"),
    "unread": Word("Not read", "?", "cond"),
    "malformed": Word("Malformed", "✗", "fail"),
    # what raises the approvals
    "control_plane": Word("Steers the gates", "↑", "esc"),
    "unreviewable": Word("Cannot be reviewed", "↑", "esc"),
    "informational_gate": Word("Gate that cannot fail", "↑", "esc"),
    # signing keys
    "active": Word("Active", "✓", "pass"),
    "verify-only": Word("Verifies only", "○", "wait"),
    "expired": Word("Expired", "–", "wait"),
    "revoked": Word("Revoked", "✗", "fail"),
    "key-due": Word("Active, rotates soon", "△", "cond"),
    "root-fresh": Word("Fresh", "✓", "pass"),
    "root-old": Word("Refresh is due", "△", "cond"),
    "root-refused": Word("Judges nothing", "✗", "fail"),
    "key-late": Word("Active, rotation is late", "△", "cond"),
    "signing-off": Word("No valid key", "✗", "fail"),
    # decisions
    "approve": Word("Approved", "✓", "pass"),
    "send_back": Word("Sent back", "✗", "fail"),
    "rerun": Word("Re-run forced", "↻", "run"),
    "override": Word("Override", "⚑", "over"),
    "single_operator": Word("Single operator", "△", "cond"),
    "break-glass": Word("Break-glass", "⚑", "over"),
    "review-due": Word("Review due", "△", "cond"),
    "reviewed": Word("Reviewed", "✓", "plain"),
    "lapsed": Word("Lapsed", "–", "wait"),
    "waits-for-second": Word("Waits for a second person", "○", "wait"),
    # proposals of administrators
    "approved": Word("Approved", "✓", "pass"),
    "declined": Word("Declined", "✗", "fail"),
    "withdrawn": Word("Withdrawn", "–", "wait"),
    # severities
    "CRITICAL": Word("Critical", "✗", "fail"),
    "HIGH": Word("High", "✗", "fail"),
    "MEDIUM": Word("Medium", "△", "cond"),
    "LOW": Word("Low", "△", "cond"),
    "INFO": Word("Info", "–", "wait"),
}

# The groups of checks, as headings. tests/web/test_words.py holds them to the catalogue.
CHECK_GROUPS: Final[Mapping[str, str]] = {
    "archive": "Archive",
    "marker": "Marker",
    "manifest": "Manifest",
    "merge_base": "Merge base",
    "patch": "Patch",
    "scope": "Scope",
    "sbom": "SBOM",
    "attestation": "Attestation",
    "rollback": "Rollback notes",
    "secrets": "Credentials",
}

PARTIES: Final[Mapping[str, str]] = {
    "PLAN": "PLAN",
    "LEAD": "LEAD",
    "EXEC": "the enforcer (EXEC)",
    "CODEX": "the builder (Codex)",
    "reviewer": "the reviewer",
    "operator": "an operator",
    "time": "time",
}

EVENTS: Final[Mapping[str, str]] = {
    "handoff.received": "noticed a bundle on the builder's branch",
    "handoff.verified": "verified the bundle",
    "handoff.refused": "refused the bundle",
    "handoff.quarantined": "put the bundle in quarantine",
    "marker.forged": "found what only the portal says, written by somebody else",
    "projection.repaired": "put back what somebody changed by hand on GitHub",
    "command.done": "did what was asked for on GitHub",
    "command.refused": "asked for something on GitHub and was refused",
    "handoff.applying": "announced the push of the verified change",
    "handoff.signed": "signed the bundle",
    "signing.started": "noted what is to be signed",
    "signing.unavailable": "found the signing service down",
    "signing.refused": "was refused by the signing service, or refused its answer",
    "signing.downgrade": "acknowledged OpenPGP in place of Sigstore",
    "signing.orphan": "gave up a signing attempt whose log entries nobody uses",
    "signing.logged": "logged a signature afterwards",
    "handoff.applied": "applied the change",
    "handoff.opened": "opened the pull request",
    "handoff.triggered": "triggered the workflows and handed over to PLAN",
    "handoff.superseded": "superseded the handoff",
    "handoff.retried": "started a stuck handoff again",
    "gate.reported": "reported a gate",
    "agent.reported": "reported a sub-agent's result",
    "round.started": "started a round of verification",
    "verdict.recorded": "recorded a verdict",
    "verdict.refused": "tried to record a verdict and was refused",
    "verdict.stale": "made the verdict stale",
    "pull.timed_out": "handed the pull request to LEAD: the deadline passed",
    "decision.recorded": "recorded a decision",
    "decision.refused": "tried to record a decision and was refused",
    "approval.expired": "took a release back: the approval expired",
    "break_glass.requested": "asked to break the glass",
    "break_glass.opened": "broke the glass with another person: released past the gates",
    "break_glass.reviewed": "reviewed a broken glass",
    "break_glass.refused": "tried to break the glass and was refused",
    "merge.intended": "announced the push of the merge",
    "check.intended": "announced what a check run says",
    "pull.merged": "merged the pull request",
    "pull.closed": "saw that the pull request was closed",
    "pull.reopened": "saw that the pull request was opened again",
    "commit.landed": "judged a commit that landed",
    "bypass.detected": "found a commit that landed past the portal",
    "repository.renamed": "saw that the repository has another name on GitHub",
    "merge.refused": "tried to merge and was refused",
    "push.refused": "refused a push",
    "policy.enacted": "put a policy in force",
    "key.created": "made a signing key",
    "identity.linked": "linked a name to somebody",
    "identity.unlinked": "unlinked a name from somebody",
    "key.rotation_requested": "asked for a signing key to be replaced",
    "key.rotation_cancelled": "cancelled the replacement of a signing key",
    "key.rotated": "replaced a signing key",
    "key.revoked": "revoked a signing key",
    "key.expired": "put on record that a signing key expired",
    "verdict.attested": "signed a statement of the verdict",
    "decision.attested": "signed a statement of the decision",
    "policy.attested": "signed a statement of the policy",
    "role.granted": "granted a role",
    "role.ended": "ended a role",
    "persons.linked": "recorded that two entries are one person",
    "persons.unlinked": "recorded that two entries are two people",
    "administrators.appointed": "appointed the first administrators, at set-up",
    "change.proposed": "proposed a change of the registry",
    "change.approved": "approved a change of the registry",
    "change.declined": "declined a change of the registry",
    "change.withdrawn": "withdrew a proposed change of the registry",
    "change.refused": "tried to change the registry and was refused",
    "token.issued": "issued a token",
    "handoff.resigned": "signed the bundle again, with a key that is trusted",
    "trusted_root.fetched": "fetched a Sigstore trusted root, to be looked at",
    "trusted_root.refused": "refused what a mirror gave as the Sigstore trusted root",
    "trusted_root.taken": "took a Sigstore trusted root into use",
    "person.erased": "erased what was personal of somebody",
    "texts.erased": "erased texts that were kept as long as they had to be",
    "bundles.erased": "erased bundles that were kept as long as they had to be",
    "hold.set": "set a legal hold",
    "hold.ended": "ended a legal hold",
    "webhook.refused": "refused a webhook of GitHub",
    "evidence.received": "took what a workflow's run sent as its evidence",
    "protection.expected": "enrolled a repository: said what has to stand at GitHub",
    "protection.agreed": "found the rules at GitHub as expected",
    "protection.drifted": "found that the rules at GitHub are not the expected ones",
    "canary.refused": "proved with a canary that the gates block",
    "canary.merged": "saw a canary merge: the gates did not block",
    "canary.unproven": "could not prove with a canary that the gates block",
    "epoch.opened": "opened a new epoch of the log",
    "catalog.drifted": "saw that a guard of the database is not as released",
    "catalog.agreed": "saw that all guards of the database are as released again",
    "quorum.set": "set how many witnesses a checkpoint needs",
    "export.made": "made an export",
    "export.sealed": "put the digest of an evidence pack into the log",
    "repository.governed": "put a repository under protection",
    "session.started": "signed in",
    "session.refused": "was refused at sign-in",
}


def word_of(value: str) -> Word:
    """How a state is said; one nobody named is shown as it is, and as unknown."""
    return WORDS.get(value) or Word(value.replace("_", " ").replace("-", " "), "?", "wait")


def span_of(length: timedelta) -> str:
    """A duration in at most two units, rounded down: `2 h 14 min`."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size, below, below_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if seconds >= size:
            rest = seconds % size // below_size
            return f"{seconds // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def percent_of(value: Decimal | str) -> str:
    """A confidence with one decimal, rounded down: 84.96 is `84.9 %`."""
    return f"{Decimal(value).quantize(Decimal('0.1'), ROUND_DOWN)} %"
