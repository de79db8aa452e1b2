"""What the checks look at: the archive's parts as far as they could be read, and what git found.

Everything is gathered before the first check runs, so the checks are pure functions of an Evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from handoffs.attestations.attestations import Statement, parse_attestation
from handoffs.bundles.bundle import Archive, BundleError, Limits, Manifest, parse_manifest
from handoffs.bundles.patches import Patch
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.patches_reading import parse_patch
from handoffs.bundles.paths import escape_text
from handoffs.checks.judges import LEOPORTAL
from handoffs.git.repository import TreeChange
from handoffs.packages.lockfiles import LockDelta
from handoffs.packages.sbom import Sbom, parse_sbom
from handoffs.rules import Approvals
from handoffs.scope.control_plane import Raised, Steering
from handoffs.scope.secrets import may_hold_secret, redact
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.trust_roots import TrustedRoot

NOT_CHECKED: Final = "not checked"
PATCH: Final = "changes.patch"
_MAX_SHOWN: Final = 1_000


class Outcome(StrEnum):
    """How a check ended. CLAIMED neither fails nor helps: somebody says so and nobody looked."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    CLAIMED = "CLAIMED"


@dataclass(frozen=True)
class CheckResult:
    """One finished check. Units: `got` and `expected` are text for people, safe to print; `tool` name and version."""

    code: str
    group: str
    sentence: str
    outcome: Outcome
    got: str
    expected: str
    tool: str = LEOPORTAL

    @property
    def is_unchecked(self) -> bool:
        """A failure for want of something to look at, not for what was found."""
        return self.outcome is Outcome.FAILED and self.got.startswith(NOT_CHECKED)


@dataclass(frozen=True)
class Judged:
    """What a check function answers; the runner adds code, group and sentence."""

    outcome: Outcome
    got: str
    expected: str


@dataclass(frozen=True)
class BuilderTrust:
    """Whose signature on an attestation counts: for each builder id one exact signer, judged under one root."""

    root: TrustedRoot
    signers: Mapping[str, Signer]


@dataclass(frozen=True)
class BuilderSignature:
    """What a verifier found of the signature on the builder's attestation, and the root it judged by."""

    judged: Judged
    root_digest: str = ""

    @property
    def is_verified(self) -> bool:
        """Whether it holds, and is the pinned signer's."""
        return self.judged.outcome is Outcome.PASSED


@dataclass(frozen=True)
class Context:
    """What the caller knows and the bundle must agree with. A check whose input is None fails.

    `marker_subject` is the subject of the handoff commit; `marker_digest` may be given instead, where
    there is no commit yet. `target_branch` is the protected branch, by name and commit. `allowed_builders`
    None means no list is kept. `other_patches` are SHA-256 of patches of other tasks. `approvals` says
    what is refused where it would otherwise go to LEAD. `max_components_told`: more of a kind are only counted.
    `trust` None: nobody's signature on an attestation is checked, and all of them stay claims.
    """

    repository: str
    marker_subject: str | None = None
    marker_digest: str | None = None
    branch: str | None = None
    target_branch: str | None = None
    target_branch_sha: str | None = None
    allowed_builders: tuple[str, ...] | None = None
    other_patches: frozenset[str] = frozenset()
    max_commits_behind: int | None = None
    max_components_told: int | None = None
    limits: Limits = field(default_factory=Limits)
    approvals: Approvals = field(default_factory=Approvals)
    trust: BuilderTrust | None = None


@dataclass(frozen=True)
class Unreadable:
    """A part that could not be read: the code of the check that says so, and why."""

    code: str
    detail: str


@dataclass(frozen=True)
class GitFacts:
    """What git found out about a bundle.

    `before` maps the paths the patch starts from to their blob ids, `blobs` blob ids to contents.
    `names_before` and `names_after` map the folders of every changed path to the names in them. `packages` is what
    the change does to lock files and manifests; `tool` is git's name and version.
    """

    merge_base_tree: str | None = None
    is_ancestor: bool | None = None
    commits_behind: int | None = None
    result_tree: str | None = None
    apply_error: str = "not tried"
    changes: tuple[TreeChange, ...] = ()
    before: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    blobs: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    blobs_error: str = ""
    names_before: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    names_after: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    steering: Steering = field(default_factory=lambda: Steering(problem="the gates were not looked at"))
    packages: LockDelta = field(default_factory=LockDelta)
    tool: str = ""


@dataclass(frozen=True)
class Change:
    """An archive, and the two of its members that git is asked about."""

    archive: Archive
    manifest: Manifest | Unreadable
    patch: Patch | Unreadable
    context: Context


@dataclass(frozen=True)
class Evidence(Change):
    """Everything the checks may look at. `facts` is None when there is no repository to ask.

    `suspects` are the members, but for the patch, that may hold a credential.
    `raised` is what raises the approvals (`handoffs.checks.reviewability`); None: nobody looked.
    """

    digest: str
    sbom: Sbom | Unreadable
    statement: Statement | Unreadable
    suspects: frozenset[str]
    facts: GitFacts | None = None
    raised: tuple[Raised, ...] | None = None
    signature: BuilderSignature | None = None

    def produced_files(self) -> dict[str, str]:
        """Path to blob id of every changed file that exists after the change."""
        changes = self.facts.changes if self.facts else ()
        return {change.path: change.new_blob for change in changes if change.status != "D"}


def read_parts(archive: Archive, digest: str, context: Context) -> Evidence:
    """Read every part of an archive as far as it goes; git has not been asked yet."""
    return read_rest(read_change(archive, context), digest=lambda: digest, suspects=lambda: suspects_in(archive))


def read_change(archive: Archive, context: Context) -> Change:
    """Read what git needs."""
    members, limits = archive.members, context.limits
    return Change(
        archive=archive,
        manifest=_read(members, "manifest.json", lambda raw: parse_manifest(raw, max_bytes=limits.max_manifest_bytes)),
        patch=_read(members, PATCH, lambda raw: parse_patch(raw, limits)),
        context=context,
    )


def read_rest(change: Change, *, digest: Callable[[], str], suspects: Callable[[], frozenset[str]]) -> Evidence:
    """Read what git does not need; `digest` and `suspects`, which may be in the making, are asked for at the end."""
    members, limits = change.archive.members, change.context.limits
    sbom = _read(members, "sbom.cdx.json", lambda raw: parse_sbom(raw, max_bytes=limits.max_sbom_bytes))
    statement = _read(
        members,
        "attestation.intoto.json",
        lambda raw: parse_attestation(raw, max_bytes=limits.max_attestation_bytes),
    )
    return Evidence(
        archive=change.archive,
        manifest=change.manifest,
        patch=change.patch,
        context=change.context,
        digest=digest(),
        sbom=sbom,
        statement=statement,
        suspects=suspects(),
    )


def suspects_in(archive: Archive) -> frozenset[str]:
    """The members, but for the patch, that may hold a credential."""
    return frozenset(name for name, raw in archive.members.items() if name != PATCH and may_hold_secret(raw))


def _read[T](members: Mapping[str, bytes], name: str, parse: Callable[[bytes], T]) -> T | Unreadable:
    """One member as its parser reads it, or why it could not be read."""
    if name not in members:
        return Unreadable("archive.members", "the archive has no such member")
    try:
        return parse(members[name])
    except (BundleError, PatchError) as error:
        return Unreadable(error.code, error.detail)


def passed(got: str, expected: str = "") -> Judged:
    """The check holds."""
    said = shown(got)
    return Judged(Outcome.PASSED, said, shown(expected) if expected else said)


def failed(got: str, expected: str) -> Judged:
    """The check does not hold."""
    return Judged(Outcome.FAILED, shown(got), shown(expected))


def claimed(got: str, expected: str) -> Judged:
    """Somebody says so; nobody looked."""
    return Judged(Outcome.CLAIMED, shown(got), shown(expected))


def without(part: str, why: Unreadable | str, expected: str) -> Judged:
    """The check could not run, which is a failure: what it needs is not there."""
    reason = why if isinstance(why, str) else why.detail
    return failed(f"{NOT_CHECKED}: {part}: {reason}", expected)


def first_of(items: list[str], *, at_most: int = 8) -> str:
    """A list for people, cut after some."""
    more = f" and {len(items) - at_most} more" if len(items) > at_most else ""
    return ", ".join(items[:at_most]) + more


def shown(text: str) -> str:
    """Untrusted text made safe to print: credentials redacted, cut at 1,000 characters."""
    return escape_text(redact(text)[:_MAX_SHOWN])
