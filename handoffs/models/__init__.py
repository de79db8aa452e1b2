"""Rows of the builder and enforcer lanes, by subject; other modules import them from here."""

from __future__ import annotations

from handoffs.models.clocks import ClockReading
from handoffs.models.handoff import (
    ENDED,
    SIGNING,
    TRANSITIONS,
    WORKING,
    BundleCheck,
    Handoff,
    HandoffEvent,
    HandoffQuerySet,
    Repository,
    Status,
)
from handoffs.models.keys import (
    KeyRotation,
    KeyRotationQuerySet,
    KeyState,
    Lane,
    RotationStep,
    SigningKey,
)
from handoffs.models.pulls import (
    PULL_OPEN,
    PULL_TRANSITIONS,
    PullRequest,
    PullRequestQuerySet,
    PullStatus,
    PushRefusal,
    RefIntent,
)
from handoffs.models.signing import (
    EnforcerRules,
    Method,
    Signature,
    SigningAttempt,
    SigningDowngrade,
    TransparencyRecord,
    TrustedRootFetch,
    TrustedRootUse,
)
from handoffs.models.work import (
    HEX_COMMIT,
    HEX_SHA256,
    MAX_ATTEMPTS,
    HandoffError,
    StaleStatusError,
    WorkQuerySet,
)

__all__ = [
    "ENDED",
    "HEX_COMMIT",
    "HEX_SHA256",
    "MAX_ATTEMPTS",
    "PULL_OPEN",
    "PULL_TRANSITIONS",
    "SIGNING",
    "TRANSITIONS",
    "WORKING",
    "BundleCheck",
    "ClockReading",
    "EnforcerRules",
    "Handoff",
    "HandoffError",
    "HandoffEvent",
    "HandoffQuerySet",
    "KeyRotation",
    "KeyRotationQuerySet",
    "KeyState",
    "Lane",
    "Method",
    "PullRequest",
    "PullRequestQuerySet",
    "PullStatus",
    "PushRefusal",
    "RefIntent",
    "Repository",
    "RotationStep",
    "Signature",
    "SigningAttempt",
    "SigningDowngrade",
    "SigningKey",
    "StaleStatusError",
    "Status",
    "TransparencyRecord",
    "TrustedRootFetch",
    "TrustedRootUse",
    "WorkQuerySet",
]
