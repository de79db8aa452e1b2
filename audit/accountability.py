"""The accountability matrix: one table from which every permission comes. Pure.

Views, the API, Celery tasks and actions ask `require`; nothing else in the code decides by role.
Source: SOP section 5 (the first eight acts); the rest follows from SOP sections 2 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from audit.events import Actor, AuditError, Role, numbered


class Act(StrEnum):
    """Something a role may or may not do."""

    GENERATE_PATCH = "bundle.generate"
    SIGN_ARTIFACT = "artifact.sign"
    CREATE_PULL_REQUEST = "pull.open"
    TRIGGER_WORKFLOWS = "workflow.trigger"
    MONITOR_GATES = "gate.monitor"
    ISSUE_VERDICT = "verdict.record"
    REVIEW_ESCALATION = "decision.record"
    BREAK_GLASS = "break_glass.request"
    COUNTERSIGN_BREAK_GLASS = "break_glass.open"
    REVIEW_BREAK_GLASS = "break_glass.review"
    VIEW_BREAK_GLASS = "break_glass.view"
    RUN_VERIFICATION = "verification.run"
    RERUN_GATE = "gate.rerun"
    MERGE = "pull.merge"
    REPORT_RESULT = "result.report"
    ACKNOWLEDGE_DOWNGRADE = "signing.acknowledge"
    ROTATE_KEY = "key.rotate"
    REVOKE_KEY = "key.revoke"
    REFRESH_ROOT = "trusted_root.refresh"
    VIEW_KEYS = "key.view"
    ATTEST = "statement.sign"
    CHANGE_REGISTRY = "registry.change"
    VIEW_REGISTRY = "registry.view"
    VIEW_HANDOFFS = "handoff.view"
    VIEW_PULLS = "pull.view"
    VIEW_REPOSITORIES = "repository.view"
    SET_UP_APPS = "apps.set_up"
    VIEW_TRAIL = "audit.view"
    EXPORT_TRAIL = "audit.export"


_WATCHERS: Final = frozenset({Role.ENFORCER, Role.PLAN, Role.LEAD, Role.AUDITOR})

MATRIX: Final[Mapping[Act, frozenset[Role]]] = {
    Act.GENERATE_PATCH: frozenset({Role.BUILDER}),
    Act.SIGN_ARTIFACT: frozenset({Role.ENFORCER}),
    Act.CREATE_PULL_REQUEST: frozenset({Role.ENFORCER}),
    Act.TRIGGER_WORKFLOWS: frozenset({Role.ENFORCER}),
    Act.MONITOR_GATES: frozenset({Role.PLAN}),
    Act.ISSUE_VERDICT: frozenset({Role.PLAN}),
    Act.REVIEW_ESCALATION: frozenset({Role.LEAD}),
    Act.BREAK_GLASS: frozenset({Role.LEAD}),
    Act.COUNTERSIGN_BREAK_GLASS: frozenset({Role.LEAD, Role.ADMIN}),
    Act.REVIEW_BREAK_GLASS: frozenset({Role.LEAD, Role.ADMIN}),
    Act.VIEW_BREAK_GLASS: _WATCHERS | {Role.ADMIN},
    Act.RUN_VERIFICATION: frozenset({Role.PLAN}),
    Act.RERUN_GATE: frozenset({Role.PLAN, Role.ENFORCER}),
    Act.MERGE: frozenset({Role.PLAN, Role.LEAD}),
    Act.REPORT_RESULT: frozenset({Role.REPORTER}),
    Act.ACKNOWLEDGE_DOWNGRADE: frozenset({Role.LEAD}),
    Act.ROTATE_KEY: frozenset({Role.ENFORCER, Role.OPERATOR}),
    Act.REVOKE_KEY: frozenset({Role.ENFORCER, Role.LEAD, Role.OPERATOR}),
    Act.REFRESH_ROOT: frozenset({Role.OPERATOR}),
    Act.VIEW_KEYS: _WATCHERS,
    Act.ATTEST: frozenset({Role.REPORTER}),
    Act.CHANGE_REGISTRY: frozenset({Role.ADMIN}),
    Act.VIEW_REGISTRY: frozenset({Role.ADMIN, Role.AUDITOR}),
    Act.VIEW_HANDOFFS: _WATCHERS,
    Act.VIEW_PULLS: frozenset({Role.PLAN, Role.LEAD, Role.AUDITOR}),
    Act.VIEW_REPOSITORIES: _WATCHERS | {Role.ADMIN},
    Act.SET_UP_APPS: frozenset({Role.ADMIN}),
    Act.VIEW_TRAIL: frozenset({Role.PLAN, Role.LEAD, Role.AUDITOR}),
    Act.EXPORT_TRAIL: frozenset({Role.AUDITOR}),
}


def may(role: Role, act: Act) -> bool:
    """Whether the matrix gives `act` to `role`. What is not in the table is refused."""
    return role in MATRIX[act]


def require(actor: Actor, act: Act) -> None:
    """Raises AuditError("role.not_allowed") unless the actor's role may do this."""
    if not may(actor.role, act):
        allowed = ", ".join(sorted(role.value for role in MATRIX[act]))
        who = numbered(actor.principal_id)
        raise AuditError("role.not_allowed", f"{who} is {actor.role}; {act.value} takes {allowed}")
