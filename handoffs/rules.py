"""The part of the policy that the enforcer lane obeys: how to sign, what raises the approvals, how much is too much.

The policy document (`verdicts.policy_document`) holds these models; enacting it stores them for the lane, so that
handoffs need not know the verdict's half.
Source: product.md sections 3, 4 and 7; ATT-04, ATT-10 and BUN-10 of the threat list.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from audit.canonical import JsonValue
from audit.coded import CodedError

_WILD: Final = re.compile(r"[*?\[\](){}|^$\\\s]")
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_Name = Annotated[str, StringConstraints(max_length=300)]


class RulesError(CodedError):
    """Rules that are refused. `code` is stable."""


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Signing(_Document):
    """How the enforcer signs. `sigstore` needs one exact identity and issuer; `openpgp` is for air-gapped deployments.

    The identity is a URI, never an e-mail address: certificates are public (ATT-15).

    `fallback` says whether OpenPGP may stand in when Sigstore is down: never, or after `probes` failed probes over
    `probe_seconds`, and only when LEAD acknowledged it for the handoff.
    """

    method: Literal["sigstore", "openpgp"] = "openpgp"
    identity: _Name = ""
    issuer: _Name = ""
    fallback: Literal["never", "acknowledged"] = "never"
    probes: Annotated[int, Field(ge=3, le=20)] = 3
    probe_seconds: Annotated[int, Field(ge=600, le=86_400)] = 600

    @model_validator(mode="after")
    def _refuse_vague_identity(self) -> Self:
        if self.method == "sigstore":
            refuse_vague(self.identity, self.issuer)
            if "://" not in self.identity:
                raise ValueError(f"got the identity {self.identity[:80]!r}, expected a URI: it stands in a public log")
        elif self.identity or self.issuer:
            raise ValueError("identity and issuer belong to method sigstore")
        return self


class BuilderIdentity(_Document):
    """The one Sigstore identity under which a builder signs its own attestation; without that signature it is refused.

    `source_repository_id` is GitHub's number of the repository whose workflow signs, compared if it is given.
    """

    builder_id: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    identity: _Name
    issuer: _Name
    source_repository_id: Annotated[str, Field(pattern=r"^[0-9]{0,20}\z")] = ""

    @model_validator(mode="after")
    def _refuse_vague_identity(self) -> Self:
        refuse_vague(self.identity, self.issuer)
        return self


class Approvals(_Document):
    """What a change of each kind needs on top of PLAN's PASS. lead: it escalates to LEAD; refuse: it is not taken.

    control_plane: it changes what steers the gates. unreviewable: binary or minified content, files of over 1 MiB,
    executable bits. informational_gate: it makes a gate unable to fail.
    """

    control_plane: Literal["lead", "refuse"] = "lead"
    unreviewable: Literal["lead", "refuse"] = "lead"
    informational_gate: Literal["lead", "refuse"] = "lead"


class Quotas(_Document):
    """The most the builder lane hands over to one repository in an hour. Units: handoffs; bytes of artifacts."""

    handoffs: Annotated[int, Field(ge=1, le=10_000)] = 60
    bytes: Annotated[int, Field(ge=1, le=1 << 40)] = 1 << 30


class RootAge(_Document):
    """How old a Sigstore trusted root may be: no builder's signature is judged by one that nobody refreshed for longer.

    Units: days since it was last fetched, or since its file was written. None: it is flagged, and used.
    """

    max_age_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class BuilderKey(_Document):
    """The OpenPGP certificate a builder signs its staging commits with, and its full primary fingerprint."""

    builder_id: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    fingerprint: Annotated[str, StringConstraints(pattern=r"^(?:[0-9A-F]{40}|[0-9A-F]{64})\z")]
    public_key: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class Staging(_Document):
    """Who hands over. open: whoever may push to `staging/codex-*`. signed: only a commit that one of `keys` signed."""

    push: Literal["open", "signed"] = "open"
    keys: Annotated[tuple[BuilderKey, ...], Field(strict=False, max_length=20)] = ()

    @model_validator(mode="after")
    def _refuse_signed_by_nobody(self) -> Self:
        if self.push == "signed" and not self.keys:
            raise ValueError("got push signed without a key, expected the builders' keys")
        if len({key.fingerprint for key in self.keys}) != len(self.keys):
            raise ValueError("a builder's key is listed twice")
        return self


class LaneRules(_Document):
    """Everything the enforcer lane reads of the policy in force."""

    signing: Signing = Field(default_factory=Signing)
    approvals: Approvals = Field(default_factory=Approvals)
    hourly_quota: Quotas = Field(default_factory=Quotas)
    staging: Staging = Field(default_factory=Staging)
    builder_identities: Annotated[tuple[BuilderIdentity, ...], Field(strict=False, max_length=100)] = ()
    trusted_root: RootAge = Field(default_factory=RootAge)


def refuse_vague(identity: str, issuer: str) -> None:
    """An identity and an issuer are compared exactly; a pattern, an empty text or a plain-text issuer is refused.

    Raises: ValueError.
    """
    for what, value in (("identity", identity), ("issuer", issuer)):
        if len(value) < 3 or _WILD.search(value) or not value.isascii():
            raise ValueError(f"got the {what} {value[:80]!r}, expected one exact value without patterns")
    parts = urlsplit(issuer)
    is_local = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not (parts.hostname and (parts.scheme == "https" or is_local)):
        raise ValueError(f"got the issuer {issuer[:80]!r}, expected an https address")


def rules_to_json(rules: LaneRules) -> dict[str, JsonValue]:
    """The stored form."""
    document: dict[str, JsonValue] = rules.model_dump(mode="json")
    return document


def rules_from_json(value: object) -> LaneRules:
    """Read the stored form.

    Raises: RulesError("rules.malformed").
    """
    try:
        return LaneRules.model_validate(value)
    except ValidationError as error:
        raise RulesError("rules.malformed", str(error.errors(include_url=False, include_input=False))[:500]) from None
