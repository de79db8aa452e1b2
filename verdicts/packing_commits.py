"""The commits of the protected branches for an evidence pack, each with what released it.

Shape: the commits of one branch by name, the objects of 500 at a time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.db.models import Max

from audit import events
from audit.canonical import JsonValue
from audit.events import AuditError
from audit.models import LogEntry
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import PullRequest, Repository
from verdicts.landing_rows import LandedCommit
from verdicts.models import (
    BREAK_GLASS,
    MergeIntent,
)
from verdicts.packing_scope import Scope

BATCH: Final = 500
MAX_COMMITS_BYTES: Final = 64 << 20  # of a batch


def packed_commits(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    """The commits of the protected branches, each in its class; of a pull request's pack only its own."""
    is_whole = scope.kind != "pull"
    repositories = {pull.repository_id for pull in scope.pulls}
    for repository in Repository.objects.order_by("pk"):
        if is_whole or repository.pk in repositories:
            yield from _commits_of(repository, scope, is_whole=is_whole)


def _commits_of(repository: Repository, scope: Scope, *, is_whole: bool) -> Iterator[dict[str, JsonValue]]:
    try:
        git, begun = Git(Path(repository.path)), _begun(repository)
        if repository.pk not in scope.tips:
            raise AuditError("pack.repository", f"{repository.full_name} has no branch that can be read")
        tip = _before_what_comes(git, repository, scope)
        names = _listed(git, tip, *([f"^{begun}"] if begun else []))
        older = _listed(git, begun) if begun and is_whole else []
    except GitError as error:
        raise AuditError("pack.repository", f"{repository.full_name} cannot be read: {error.code}") from None
    classes = _classes(repository, scope)
    if not is_whole:
        own = {pull.merge_sha for pull in scope.pulls} | {pull.head_sha for pull in scope.pulls}
        names = [name for name in names if name in own]
        tip = next((pull.merge_sha for pull in scope.pulls if pull.merge_sha in names), tip)
    yield {
        "repository": repository.full_name, "branch": repository.protected_branch, "tip": tip, "begun": begun,
        "isWhole": is_whole,
    }  # fmt: skip
    classes |= dict.fromkeys(older, ("PRE-ENROLMENT", None))
    names += older
    for start in range(0, len(names), BATCH):
        chunk = names[start : start + BATCH]
        objects = git.read_objects(chunk, max_bytes=MAX_COMMITS_BYTES)
        for name in chunk:
            found = objects[name]
            if found is None:
                raise AuditError("pack.repository", f"{repository.full_name} has lost the commit {name[:12]}")
            kind, number = classes.get(name, ("BYPASS", None))
            text = base64.b64encode(found[1]).decode()
            yield {"repository": repository.full_name, "commit": name, "object": text, "class": kind, "pull": number}


def _before_what_comes(git: Git, repository: Repository, scope: Scope) -> str:
    """The tip, or where it was before the first merge whose leaf the pack's checkpoint does not cover yet.

    Such a merge is in the next pack: in this one nothing could say what released it.
    """
    tip = scope.tips[repository.pk]
    landed = LogEntry.objects.filter(kind=events.PULL_MERGED, tree_leaf__index__lt=scope.size)
    covered = {int(subject[2:]) for subject in landed.values_list("subject", flat=True)}
    if repository.forge == Repository.Forge.GITHUB:
        return _judged_tip(git, repository, scope, covered)
    intents = MergeIntent.objects.filter(pull_request__repository=repository).exclude(handoff_id__in=covered)
    coming = set(intents.values_list("merge_sha", flat=True))
    chain = _listed(git, "--first-parent", tip) if coming else []
    later = [at for at, commit in enumerate(chain) if commit in coming]
    return chain[later[-1] + 1] if later and later[-1] + 1 < len(chain) else tip


def _judged_tip(git: Git, repository: Repository, scope: Scope, covered: set[int]) -> str:
    """On GitHub: the newest commit that was classed, and whose merge is covered if the portal let it land."""
    rows = LandedCommit.objects.filter(repository=repository, is_brought=False)
    rows = rows.filter(log_entry__tree_leaf__index__lt=scope.size).select_related("pull_request")
    done = {
        row.commit
        for row in rows
        if not row.is_released or (row.pull_request is not None and row.pull_request.handoff_id in covered)
    }
    chain = _listed(git, "--first-parent", scope.tips[repository.pk])
    return next((commit for commit in chain if commit in done), chain[-1] if chain else "")


def _listed(git: Git, *revisions: str) -> list[str]:
    return git.run("rev-list", *revisions).decode().split()


def _begun(repository: Repository) -> str:
    """Where the branch was when it came under protection: what the log says, or else the first base that was judged."""
    for entry in LogEntry.objects.filter(kind=events.REPOSITORY_GOVERNED).order_by("pk"):
        body = entry.open()
        if body.get("repository") == repository.full_name and body.get("tip"):
            return str(body["tip"])
    first = PullRequest.objects.filter(repository=repository).order_by("pk").first()
    return first.handoff.merge_base if first else ""


def _classes(repository: Repository, scope: Scope) -> dict[str, tuple[str, int | None]]:
    """What each merged commit was released by. Whoever is not in here came without the portal."""
    found: dict[str, tuple[str, int | None]] = {}
    landed = LogEntry.objects.filter(kind=events.PULL_MERGED, tree_leaf__index__lt=scope.size)
    covered = [int(subject[2:]) for subject in landed.values_list("subject", flat=True)]
    merged = PullRequest.objects.filter(repository=repository, handoff_id__in=covered).exclude(merge_sha="")
    for pull in merged.select_related("handoff"):
        at = {"head_sha": pull.head_sha, "log_entry__tree_leaf__index__lt": scope.size}
        passed = pull.verdicts.filter(verdict="PASS", **at).aggregate(at=Max("log_entry__tree_leaf__index"))["at"]
        approved = pull.decisions.filter(decision="approve", **at).order_by("log_entry__tree_leaf__index").last()
        kind = "PASS"
        if approved is not None and (passed is None or approved.log_entry.tree_leaf.index > passed):
            kind = "BREAK-GLASS" if approved.reason_class == BREAK_GLASS else "OVERRIDE"
        found[pull.merge_sha] = found[pull.head_sha] = (kind, pull.number)
    return found
