"""Verifying a bundle: read it, let git apply the patch, then run every check on what was found."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Final

from handoffs.attestations.slsa import SlsaProperty, slsa_properties
from handoffs.bundles.archive import MEMBERS
from handoffs.bundles.bundle import (
    BundleError,
    Limits,
    Manifest,
    digest_of,
    parse_manifest,
    read_archive,
    write_archive,
)
from handoffs.bundles.patches import change_digest
from handoffs.checks.builder_signatures import judge_builder_signature
from handoffs.checks.catalogue import CHECKS, CheckResult, Context, Evidence, GitFacts, Outcome, run_checks
from handoffs.checks.evidence import Change, Unreadable, read_change, read_rest, suspects_in
from handoffs.checks.reviewability import raised_by
from handoffs.collecting import uncollected
from handoffs.git.index import folders_of, result_of
from handoffs.git.process import GitError, git_version
from handoffs.git.repository import Git, TreeChange
from handoffs.git.trees import Folder, Trees
from handoffs.packages.components import ComponentDelta, component_delta
from handoffs.packages.lockfiles import delta_of
from handoffs.scope.control_plane import Raised
from handoffs.scope.reading import follow_gates
from handoffs.signatures.sigstore_verifying import warm_signatures
from handoffs.signatures.trust_roots import TrustedRoot

GITLINK: Final = "160000"
_WORTH_A_THREAD: Final = 1 << 20  # bytes


@dataclass(frozen=True)
class Report:
    """What verification found. Units: `digest` is the archive's SHA-256 in hex.

    `is_verified` is true only if no check failed. `manifest` is None and `patch_digest` empty where manifest or
    members could not be read. `result_tree` and `changes` are git's; empty where git was not asked or refused.
    `components` are the packages the change adds, removes and changes, with the licences the SBOM names.
    `raised` says why the change needs more than PLAN's PASS.
    `trusted_root_digest` is of the root that the builder's signature was judged by; empty if it was not.
    """

    digest: str
    results: tuple[CheckResult, ...]
    is_verified: bool
    manifest: Manifest | None
    patch_digest: str
    result_tree: str | None
    changes: tuple[TreeChange, ...]
    raised: tuple[Raised, ...]
    change_digest: str
    components: ComponentDelta
    slsa: tuple[SlsaProperty, ...] = ()
    trusted_root_digest: str = ""


def warm_up(root: TrustedRoot | None = None) -> None:
    """Make in the process that forks, once, what every verification needs: the compiled schema, git's version.

    With a trusted root, also what verifies signatures by it, which takes a second to import.
    """
    _refuse_once()
    if root is not None:
        warm_signatures(root)


@cache
def _refuse_once() -> None:
    """Verify a bundle that holds nothing but ordinary text: what is made on first use, a child need not make again."""
    with suppress(GitError):
        git_version()
    said = "\n+ ".join(check.sentence for check in CHECKS).encode()
    ordinary = said + b"https://example.com/a@1.0?b=c#d " + said.hex().encode() + b" " + base64.b64encode(said)
    verify_bundle(write_archive(dict.fromkeys(MEMBERS, ordinary)), git=None, context=Context(repository=""))


@dataclass(frozen=True)
class Glance:
    """What a bundle says it is, before anything is checked. Empty texts where it cannot be read."""

    prd_id: str
    task: str
    patch_digest: str


def glance_at(raw: bytes) -> Glance:
    """What is needed to look up what the portal knows of a bundle."""
    members = read_archive(raw, Limits()).members
    try:
        manifest = parse_manifest(members.get("manifest.json", b""))
    except BundleError:
        return Glance("", "", "")
    return Glance(manifest.prd_id, manifest.task, digest_of(members.get("changes.patch", b"")))


def verify_bundle(raw: bytes, *, git: Git | None, context: Context) -> Report:
    """Verify the bytes of `artifact.tar.gz`. Without a repository what needs one fails as `not checked`.

    Not checked: who pushed it, and the enforcer's own signature.
    """
    with uncollected(), _beside(len(raw)) as beside:
        digest = beside(partial(digest_of, raw))
        archive = read_archive(raw, context.limits)
        del raw  # it is large, and what follows needs memory
        digests, suspects = beside(lambda: archive.digests), beside(partial(suspects_in, archive))
        change = read_change(archive, context)

        @cache
        def rest() -> Evidence:
            evidence = read_rest(change, digest=digest, suspects=suspects)
            digests()
            return replace(evidence, signature=judge_builder_signature(evidence))

        facts = None
        if git is not None:
            facts = replace(gather_facts(change, git, meanwhile=rest), tool=git_version())
        return _judge(replace(rest(), facts=facts))


type _Beside = Callable[[Callable[[], Any]], Callable[[], Any]]


@contextmanager
def _beside(size: int) -> Iterator[_Beside]:
    """Have what holds no lock of the interpreter (hashing, searching bytes) done on another core, if it is much.

    The context takes work, begins with it, and answers with what waits for its result.
    """
    if size < _WORTH_A_THREAD:
        yield cache
        return
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield lambda work: thread.submit(work).result


def _judge(evidence: Evidence) -> Report:
    facts = evidence.facts
    evidence = replace(evidence, raised=raised_by(evidence))
    results = run_checks(evidence, facts)
    changes = facts.changes if facts else ()
    manifest = evidence.manifest
    members = evidence.archive.members
    is_whole = not isinstance(manifest, Unreadable) and len(members) == 5
    return Report(
        digest=evidence.digest,
        results=results,
        is_verified=all(result.outcome is not Outcome.FAILED for result in results),
        manifest=manifest if is_whole and not isinstance(manifest, Unreadable) else None,
        patch_digest=evidence.archive.digests["changes.patch"] if is_whole else "",
        result_tree=facts.result_tree if facts else None,
        changes=changes,
        raised=evidence.raised or (),
        change_digest="" if isinstance(evidence.patch, Unreadable) else change_digest(evidence.patch.files),
        components=component_delta(
            facts.packages if facts else None, evidence.sbom, at_most=evidence.context.max_components_told
        ),
        slsa=slsa_properties(evidence, results),
        trusted_root_digest=evidence.signature.root_digest if evidence.signature else "",
    )


def gather_facts(evidence: Change, git: Git, *, meanwhile: Callable[[], object] = bool) -> GitFacts:
    """Ask git everything the checks need; what git refuses stays unknown and its checks fail.

    `meanwhile` is called while git applies the patch, if it comes to that.
    """
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
    trees = Trees(git)
    try:
        result = result_of(trees, base_tree, patch, files, meanwhile=meanwhile)
        changes = trees.changes(base_tree, result)
    except GitError as error:
        return GitFacts(base_tree, ancestor, behind, apply_error=error.detail)
    known = GitFacts(base_tree, ancestor, behind, result_tree=result, apply_error="", changes=changes)
    try:
        return _with_contents(trees, known, base_tree, result, evidence)
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
            behind = git.count_commits(base, target, at_most=context.max_commits_behind + 1)
    except GitError:
        return None, None
    return is_ancestor, behind


def _with_contents(trees: Trees, known: GitFacts, base_tree: str, result: str, evidence: Change) -> GitFacts:
    """Add the contents of both sides, the names around new paths, and what the gates call."""
    changes = known.changes
    before = {change.path: change.old_blob for change in changes if set(change.old_blob) != {"0"}}
    files = () if isinstance(evidence.patch, Unreadable) else evidence.patch.files
    sources = {_raw(f.old_path): f.old_path for f in files if f.old_path is not None and f.old_path not in before}
    added = {folder for change in changes if change.status == "A" for folder in folders_of(_raw(change.path))}
    old = trees.folders(base_tree, added | {path.rpartition(b"/")[0] for path in sources})
    new = trees.folders(result, added)
    for raw, path in sources.items():
        folder, _, name = raw.rpartition(b"/")
        entry = old[folder].get(name)
        if entry is not None and not entry.is_folder and entry.mode != GITLINK:
            before[path] = entry.object_id
    wanted = [before[path] for path in sources.values() if path in before]
    for change in changes:
        sides = ((change.old_mode, change.old_blob), (change.new_mode, change.new_blob))
        wanted += [blob for mode, blob in sides if mode.startswith("1") and mode != GITLINK]
    found = trees.git.read_objects(wanted, max_bytes=evidence.context.limits.max_blob_bytes)
    blobs = {blob: item[1] for blob, item in found.items() if item and item[0] == "blob"}
    return replace(
        known,
        before=MappingProxyType(before),
        blobs=MappingProxyType(blobs),
        packages=delta_of(changes, blobs),
        names_before=_names(old, added),
        names_after=_names(new, added),
        steering=follow_gates(trees, (base_tree, result)),
    )


def _names(folders: Mapping[bytes, Folder], wanted: set[bytes]) -> Mapping[str, frozenset[str]]:
    return MappingProxyType({_text(path): frozenset(map(_text, folders[path])) for path in wanted})


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
