"""The checks of the merge base, the patch and its scope. What counts is the tree the patch makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from handoffs.bundles.patches import FilePatch, Patch, apply_hunks
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.paths import names_submodules, path_problem, twin_key
from handoffs.checks.evidence import Evidence, GitFacts, Judged, Unreadable, failed, first_of, passed, without

FILE_MODES: Final = frozenset({"100644", "100755"})
NO_REPOSITORY: Final = "no repository was given"
_NO_MODE: Final = "000000"


def merge_base_exists(evidence: Evidence) -> Judged:
    """The merge base named in the manifest is a commit of the repository."""
    expected = "a commit of the repository"
    if isinstance(evidence.manifest, Unreadable):
        return without("the merge base", evidence.manifest, expected)
    if evidence.facts is None:
        return without("the merge base", NO_REPOSITORY, expected)
    found = evidence.manifest.merge_base
    return passed(found, expected) if evidence.facts.merge_base_tree else failed(f"{found}, unknown here", expected)


def merge_base_is_ancestor(evidence: Evidence) -> Judged:
    """The merge base is part of the protected branch's history."""
    expected = f"an ancestor of {evidence.context.target_branch_sha or 'the protected branch'}"
    if evidence.facts is None:
        return without("the merge base", NO_REPOSITORY, expected)
    if evidence.facts.is_ancestor is None:
        return without("the merge base", "no target branch or no merge base", expected)
    return passed("an ancestor", expected) if evidence.facts.is_ancestor else failed("not an ancestor", expected)


def merge_base_recent(evidence: Evidence) -> Judged:
    """The merge base is not further behind the protected branch than the policy allows."""
    allowed = evidence.context.max_commits_behind
    if allowed is None:
        return passed("no limit is set")
    expected = f"at most {allowed} commits behind"
    if evidence.facts is None:
        return without("the merge base", NO_REPOSITORY, expected)
    behind = evidence.facts.commits_behind
    if behind is None:
        return without("the merge base", "no target branch or no merge base", expected)
    return passed(f"{behind} behind", expected) if behind <= allowed else failed(f"{behind} behind", expected)


def patch_not_empty(evidence: Evidence) -> Judged:
    """The patch changes something."""
    raw = evidence.archive.members.get("changes.patch")
    if raw is None:
        return without("the patch", "the archive has no such member", "at least one change")
    if not raw:
        return failed("no bytes", "at least one change")
    facts = evidence.facts
    if facts and facts.result_tree and not facts.changes:
        return failed("a patch that leaves the tree as it is", "at least one change")
    return passed(f"{len(raw)} bytes", "at least one change")


def patch_parses(evidence: Evidence) -> Judged:
    """Every byte of the patch belongs to a well-formed file section."""
    found, expected = evidence.patch, "file sections and nothing else"
    if isinstance(found, Unreadable):
        return failed(found.detail, expected)
    return passed(f"{len(found.files)} files, {found.changed_lines} changed lines", expected)


def patch_hunk_counts(evidence: Evidence) -> Judged:
    """Every hunk has the lines its header announces, in order and where it says."""
    found, expected = evidence.patch, "the counts of the hunk headers"
    if isinstance(found, Unreadable):
        return failed(found.detail, expected)
    return passed(f"{sum(len(file.hunks) for file in found.files)} hunks", expected)


def patch_limits(evidence: Evidence) -> Judged:
    """The patch stays within the limits of files, lines, bytes and binary content."""
    limits, found = evidence.context.limits, evidence.patch
    expected = f"at most {limits.max_files} files, {limits.max_changed_lines} changed lines"
    if not limits.may_hold_binary:
        expected += ", no binary changes"
    if isinstance(found, Unreadable):
        return failed(found.detail, expected)
    if evidence.facts and evidence.facts.blobs_error:
        return failed(evidence.facts.blobs_error, f"at most {limits.max_blob_bytes} bytes of changed files")
    binaries = sum(file.binary is not None for file in found.files)
    return passed(f"{len(found.files)} files, {found.changed_lines} changed lines, {binaries} binary", expected)


def patch_applies(evidence: Evidence) -> Judged:
    """Git applies the patch to the tree of the merge base, with zero fuzz."""
    expected = "a result tree"
    facts = evidence.facts
    if facts is None:
        return without("the patch", NO_REPOSITORY, expected)
    return passed(facts.result_tree, expected) if facts.result_tree else failed(facts.apply_error, expected)


def patch_exact(evidence: Evidence) -> Judged:
    """Applied a second time, by line number alone, the patch gives the same files as git's result tree."""
    expected = "the contents of the result tree"
    patch, facts = _patch(evidence, expected), _result(evidence, expected)
    if isinstance(patch, Judged):
        return patch
    if isinstance(facts, Judged):
        return facts
    if facts.blobs_error:
        return without("the changed files", facts.blobs_error, expected)
    new = {change.path: change.new_blob for change in facts.changes}
    wrong = []
    for file in patch.files:
        if file.new_path is None or not (file.hunks or file.binary):
            continue
        try:
            made = _content_after(file, facts, evidence.context.limits.max_blob_bytes)
        except PatchError as error:
            wrong.append(f"{file.path}: {error.detail}")
            continue
        if facts.blobs.get(new.get(file.new_path, "")) != made:
            wrong.append(f"{file.path}: other content than git made")
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(patch.files)} files", expected)


def _content_after(file: FilePatch, facts: GitFacts, max_bytes: int) -> bytes:
    base = b""
    if file.old_path is not None:
        known = facts.blobs.get(facts.before.get(file.old_path, ""))
        if known is None:
            raise PatchError("patch.exact", "the file before the change is not known")
        base = known
    return file.binary.apply(base, max_bytes=max_bytes) if file.binary else apply_hunks(base, file.hunks)


def patch_declared_paths(evidence: Evidence) -> Judged:
    """The paths the patch shows are exactly the paths that differ between the trees."""
    expected = "the changed paths of the result tree"
    patch, facts = _patch(evidence, expected), _result(evidence, expected)
    if isinstance(patch, Judged):
        return patch
    if isinstance(facts, Judged):
        return facts
    changed = {change.path for change in facts.changes}
    wrong = sorted(changed ^ patch.touched_paths)
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(changed)} paths", expected)


def patch_index_blobs(evidence: Evidence) -> Judged:
    """The blob ids in the patch's `index` lines are the ids of the files before and after."""
    expected = "the ids of the merge base and of the result tree"
    patch, facts = _patch(evidence, expected), _result(evidence, expected)
    if isinstance(patch, Judged):
        return patch
    if isinstance(facts, Judged):
        return facts
    by_path = {change.path: change for change in facts.changes}
    wrong, named = [], 0
    for file in patch.files:
        if not file.header.old_blob:
            continue
        named += 1
        before = facts.before.get(file.old_path, "") if file.old_path is not None else ""
        after = by_path[file.new_path].new_blob if file.new_path in by_path else ""
        for side, blob, true in (("before", file.header.old_blob, before), ("after", file.header.new_blob, after)):
            is_nothing = (file.old_path if side == "before" else file.new_path) is None
            if (set(blob) != {"0"}) if is_nothing else (len(blob) < 7 or not true.startswith(blob)):
                wrong.append(f"{file.path} {side}: {blob[:12]}, is {true[:12] or 'nothing'}")
    return failed(first_of(wrong), expected) if wrong else passed(f"{named} of {named} true", expected)


def patch_modes(evidence: Evidence) -> Judged:
    """Every file the patch produces is an ordinary file: no symbolic link, and no submodule on either side."""
    expected = "modes 100644 and 100755"
    facts = _result(evidence, expected)
    if isinstance(facts, Judged):
        return facts
    wrong = [
        f"{change.path} {change.old_mode} -> {change.new_mode}"
        for change in facts.changes
        if change.new_mode not in FILE_MODES | {_NO_MODE} or "160000" in {change.old_mode, change.new_mode}
    ]
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(facts.changes)} paths", expected)


def patch_submodules(evidence: Evidence) -> Judged:
    """The patch does not touch `.gitmodules`, in whatever spelling."""
    return _paths(evidence, "no .gitmodules", lambda path: "names submodules" if names_submodules(path) else "")


def patch_safe_paths(evidence: Evidence) -> Judged:
    """No path is absolute, leads out, is an alias of `.git` or holds characters that hide or differ."""
    return _paths(evidence, "relative paths in NFC without tricks", path_problem)


def _paths(evidence: Evidence, expected: str, problem_of: Callable[[str], str]) -> Judged:
    facts, patch = evidence.facts, evidence.patch
    paths: set[str] = set()
    if not isinstance(patch, Unreadable):
        deleted = {file.old_path for file in patch.files if file.new_path is None or file.header.is_rename}
        paths |= patch.touched_paths - {path for path in deleted if path is not None}
        paths |= {path for path in patch.touched_paths if names_submodules(path)}
    if facts is not None:
        paths |= {change.path for change in facts.changes if change.status != "D" or names_submodules(change.path)}
    wrong = [f"{path} {problem}" for path in sorted(paths) if (problem := problem_of(path))]
    if wrong:
        return failed(first_of(wrong), expected)
    for needed in (_patch(evidence, expected), _result(evidence, expected)):
        if isinstance(needed, Judged):
            return needed
    return passed(f"{len(paths)} paths", expected)


def _patch(evidence: Evidence, expected: str) -> Patch | Judged:
    """The patch, or the judgement that it could not be read."""
    found = evidence.patch
    return without("the patch", found, expected) if isinstance(found, Unreadable) else found


def _result(evidence: Evidence, expected: str) -> GitFacts | Judged:
    """What git found out about the result tree, or the judgement that there is none."""
    facts = evidence.facts
    if facts is None or facts.result_tree is None:
        return without("the result tree", facts.apply_error if facts else NO_REPOSITORY, expected)
    return facts


def patch_twins(evidence: Evidence) -> Judged:
    """No new name is the twin of another one but for case or Unicode form."""
    expected = "names that differ on every file system"
    facts = _result(evidence, expected)
    if isinstance(facts, Judged):
        return facts
    wrong = []
    for folder, names in facts.names_after.items():
        new = names - facts.names_before.get(folder, frozenset())
        if not new:
            continue
        by_key: dict[str, list[str]] = {}
        for name in sorted(names):
            by_key.setdefault(twin_key(name), []).append(name)
        wrong += [f"{folder}: {' and '.join(same)}" for same in by_key.values() if len(same) > 1 and new & set(same)]
    return failed(first_of(wrong), expected) if wrong else passed("no twins", expected)


def patch_reused(evidence: Evidence) -> Judged:
    """The patch is not, byte for byte, the patch of another task."""
    digest = evidence.archive.digests.get("changes.patch")
    expected = "a patch made for this task"
    if digest is None:
        return without("the patch", "the archive has no such member", expected)
    if digest in evidence.context.other_patches:
        return failed(f"sha256 {digest}, already handed over for another task", expected)
    return passed(f"sha256 {digest[:12]}...", expected)
