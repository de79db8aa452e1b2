"""The bundle a builder hands over: five members, and the manifest that ties them together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.canonical import JsonError, parse_json
from audit.coded import CodedError
from handoffs.bundles.archive import MEMBERS, Archive, read_archive, write_archive
from handoffs.bundles.limits import Limits, Problem

__all__ = [
    "MEMBERS",
    "Archive",
    "BundleError",
    "Limits",
    "Manifest",
    "Member",
    "Problem",
    "digest_of",
    "explain",
    "has_digest",
    "parse_manifest",
    "read_archive",
    "read_change",
    "write_archive",
]

SCHEMA_ID: Final = "leoportal/handoff-manifest/v1"
LISTED: Final = ("changes.patch", "rollback.md", "sbom.cdx.json")

type Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]
type CommitId = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\z")]


class BundleError(CodedError):
    """A bundle, or a part of one, that is not what it must be. `code` is stable."""


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Member(_Wire):
    """One line of the manifest's list. Units: `size` in bytes, `sha256` in lower-case hex."""

    name: Literal["changes.patch", "rollback.md", "sbom.cdx.json"]
    size: Annotated[int, Field(ge=0)]
    sha256: Digest


class Manifest(_Wire):
    """`manifest.json`. Units: `created_at` is RFC 3339 in UTC, whole seconds.

    Not checked: that what it says is true; the checks compare it with the rest.
    """

    schema_id: Literal["leoportal/handoff-manifest/v1"] = Field(alias="schema")
    handoff_id: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9._-]{2,63}\z")]
    prd_id: Annotated[str, Field(pattern=r"^PRD-[A-Za-z0-9][A-Za-z0-9._-]{0,59}\z")]
    repository: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}\z", max_length=140)
    ]
    merge_base: CommitId
    branch: Annotated[str, Field(min_length=1, max_length=120)]
    task: Annotated[str, Field(min_length=1, max_length=4000)]
    builder_id: Annotated[str, Field(min_length=1, max_length=500)]
    sponsor: Annotated[str, Field(min_length=1, max_length=200)]
    created_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\z")]
    members: Annotated[list[Member], Field(min_length=3, max_length=3)]


def parse_manifest(raw: bytes, *, max_bytes: int = 256 << 10) -> Manifest:
    """Read `manifest.json`.

    Raises: BundleError("manifest.json") when it is not strict JSON, BundleError("manifest.schema").
    """
    try:
        value = parse_json(raw, max_bytes=max_bytes, max_depth=8)
    except JsonError as error:
        raise BundleError("manifest.json", str(error)) from None
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        raise BundleError("manifest.schema", explain(error)) from None


@dataclass(frozen=True)
class Change:
    """What a bundle asks for: a patch, and the commit it is for."""

    merge_base: str
    patch: bytes


def read_change(raw: bytes, limits: Limits | None = None) -> Change:
    """The change of an archive that was verified before.

    Raises: BundleError with the first problem of the archive or of its manifest.
    """
    archive = read_archive(raw, limits or Limits())
    if archive.problems:
        problem = archive.problems[0]
        raise BundleError(problem.code, f"got {problem.got}, expected {problem.expected}")
    return Change(parse_manifest(archive.members["manifest.json"]).merge_base, archive.members["changes.patch"])


def has_digest(content: bytes, algorithm: str, digest: str) -> bool:
    """Whether bytes have a digest, by an algorithm of hashlib's names."""
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() == digest


def digest_of(content: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def explain(error: ValidationError, *, at_most: int = 8) -> str:
    """What pydantic found, in one line, without repeating the values it refused."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}" for item in found]
    more = f" and {len(lines) - at_most} more" if len(lines) > at_most else ""
    return "; ".join(lines[:at_most]) + more
