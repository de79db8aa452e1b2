"""The builder lane: making a bundle of a commit, or of the work tree, against a merge base.

Deterministic: the same commit, base and request give the same bytes. Nothing is read from the clock;
`created_at` is the committer date of the commit (of HEAD for a work tree) unless the caller says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from audit.canonical import JsonValue, digest_json, write_json
from handoffs.attestations.attestations import build_statement, is_absolute_uri
from handoffs.bundles.bundle import LISTED, SCHEMA_ID, BundleError, digest_of, parse_manifest, write_archive
from handoffs.bundles.markers import is_staging_branch
from handoffs.bundles.paths import escape_text
from handoffs.git.repository import Git, TreeChange
from handoffs.packages.lockfiles import FILE_MODES, delta_of
from handoffs.packages.sbom import Subject, build_sbom

_MAX_BLOB_BYTES = 256 << 20


@dataclass(frozen=True)
class BundleRequest:
    """What the builder says about a change. Units: `created_at` is UTC; None takes the committer date."""

    prd_id: str
    task: str
    builder_id: str
    sponsor: str
    repository: str
    branch: str
    rollback: str | None = None
    created_at: datetime | None = None


def create_bundle(git: Git, *, base: str, commit: str | None, request: BundleRequest) -> bytes:
    """Make `artifact.tar.gz` of `commit`, or of the work tree when it is None, against its merge base with `base`.

    Raises: BundleError for a request that could not be verified, GitError from git.
    Not checked: that the change is acceptable; verify_bundle says so.
    """
    _check_request(request)
    head = git.resolve(commit if commit is not None else "HEAD")
    merge_base = git.merge_base(base, head)
    result = git.tree_of(head) if commit is not None else git.worktree_tree()
    changes = git.changes(merge_base, result)
    if not changes:
        raise BundleError("patch.not_empty", f"got no difference between {merge_base} and the change")
    _check_changes(changes)
    created_at = _stamp(request.created_at or git.committed_at(head))
    patch = git.diff(merge_base, result)
    members = {
        "changes.patch": patch,
        "sbom.cdx.json": _sbom(git, changes, Subject(request.repository, digest_of(patch), created_at)),
        "rollback.md": _rollback(request, merge_base, changes).encode(),
    }
    members["manifest.json"] = _manifest(request, merge_base, created_at, members)
    parse_manifest(members["manifest.json"])
    members["attestation.intoto.json"] = build_statement(
        subjects={name: digest_of(content) for name, content in members.items()},
        repository=request.repository,
        merge_base=merge_base,
        builder_id=request.builder_id,
        parameters={"prd": request.prd_id, "task": request.task, "branch": request.branch},
        created_at=created_at,
    )
    return write_archive(members)


def _check_request(request: BundleRequest) -> None:
    if not is_staging_branch(request.branch):
        detail = f"got {request.branch[:100]!a}, expected staging/codex-<letters, digits, . _ ->"
        raise BundleError("marker.branch", detail)
    if not is_absolute_uri(request.builder_id):
        detail = f"got {request.builder_id[:100]!a}, expected an absolute URI"
        raise BundleError("manifest.people", detail)


def _check_changes(changes: tuple[TreeChange, ...]) -> None:
    """Say early what verification would refuse anyway."""
    for change in changes:
        if change.status != "D" and change.new_mode not in FILE_MODES:
            path = escape_text(change.path)
            raise BundleError("patch.modes", f"got {path} with mode {change.new_mode}, expected an ordinary file")


def _sbom(git: Git, changes: tuple[TreeChange, ...], subject: Subject) -> bytes:
    """The SBOM of the change; a lock file or manifest that cannot be read is refused here, as verification would."""
    sides = [(c.old_blob, c.old_mode) for c in changes] + [(c.new_blob, c.new_mode) for c in changes]
    blobs = git.read_blobs([blob for blob, mode in sides if mode in FILE_MODES], max_bytes=_MAX_BLOB_BYTES)
    delta = delta_of(changes, blobs)
    if delta.malformed:
        path, why = delta.malformed[0]
        raise BundleError("sbom.lock_files", f"got {escape_text(path)}: {why}, expected a well-formed file of its kind")
    files = {c.path: digest_of(blobs[c.new_blob]) for c in changes if c.new_mode in FILE_MODES}
    return build_sbom(subject, files=files, delta=delta)


def _manifest(request: BundleRequest, merge_base: str, created_at: str, members: dict[str, bytes]) -> bytes:
    parts: list[JsonValue] = [request.repository, request.prd_id, request.branch, merge_base, request.task]
    handoff = digest_json([*parts, digest_of(members["changes.patch"])])[:16].upper()
    listed: list[JsonValue] = [
        {"name": name, "size": len(members[name]), "sha256": digest_of(members[name])} for name in LISTED
    ]
    return write_json(
        {
            "schema": SCHEMA_ID,
            "handoff_id": f"CODEX-{handoff}",
            "prd_id": request.prd_id,
            "repository": request.repository,
            "merge_base": merge_base,
            "branch": request.branch,
            "task": request.task,
            "builder_id": request.builder_id,
            "sponsor": request.sponsor,
            "created_at": created_at,
            "members": listed,
        }
    )


def _rollback(request: BundleRequest, merge_base: str, changes: tuple[TreeChange, ...]) -> str:
    """The notes the builder wrote, or the plain truth: revert the one commit."""
    if request.rollback is not None:
        return request.rollback
    verbs = {"A": "deletes", "D": "restores", "M": "restores the earlier", "T": "restores the earlier"}
    lines = [f"* {verbs[change.status]} `{escape_text(change.path)}`" for change in changes[:50]]
    more = [f"* and {len(changes) - 50} more files"] if len(changes) > 50 else []
    return "\n".join(
        [
            "# How to undo this change",
            "",
            "The change is one commit. Revert it and merge the revert:",
            "",
            "    git revert <the commit that carries the marker>",
            "",
            f"That takes the changed files back to {merge_base}:",
            "",
            *lines,
            *more,
            "",
        ]
    )


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
