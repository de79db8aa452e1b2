"""The commits of the protected branches in an evidence pack: all of them, each in its class.

A branch is followed over first parents from its tip to where the portal began, over the commits' own bytes, so that
none that landed on it can be left out. What a merge brought along may be left out; then it is not in a class.
A commit is what a verdict or an approval released if it stands on the base that was judged and has the tree that was
judged there, however it was merged; or, behind a merge queue, on a later base to which only what was released led.
Source: product.md section 9 (G6); git's object format.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from audit.canonical import JsonValue
from audit.events import COMMIT_LANDED, DECISION_RECORDED, PULL_MERGED, VERDICT_RECORDED
from audit.pack_findings import Act, Report
from audit.pack_reading import Pack, PackError

OF_ONE: Final = frozenset({PULL_MERGED, COMMIT_LANDED})
RELEASED: Final = frozenset({"PASS", "OVERRIDE", "BREAK-GLASS"})
OTHER_BASE: Final = "landed on another base"


@dataclass(frozen=True)
class Commit:
    """A commit of the pack: its tree, its parents, and the class that the pack gives it."""

    name: str
    tree: str
    parents: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Branch:
    """A protected branch: its tip, and the commit at which the portal began; older ones are PRE-ENROLMENT."""

    name: str
    tip: str
    repository: str
    begun: str
    is_whole: bool


def check_commits(pack: Pack, acts: Sequence[Act], report: Report) -> str:
    """Follow every branch, and look for what released each commit."""
    branches, repositories = _read(pack)
    for repository, commits in repositories.items():
        own = [act for act in acts if act.leaf.kind not in OF_ONE or (act.body or {}).get("repository") == repository]
        _check_repository([branch for branch in branches if branch.repository == repository], commits, own, report)
    found = [commit for commits in repositories.values() for commit in commits.values()]
    past = [commit.name[:12] for commit in found if commit.kind == "BYPASS"]
    if past:
        report.broken("bypass", f"{len(past)} commits landed without the portal: {', '.join(past[:5])}")
    counts = Counter(commit.kind for commit in found)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "none"


def _check_repository(
    branches: Sequence[Branch], commits: Mapping[str, Commit], acts: Sequence[Act], report: Report
) -> None:
    reached: set[str] = set()
    older: set[str] = set()
    for branch in branches:
        mine = _older(branch, commits)
        older |= mine
        reached |= mine | _follow(branch, commits, mine)
        _check_begun(branch, acts, report)
    for name in commits.keys() - reached:
        raise PackError("commits.jsonl", f"the commit {name[:12]} is on no branch of the pack")
    for commit in commits.values():
        _check_class(commit, commits, acts, report, is_older=commit.name in older)


def _read(pack: Pack) -> tuple[list[Branch], dict[str, dict[str, Commit]]]:
    """The branches, and each repository's commits: a fork has commits of another one under the same names."""
    branches: list[Branch] = []
    repositories: dict[str, dict[str, Commit]] = {}
    for where, row in pack.rows("commits.jsonl"):
        match row:
            case {
                "repository": str(repository), "branch": str(name), "tip": str(tip), "begun": str(begun),
                "isWhole": bool(whole),
            }:  # fmt: skip
                branches.append(Branch(f"{repository} {name}", tip, repository, begun, whole))
                repositories.setdefault(repository, {})
            case {"repository": str(repository), "commit": str(name), "object": str(text), "class": str(kind)} if (
                name not in repositories.setdefault(repository, {})
            ):
                repositories[repository][name] = Commit(name, *_read_object(name, text, where), kind)
            case _:
                raise PackError(where, "expected a branch, or a commit that does not stand here twice")
    return branches, repositories


def _read_object(name: str, text: str, where: str) -> tuple[str, tuple[str, ...]]:
    """The tree and the parents in a commit's bytes, once they are the bytes that its name stands for."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise PackError(where, "the object is not base64") from None
    content = b"commit %d\0" % len(raw) + raw
    found = hashlib.sha256(content) if len(name) == 64 else hashlib.sha1(content, usedforsecurity=False)
    if found.hexdigest() != name:
        raise PackError(where, f"the object is {found.hexdigest()[:12]}, not the commit {name[:12]}")
    head = raw.partition(b"\n\n")[0].split(b"\n")
    parents = tuple(line.removeprefix(b"parent ").decode() for line in head if line.startswith(b"parent "))
    return head[0].removeprefix(b"tree ").decode(), parents


def _older(branch: Branch, commits: Mapping[str, Commit]) -> set[str]:
    """Where the portal began, and all that is behind it; none of it may be missing."""
    seen: set[str] = set()
    stack = [branch.begun] if branch.is_whole and branch.begun else []
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        if name not in commits:
            raise PackError("commits.jsonl", f"the commit {name[:12]}, older than the portal, is missing")
        seen.add(name)
        stack += commits[name].parents
    return seen


def _follow(branch: Branch, commits: Mapping[str, Commit], older: set[str]) -> set[str]:
    seen: set[str] = set()
    stack = [(branch.tip, True)]
    while stack:
        name, is_landed = stack.pop()
        if name in seen or name in older or name == branch.begun or not name:
            continue
        if name not in commits:
            if is_landed and branch.is_whole:
                raise PackError("commits.jsonl", f"the commit {name[:12]} of {branch.name} is missing")
            continue
        seen.add(name)
        first, *others = commits[name].parents or ("",)
        stack += [(first, is_landed), *((other, False) for other in others)]
    return seen


def _check_begun(branch: Branch, acts: Sequence[Act], report: Report) -> None:
    """The portal began where the leaf says that it put the repository under protection."""
    governed = [act for act in acts if act.leaf.kind == "repository.governed" and act.body]
    tips = {
        str(act.body.get("tip")) for act in governed if act.body and act.body.get("repository") == branch.repository
    }
    if branch.is_whole and tips != {branch.begun}:
        report.gap("commits", f"no leaf says that {branch.name} was at {branch.begun[:12]} when the portal began")


def _check_class(
    commit: Commit, commits: Mapping[str, Commit], acts: Sequence[Act], report: Report, *, is_older: bool
) -> None:
    merges = [act for act in acts if act.leaf.kind == PULL_MERGED and commit.name in brought(act.body or {}, commits)]
    found = "PRE-ENROLMENT" if is_older else "BYPASS" if not merges else _class_of(commit, merges[0], commits, acts)
    if commit.kind != found:
        raise PackError(f"commit {commit.name[:12]}", f"it is called {commit.kind[:20]}, the leaves say {found}")
    if merges and not is_older and (said := _note(commit, merges[0], commits, acts)):
        report.gap("commits", said)


def _class_of(commit: Commit, merge: Act, commits: Mapping[str, Commit], acts: Sequence[Act]) -> str:
    """By the newest release of the head that was merged, if what landed is what that one was about."""
    merged = merge.body or {}
    head, base, landed = merged.get("head"), merged.get("base"), commits[str(merged.get("commit"))]
    act, kind = _release(merge, acts)
    by = (act.body if act else None) or {}
    if act is None or commit.name not in {landed.name, head}:
        return "merged without a release"
    if not base or landed.parents not in ((base,), (base, head)):
        return OTHER_BASE
    if base == by.get("base"):
        return kind if landed.tree == by.get("merge_tree") else "landed with another tree"
    wanted: dict[str, JsonValue] = {"commit": landed.name, "tree": landed.tree, "base": base, "head": head}
    wanted |= {"class": kind, "code": ""}
    found = [one.body or {} for one in acts if one.leaf.kind == COMMIT_LANDED and act.index < one.index < merge.index]
    is_found = any(body.items() >= wanted.items() for body in found)
    return kind if is_found and _line_to(str(by.get("base")), landed, commits) is not None else OTHER_BASE


def _release(merge: Act, acts: Sequence[Act]) -> tuple[Act | None, str]:
    """The newest act before a merge that could release its head: PLAN's PASS, LEAD's approval, two people's."""
    by, kind, head = None, "", (merge.body or {}).get("head")
    for act in acts:
        if act is merge:
            break
        body = act.body or {}
        if act.leaf.subject != merge.leaf.subject or not head or body.get("head") != head:
            continue
        if act.leaf.kind == VERDICT_RECORDED and body.get("verdict") == "PASS":
            by, kind = act, "PASS"
        elif act.leaf.kind == DECISION_RECORDED and body.get("decision") == "approve":
            by, kind = act, "BREAK-GLASS" if body.get("reason_class") == "break-glass" else "OVERRIDE"
    return by, kind


def _line_to(judged: str, landed: Commit, commits: Mapping[str, Commit]) -> str | None:
    """Where the line from a commit back to the judged base ends, all of which was released: there, or with the pack.

    None where it does not lead there. The classes on the way are checked each in its turn.
    """
    at = landed.parents[0]
    while at != judged and at in commits:
        if commits[at].kind not in RELEASED or not commits[at].parents:
            return None
        at = commits[at].parents[0]
    return at


def _note(commit: Commit, merge: Act, commits: Mapping[str, Commit], acts: Sequence[Act]) -> str:
    """What a reader has to look up in a clone: a pack holds no files, so it cannot merge them once more."""
    merged, act = merge.body or {}, _release(merge, acts)[0]
    by = (act.body if act else None) or {}
    if commit.name != merged.get("commit") or merged.get("base") == by.get("base"):
        return ""
    end = _line_to(str(by.get("base")), commit, commits)
    between = "" if end == by.get("base") else ", and what landed between is not in this pack"
    said = f"{commit.name[:12]} landed on a later base than was judged{between}; its tree {commit.tree[:12]} is the"
    look = f"git merge-tree --write-tree {merged.get('base')} {merged.get('head')}"
    return f"{said} portal's finding. In your clone: {look}"


def brought(body: Mapping[str, JsonValue], commits: Mapping[str, Commit]) -> set[str]:
    """What one merge brought to its branch: its commit, and the commits of the head it merged that are in the pack."""
    merge, base = body.get("commit"), body.get("base")
    found: set[str] = set()
    first = commits.get(str(merge))
    stack = [str(merge), *(first.parents[1:] if first else ())]
    while stack:
        name = stack.pop()
        if name in found or name == base or (name != merge and name not in commits):
            continue
        found.add(name)
        stack += [] if name == merge else [parent for parent in commits[name].parents if parent != base]
    return found
