"""Verifying a bundle: read it, let git apply the patch, then run every check on what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from handoffs.builder_signatures import judge_builder_signature
from handoffs.bundle import Bundle, digest_of
from handoffs.checks import CheckResult, Context, Evidence, GitFacts, Outcome, read_parts, run_checks
from handoffs.checks_patch import FILE_MODES
from handoffs.evidence import Unreadable
from handoffs.git import Git, TreeChange
from handoffs.git_index import Folder, read_tree, result_of
from handoffs.git_process import GitError
from handoffs.scope import control_plane_paths
from handoffs.slsa import SlsaProperty, slsa_properties

GITLINK: Final = "160000"
WORKFLOWS: Final = ".github/workflows"
_MAX_WORKFLOW_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Report:
    """What verification found. Units: `digest` is the archive's SHA-256 in hex.

    `is_verified` is true only if no check failed. `bundle` is None where manifest or members could not
    be read. `result_tree` and `changes` are git's; empty where git was not asked or refused. `trusted_root_digest` is
    of the root that the builder's signature was judged by; empty if it was not.
    """

    digest: str
    results: tuple[CheckResult, ...]
    is_verified: bool
    bundle: Bundle | None
    result_tree: str | None
    changes: tuple[TreeChange, ...]
    control_plane_paths: tuple[str, ...]
    slsa: tuple[SlsaProperty, ...] = ()
    trusted_root_digest: str = ""


def verify_bundle(raw: bytes, *, git: Git | None, context: Context) -> Report:
    """Verify the bytes of `artifact.tar.gz`. Without a repository what needs one fails as `not checked`.

    Not checked: who pushed it, and the enforcer's own signature.
    """
    digest = digest_of(raw)
    evidence = read_parts(raw, digest, context)
    evidence = replace(evidence, signature=judge_builder_signature(evidence))
    facts = gather_facts(evidence, git) if git is not None else None
    results = run_checks(evidence, facts)
    changes = facts.changes if facts else ()
    steering = control_plane_paths((change.path for change in changes), facts.workflows if facts else ())
    manifest = evidence.manifest
    members = evidence.archive.members
    is_whole = not isinstance(manifest, Unreadable) and len(members) == 5
    return Report(
        digest=digest,
        results=results,
        is_verified=all(result.outcome is not Outcome.FAILED for result in results),
        bundle=Bundle(digest, members, manifest) if is_whole and not isinstance(manifest, Unreadable) else None,
        result_tree=facts.result_tree if facts else None,
        changes=changes,
        control_plane_paths=tuple(steering),
        slsa=slsa_properties(replace(evidence, facts=facts), results),
        trusted_root_digest=evidence.signature.root_digest if evidence.signature else "",
    )


def gather_facts(evidence: Evidence, git: Git) -> GitFacts:
    """Ask git everything the checks need; what git refuses stays unknown and its checks fail."""
    manifest = evidence.manifest
    if isinstance(manifest, Unreadable):
        return GitFacts(apply_error="the manifest cannot be read")
    base = manifest.merge_base
    try:
        base_tree = git.tree_of(base)
    except GitError as error:
        return GitFacts(apply_error=error.detail)
    ancestor, behind = _ancestry(git, base, evidence.context)
    patch = evidence.archive.members.get("changes.patch")
    if not patch:
        missing = "the patch is empty" if patch == b"" else "the archive has no patch"
        return GitFacts(base_tree, ancestor, behind, apply_error=missing)
    files = None if isinstance(evidence.patch, Unreadable) else evidence.patch.files
    try:
        result = result_of(git, base_tree, patch, files)
        changes = git.changes(base_tree, result)
    except GitError as error:
        return GitFacts(base_tree, ancestor, behind, apply_error=error.detail)
    known = GitFacts(base_tree, ancestor, behind, result_tree=result, apply_error="", changes=changes)
    try:
        return _with_contents(git, known, base_tree, result, evidence)
    except GitError as error:
        return replace(known, blobs_error=error.detail)


def _ancestry(git: Git, base: str, context: Context) -> tuple[bool | None, int | None]:
    """Whether the base lies in the target's history, and how many commits behind it is (counted only if asked)."""
    target = context.target_branch_sha
    if target is None:
        return None, None
    try:
        is_ancestor = base == target or git.is_ancestor(base, target)
        behind = None
        if context.max_commits_behind is not None:
            behind = int(git.run("rev-list", "--count", f"{base}..{target}", "--"))
    except GitError:
        return None, None
    return is_ancestor, behind


def _with_contents(git: Git, known: GitFacts, base_tree: str, result: str, evidence: Evidence) -> GitFacts:
    """Add the contents of both sides, the names around new paths, and the workflows: one process, two at most."""
    changes = known.changes
    id_bytes = len(base_tree) // 2
    before = {change.path: change.old_blob for change in changes if set(change.old_blob) != {"0"}}
    files = () if isinstance(evidence.patch, Unreadable) else evidence.patch.files
    sources = [f.old_path for f in files if f.old_path is not None and f.old_path not in before]
    wanted = [
        blob
        for change in changes
        for mode, blob in ((change.old_mode, change.old_blob), (change.new_mode, change.new_blob))
        if mode.startswith("1") and mode != GITLINK
    ]
    folders = sorted({folder for change in changes if change.status == "A" for folder in _folders(change.path)})
    trees = [f"{tree}:{folder}" for tree in (base_tree, result) for folder in (*folders, WORKFLOWS)]
    asked = [*wanted, *(f"{base_tree}:{path}" for path in sources), *trees]
    found = git.read_objects(asked, max_bytes=evidence.context.limits.max_blob_bytes)
    blobs = {blob: item[1] for blob in wanted if (item := found[blob]) is not None}
    for path in sources:
        item = found[f"{base_tree}:{path}"]
        if item is not None and item[0] == "blob":
            before[path] = _blob_id(item[1], id_bytes)
            blobs[before[path]] = item[1]
    entries = {
        name: read_tree(item[1], id_bytes) if (item := found[name]) and item[0] == "tree" else {} for name in trees
    }
    workflows = [
        entry.object_id
        for tree in (base_tree, result)
        for entry in entries[f"{tree}:{WORKFLOWS}"].values()
        if entry.mode in FILE_MODES
    ]
    return replace(
        known,
        before=MappingProxyType(before),
        blobs=MappingProxyType(blobs),
        names_before=_names(entries, base_tree, folders),
        names_after=_names(entries, result, folders),
        workflows=tuple(git.read_blobs(workflows, max_bytes=_MAX_WORKFLOW_BYTES).values()),
    )


def _names(entries: Mapping[str, Folder], tree: str, folders: Iterable[str]) -> Mapping[str, frozenset[str]]:
    return MappingProxyType(
        {
            folder: frozenset(name.decode("utf-8", "surrogateescape") for name in entries[f"{tree}:{folder}"])
            for folder in folders
        }
    )


def _folders(path: str) -> list[str]:
    """Every folder above a path; the root is the empty text."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def _blob_id(content: bytes, id_bytes: int) -> str:
    """The id git gives a blob, in the hash the repository uses."""
    algorithm = "sha1" if id_bytes == 20 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
