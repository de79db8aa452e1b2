"""The catalogue of governed acts, and who can perform them. Values are never renamed or reused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from audit.coded import CodedError


class Role(StrEnum):
    """A lane or duty. Source: SOP sections 1 and 2; REPORTER is a gate or an outside reviewer.

    ADMIN keeps the registry of principals, always two at a time, and is disjoint from every other lane.

    OPERATOR is who acts on the machine itself (`manage.py operate`). It is granted to nobody, so nobody has it in the
    portal.
    """

    BUILDER = "BUILDER"
    ENFORCER = "ENFORCER"
    PLAN = "PLAN"
    LEAD = "LEAD"
    AUDITOR = "AUDITOR"
    REPORTER = "REPORTER"
    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"


GRANTED: Final = tuple(role for role in Role if role is not Role.OPERATOR)


@dataclass(frozen=True)
class Actor:
    """A principal in one role. The log has its number; `name` is for answers to people, never for what is kept."""

    principal_id: int
    name: str
    role: Role


def numbered(principal_id: int) -> str:
    """How a sentence says who it is about. It may be kept, and a name could not be erased from it (`audit.names`)."""
    return f"principal {principal_id}"


class AuditError(CodedError):
    """A refusal by the trail or by separation of duties. `code` is stable."""


HANDOFF_RECEIVED: Final = "handoff.received"
HANDOFF_VERIFIED: Final = "handoff.verified"
HANDOFF_REFUSED: Final = "handoff.refused"
HANDOFF_APPLYING: Final = "handoff.applying"
HANDOFF_SIGNED: Final = "handoff.signed"
HANDOFF_RESIGNED: Final = "handoff.resigned"
HANDOFF_APPLIED: Final = "handoff.applied"
HANDOFF_OPENED: Final = "handoff.opened"
HANDOFF_TRIGGERED: Final = "handoff.triggered"
HANDOFF_SUPERSEDED: Final = "handoff.superseded"
HANDOFF_RETRIED: Final = "handoff.retried"
GATE_REPORTED: Final = "gate.reported"
AGENT_REPORTED: Final = "agent.reported"
ROUND_STARTED: Final = "round.started"
VERDICT_RECORDED: Final = "verdict.recorded"
VERDICT_REFUSED: Final = "verdict.refused"
VERDICT_STALE: Final = "verdict.stale"
PULL_TIMED_OUT: Final = "pull.timed_out"
DECISION_RECORDED: Final = "decision.recorded"
DECISION_REFUSED: Final = "decision.refused"
APPROVAL_EXPIRED: Final = "approval.expired"
BREAK_GLASS_REQUESTED: Final = "break_glass.requested"
BREAK_GLASS_OPENED: Final = "break_glass.opened"
BREAK_GLASS_REVIEWED: Final = "break_glass.reviewed"
BREAK_GLASS_REFUSED: Final = "break_glass.refused"
MERGE_INTENDED: Final = "merge.intended"
CHECK_INTENDED: Final = "check.intended"
PULL_MERGED: Final = "pull.merged"
PULL_CLOSED: Final = "pull.closed"
PULL_REOPENED: Final = "pull.reopened"
COMMIT_LANDED: Final = "commit.landed"
BYPASS_DETECTED: Final = "bypass.detected"
MERGE_REFUSED: Final = "merge.refused"
PUSH_REFUSED: Final = "push.refused"
POLICY_ENACTED: Final = "policy.enacted"
KEY_CREATED: Final = "key.created"
KEY_ROTATION_REQUESTED: Final = "key.rotation_requested"
KEY_ROTATION_CANCELLED: Final = "key.rotation_cancelled"
KEY_ROTATED: Final = "key.rotated"
KEY_REVOKED: Final = "key.revoked"
KEY_EXPIRED: Final = "key.expired"
MARKER_FORGED: Final = "marker.forged"
HANDOFF_QUARANTINED: Final = "handoff.quarantined"
SIGNING_STARTED: Final = "signing.started"
SIGNING_UNAVAILABLE: Final = "signing.unavailable"
SIGNING_REFUSED: Final = "signing.refused"
SIGNING_DOWNGRADED: Final = "signing.downgrade"
SIGNING_ORPHANED: Final = "signing.orphan"
SIGNING_LOGGED: Final = "signing.logged"
TRUSTED_ROOT_TAKEN: Final = "trusted_root.taken"
TRUSTED_ROOT_FETCHED: Final = "trusted_root.fetched"
TRUSTED_ROOT_REFUSED: Final = "trusted_root.refused"
VERDICT_ATTESTED: Final = "verdict.attested"
DECISION_ATTESTED: Final = "decision.attested"
POLICY_ATTESTED: Final = "policy.attested"
IDENTITY_LINKED: Final = "identity.linked"
IDENTITY_UNLINKED: Final = "identity.unlinked"
ROLE_GRANTED: Final = "role.granted"
ROLE_ENDED: Final = "role.ended"
PERSONS_LINKED: Final = "persons.linked"
PERSONS_UNLINKED: Final = "persons.unlinked"
ADMINISTRATORS_APPOINTED: Final = "administrators.appointed"
CHANGE_PROPOSED: Final = "change.proposed"
CHANGE_APPROVED: Final = "change.approved"
CHANGE_DECLINED: Final = "change.declined"
CHANGE_REFUSED: Final = "change.refused"
CHANGE_WITHDRAWN: Final = "change.withdrawn"
TOKEN_ISSUED: Final = "token.issued"  # noqa: S105 - the name of an event
PERSON_ERASED: Final = "person.erased"
TEXTS_ERASED: Final = "texts.erased"
BUNDLES_ERASED: Final = "bundles.erased"
HOLD_SET: Final = "hold.set"
HOLD_ENDED: Final = "hold.ended"
EXPORT_MADE: Final = "export.made"
EXPORT_SEALED: Final = "export.sealed"
REPOSITORY_GOVERNED: Final = "repository.governed"
PROTECTION_EXPECTED: Final = "protection.expected"
PROTECTION_AGREED: Final = "protection.agreed"
PROTECTION_DRIFTED: Final = "protection.drifted"
CANARY_REFUSED: Final = "canary.refused"
CANARY_MERGED: Final = "canary.merged"
CANARY_UNPROVEN: Final = "canary.unproven"
REPOSITORY_RENAMED: Final = "repository.renamed"
EPOCH_OPENED: Final = "epoch.opened"
CATALOG_DRIFTED: Final = "catalog.drifted"
CATALOG_AGREED: Final = "catalog.agreed"
OF_TROUBLE: Final = frozenset({EPOCH_OPENED, CATALOG_DRIFTED, CATALOG_AGREED})
QUORUM_SET: Final = "quorum.set"
SESSION_STARTED: Final = "session.started"
SESSION_REFUSED: Final = "session.refused"
WEBHOOK_REFUSED: Final = "webhook.refused"
EVIDENCE_RECEIVED: Final = "evidence.received"
PROJECTION_REPAIRED: Final = "projection.repaired"
COMMAND_DONE: Final = "command.done"
COMMAND_REFUSED: Final = "command.refused"
