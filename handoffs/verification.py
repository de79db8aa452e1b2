"""Verifying a bundle: read it, let git apply the patch, then run every check on what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from handoffs.bundle import Bundle, digest_of
from handoffs.checks import CheckResult, Context, Evidence, GitFacts, Outcome, read_parts, run_checks
from handoffs.evidence import Unreadable
from handoffs.git import Git, TreeChange
from handoffs.git_process import GitError
from handoffs.scope import control_plane_paths

GITLINK: Final = "160000"
WORKFLOWS: Final = ".github/workflows"
_MAX_TREE_BYTES: Final = 64 << 20
_MAX_WORKFLOW_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Report:
    """What verification found. Units: `digest` is the archive's SHA-256 in hex.

    `is_verified` is true only if no check failed. `bundle` is None where manifest or members could not
    be read. `result_tree` and `changes` are git's; empty where git was not asked or refused.
    """

    digest: str
    results: tuple[CheckResult, ...]
    is_verified: bool
    bundle: Bundle | None
    result_tree: str | None
    changes: tuple[TreeChange, ...]
    control_plane_paths: tuple[str, ...]


def verify_bundle(raw: bytes, *, git: Git | None, context: Context) -> Report:
    """Verify the bytes of `artifact.tar.gz`. Without a repository what needs one fails as `not checked`.

    Not checked: who pushed it, and signatures; those are the enforcer's.
    """
    digest = digest_of(raw)
    evidence = read_parts(raw, digest, context)
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
        error = "the patch is empty" if patch == b"" else "the archive has no patch"
        return GitFacts(base_tree, ancestor, behind, apply_error=error)
    try:
        result = git.result_tree(base, patch)
        changes = git.changes(base, result)
    except GitError as error:
        return GitFacts(base_tree, ancestor, behind, apply_error=error.detail)
    before, blobs, blobs_error = _contents(git, base_tree, evidence, changes)
    names_before, names_after = _names(git, base_tree, result, changes)
    return GitFacts(
        merge_base_tree=base_tree,
        is_ancestor=ancestor,
        commits_behind=behind,
        result_tree=result,
        apply_error="",
        changes=changes,
        before=MappingProxyType(before),
        blobs=MappingProxyType(blobs),
        blobs_error=blobs_error,
        names_before=MappingProxyType(names_before),
        names_after=MappingProxyType(names_after),
        workflows=_workflows(git, (base_tree, result)),
    )


def _ancestry(git: Git, base: str, context: Context) -> tuple[bool | None, int | None]:
    """Whether the base lies in the target's history, and how many commits behind it is (counted only if asked)."""
    target = context.target_branch_sha
    if target is None:
        return None, None
    try:
        is_ancestor = git.is_ancestor(base, target)
        behind = None
        if context.max_commits_behind is not None:
            behind = int(git.run("rev-list", "--count", f"{base}..{target}", "--"))
    except GitError:
        return None, None
    return is_ancestor, behind


def _contents(
    git: Git, base_tree: str, evidence: Evidence, changes: tuple[TreeChange, ...]
) -> tuple[dict[str, str], dict[str, bytes], str]:
    """Blob ids by path before the change, and the contents of all blobs on both sides."""
    before = {change.path: change.old_blob for change in changes if set(change.old_blob) != {"0"}}
    wanted = [
        blob
        for change in changes
        for mode, blob in ((change.old_mode, change.old_blob), (change.new_mode, change.new_blob))
        if mode.startswith("1") and mode != GITLINK
    ]
    files = () if isinstance(evidence.patch, Unreadable) else evidence.patch.files
    sources = [f.old_path for f in files if f.old_path is not None and f.old_path not in before]
    limit = evidence.context.limits.max_blob_bytes
    try:
        blobs = git.read_blobs(wanted, max_bytes=limit)
        found = git.read_objects([f"{base_tree}:{path}" for path in sources], max_bytes=limit)
    except GitError as error:
        return before, {}, error.detail
    for path in sources:
        item = found[f"{base_tree}:{path}"]
        if item is not None and item[0] == "blob":
            before[path] = _blob_id(item[1], like=base_tree)
            blobs[before[path]] = item[1]
    return before, blobs, ""


def _names(
    git: Git, base_tree: str, result: str, changes: tuple[TreeChange, ...]
) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """The names in every folder above a new path, before and after."""
    folders = {folder for change in changes if change.status == "A" for folder in _folders(change.path)}
    wanted = sorted(folders)
    asked = [f"{tree}:{folder}" for tree in (base_tree, result) for folder in wanted]
    found = git.read_objects(asked, max_bytes=_MAX_TREE_BYTES)
    sides: list[dict[str, frozenset[str]]] = []
    for tree in (base_tree, result):
        names = {}
        for folder in wanted:
            item = found[f"{tree}:{folder}"]
            names[folder] = frozenset(_tree_names(item[1], len(tree) // 2)) if item and item[0] == "tree" else frozenset()
        sides.append(names)
    return sides[0], sides[1]


def _workflows(git: Git, trees: Iterable[str]) -> tuple[bytes, ...]:
    """The text of every workflow, before and after."""
    blobs: list[str] = []
    for tree in trees:
        for entry in git.run("ls-tree", "-r", "-z", tree, "--", WORKFLOWS).split(b"\0"):
            fields = entry.partition(b"\t")[0].split()
            if len(fields) == 3 and fields[1] == b"blob":
                blobs.append(fields[2].decode("ascii"))
    return tuple(git.read_blobs(blobs, max_bytes=_MAX_WORKFLOW_BYTES).values())


def _folders(path: str) -> list[str]:
    """Every folder above a path; the root is the empty text."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def _tree_names(raw: bytes, id_bytes: int) -> Iterable[str]:
    """The names in a raw tree object: `mode SP name NUL id`, again and again."""
    at = 0
    while at < len(raw):
        end = raw.index(b"\0", at)
        yield raw[at:end].partition(b" ")[2].decode("utf-8", "surrogateescape")
        at = end + 1 + id_bytes


def _blob_id(content: bytes, *, like: str) -> str:
    """The id git gives a blob, in the hash the repository uses."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
