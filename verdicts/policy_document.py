"""The policy document: one versioned YAML text that holds every number a verdict depends on.

Import the names from `verdicts.policy`.
Source: SOP sections 2.1, 3 and 6; product.md sections 6 and 7.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from audit.canonical import JsonValue, digest_json
from audit.coded import CodedError
from handoffs.github.contexts import context_problem
from handoffs.rules import Approvals, BuilderIdentity, LaneRules, Quotas, RootAge, Signing, Staging
from handoffs.strict_yaml import YamlError, parse_yaml_values
from verdicts.findings import AgentKind, describe

SCHEMA: Final = "leoportal/policy/v1"
MAX_POLICY_BYTES: Final = 64 << 10
MAX_DEPTH: Final = 8
MAX_VALUES: Final = 10_000
LOWEST_THRESHOLD: Final = Decimal("85.00")
LONGEST_DEADLINE_SECONDS: Final = 4 * 3600
MOST_ROUNDS: Final = 3
DEFAULT_FILE: Final = Path(__file__).with_name("default_policy.yaml")

# The four required checks, in the SOP's own words, and whether the check is PLAN's verdict itself.
SOP_GATES: Final = (
    ("LEO Gate Validation / Run Gate 3 for PRD-*", True),
    ("Story Release Gate Check / Check Story Release Gate", False),
    ("SLSA Verification / Verify SLSA Provenance", False),
    ("Policy Verification / Validate Policy Bundle", False),
)
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,2})(\.[0-9]{1,4})?")


class PolicyError(CodedError):
    """A policy document that is refused. `code` is stable, `detail` says got and expected."""


def _read_decimal(value: object) -> Decimal:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError(f"got {value!r:.40}, expected a decimal number written as a string, such as '0.30'")
    return Decimal(value)


_Exact = Annotated[Decimal, BeforeValidator(_read_decimal), PlainSerializer(str, return_type=str)]


def _refuse_vague_name(name: str) -> str:
    if problem := context_problem(name):
        raise ValueError(f"{name[:80]!r} cannot be the name of a check: {problem}")
    return name


_Literal = Annotated[str, AfterValidator(_refuse_vague_name)]
_Pattern = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s?\[\]\x00-\x1f\x7f]([^?\[\]\x00-\x1f\x7f]*[^\s?\[\]\x00-\x1f\x7f])?$",
    ),
]
_Positive = Annotated[int, Field(ge=1, le=1 << 32)]


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Weights(_Document):
    """The share of each sub-agent in the confidence; strictly falling in the order of authority, in sum exactly 1."""

    SECURITY: _Exact
    DATABASE: _Exact
    TESTING: _Exact
    PERFORMANCE: _Exact
    DESIGN: _Exact

    @model_validator(mode="after")
    def _refuse_wrong_authority(self) -> Self:
        values = [self.of(kind) for kind in AgentKind]
        if sum(values) != 1:
            raise ValueError(f"weights sum to {sum(values)}, expected exactly 1")
        if values[-1] <= 0 or any(left <= right for left, right in pairwise(values)):
            raise ValueError("expected SECURITY > DATABASE > TESTING > PERFORMANCE > DESIGN > 0")
        return self

    def of(self, kind: AgentKind) -> Decimal:
        """The weight of one sub-agent."""
        value: Decimal = getattr(self, kind.value)
        return value


class Gate(_Document):
    """One required check. `name` is the SOP's and may hold `*`, `check_name` is what the portal publishes."""

    key: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    name: _Pattern
    check_name: _Literal
    is_own: bool


class Limits(_Document):
    """The most a bundle may be."""

    bundle_bytes: _Positive
    patch_bytes: _Positive
    sbom_bytes: _Positive
    changed_files: _Positive
    merge_base_age_days: _Positive


class Policy(_Document):
    """The rules of one repository.

    Units: threshold and disagreement_confidence 0 to 100, two decimals; deadlines in seconds; limits in bytes.
    """

    policy_schema: Annotated[Literal["leoportal/policy/v1"], Field(alias="schema")]
    threshold: _Exact
    weights: Weights
    gates: Annotated[tuple[Gate, ...], Field(strict=False, min_length=4, max_length=20)]
    gate_deadline_seconds: Annotated[int, Field(ge=1, le=LONGEST_DEADLINE_SECONDS)]
    disagreement_confidence: _Exact
    max_rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    allowed_builders: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...], Field(strict=False, max_length=100)
    ]
    limits: Limits
    lead_approval: Literal["escalated", "always"]
    signing: Signing = Field(default_factory=Signing)
    approvals: Approvals = Field(default_factory=Approvals)
    hourly_quota: Quotas = Field(default_factory=Quotas)
    staging: Staging = Field(default_factory=Staging)
    builder_identities: Annotated[tuple[BuilderIdentity, ...], Field(strict=False, max_length=100)] = ()
    trusted_root: RootAge = Field(default_factory=RootAge)

    @model_validator(mode="after")
    def _refuse_laxer_than_the_sop(self) -> Self:
        if not LOWEST_THRESHOLD <= self.threshold <= 100 or -int(self.threshold.as_tuple().exponent) > 2:
            raise ValueError(f"threshold {self.threshold}, expected 85.00 to 100.00 with at most two decimals")
        if self.disagreement_confidence > 100:
            raise ValueError(f"disagreement_confidence {self.disagreement_confidence}, expected at most 100")
        found = {(gate.name, gate.is_own) for gate in self.gates}
        absent = [name for name, is_own in SOP_GATES if (name, is_own) not in found]
        if absent:
            raise ValueError(f"the SOP's gate is absent or has the wrong is_own: {absent[0]!r}")
        if sum(1 for gate in self.gates if gate.is_own) != 1:
            raise ValueError("expected exactly one gate that is PLAN's own verdict")
        for what in ("key", "name", "check_name"):
            values = [getattr(gate, what).casefold() for gate in self.gates]
            if len(set(values)) != len(values):
                raise ValueError(f"two gates have the same {what}")
        if len(set(self.allowed_builders)) != len(self.allowed_builders):
            raise ValueError("a builder is listed twice")
        named = {known.builder_id for known in self.builder_identities}
        named |= {key.builder_id for key in self.staging.keys}
        foreign = named - set(self.allowed_builders)
        if foreign:
            raise ValueError(f"builder_identities or staging.keys name {min(foreign)!r}, which is no allowed builder")
        return self

    @property
    def lane_rules(self) -> LaneRules:
        """What the enforcer lane reads of this policy."""
        return LaneRules(
            signing=self.signing,
            approvals=self.approvals,
            hourly_quota=self.hourly_quota,
            staging=self.staging,
            builder_identities=self.builder_identities,
            trusted_root=self.trusted_root,
        )

    @property
    def input_gates(self) -> tuple[Gate, ...]:
        """The gates a verdict waits for: all but PLAN's own, which is the verdict."""
        return tuple(gate for gate in self.gates if not gate.is_own)

    @property
    def own_gate(self) -> Gate:
        """The gate that is PLAN's verdict."""
        return next(gate for gate in self.gates if gate.is_own)

    def gate_for(self, reported_name: str) -> Gate | None:
        """The gate a workflow's reported name belongs to, or None. `*` matches any run of characters, case counts."""
        return next((gate for gate in self.gates if fnmatchcase(reported_name, gate.name)), None)

    @property
    def digest(self) -> str:
        """SHA-256 hex of the canonical JSON form: two texts with the same meaning have the same digest."""
        return digest_json(policy_to_json(self))


def default_policy_yaml() -> bytes:
    """The text a repository starts with."""
    return DEFAULT_FILE.read_bytes()


def parse_policy(raw: bytes) -> Policy:
    """Read a policy document.

    Refuses what YAML's strict reader refuses, unknown keys, and everything laxer than the SOP.
    Raises: PolicyError `yaml.*` for what is wrong with the text, `policy.refused` for what is wrong with the rules.
    """
    try:
        document = parse_yaml_values(raw, max_bytes=MAX_POLICY_BYTES, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    except YamlError as error:
        raise PolicyError(error.code, f"line {error.line}: {error.detail}") from None
    return policy_from_json(document)


def policy_to_json(policy: Policy) -> dict[str, JsonValue]:
    """The canonical JSON form; exact numbers are strings."""
    document: dict[str, JsonValue] = policy.model_dump(mode="json", by_alias=True)
    return document


def policy_from_json(value: object) -> Policy:
    """Read the JSON form back.

    Raises: PolicyError("policy.refused").
    """
    try:
        return Policy.model_validate(value)
    except ValidationError as error:
        raise PolicyError("policy.refused", describe(error)) from None
