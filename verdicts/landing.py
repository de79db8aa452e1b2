"""What landed on a protected branch on GitHub, and whether the portal let it: by tree, parents, and the rows.

GitHub's rules are not believed: whoever may switch them off for half a minute leaves a commit that nothing released.
Source: GATE-05, GATE-07 and GATE-08 of the threat list; trail.md, G6.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.db import transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import GitHubRepository, PullRequest, PullStatus, RemotePull
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedClass, LandedCommit
from verdicts.lineage import Line, line_since
from verdicts.models import BREAK_GLASS, Decision, MergeIntent, Verdict

SLACK: Final = timedelta(seconds=5)  # GitHub's clock against ours, and its times are whole seconds
MOST_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Step:
    """One commit on the branch's first-parent line. `head_sha` is what it merged, empty if it merged nothing."""

    commit: str
    tree: str
    base_sha: str
    head_sha: str
    remote: RemotePull | None
    pull: PullRequest | None


@dataclass(frozen=True)
class Judged:
    """The class of a step, and why it is a BYPASS."""

    kind: LandedClass
    code: str = ""


def judge_landed(hosted: GitHubRepository, *, by: Actor) -> int:
    """Class every commit that came to the protected branch since we last looked. Returns how many steps were judged.

    Only what lies behind the tip that the enforcer last read together with the pull requests: what GitHub says of a
    merge is there then.
    """
    if not hosted.tip_sha or _is_known(hosted, hosted.tip_sha):
        return 0
    git = Git(Path(hosted.repository.path))
    count = 0
    _note_enrolment(hosted, git, by)
    _note_rewound(hosted, git, by)
    for commit in _new_steps(hosted, git)[:MOST_AT_ONCE]:
        step = _read_step(hosted, git, commit)
        _record(hosted, git, step, judge_step(hosted, git, step), by)
        count += 1
    return count


def judge_step(hosted: GitHubRepository, git: Git, step: Step) -> Judged:
    """Whether a verdict or a decision released exactly this commit before it was merged."""
    pull, remote = step.pull, step.remote
    if pull is None:
        return _bypass("landed.no_handoff" if remote else "landed.no_pull")
    merged_at = remote.merged_at if remote else None
    released = _release(pull, step, merged_at)
    if released is None:
        return _bypass("landed.no_release")
    if _was_taken_back(pull, merged_at):
        return _bypass("landed.taken_back")
    kind, base_sha, merge_tree = released
    if base_sha != step.base_sha:
        if line_since(hosted.repository_id, git, base_sha, step.base_sha) is not Line.RELEASED:
            return _bypass("landed.other_base")
        merge_tree = _merged(git, step)  # the merge queue's base: what was released before it
    if step.tree != merge_tree:
        return _bypass("landed.tree_mismatch")
    return Judged(kind)


def _bypass(code: str) -> Judged:
    return Judged(LandedClass.BYPASS, code)


def _is_known(hosted: GitHubRepository, commit: str) -> bool:
    newest = LandedCommit.objects.filter(repository=hosted.repository, is_brought=False).order_by("-pk").first()
    return newest is not None and newest.commit == commit


def _new_steps(hosted: GitHubRepository, git: Git) -> list[str]:
    """The first-parent line since enrolment, the oldest first, without what has its class."""
    words = ("rev-list", "--first-parent", "--reverse", hosted.tip_sha, f"^{hosted.enrolled_sha}")
    names = git.run(*words).decode("ascii").split()
    known = LandedCommit.objects.filter(repository=hosted.repository, commit__in=names)
    done = set(known.values_list("commit", flat=True))
    return [name for name in names if name not in done]


def _read_step(hosted: GitHubRepository, git: Git, commit: str) -> Step:
    parents = git.parents_of(commit)
    remotes = RemotePull.objects.filter(repository=hosted.repository)
    merged = remotes.filter(merge_sha=commit, base_ref=hosted.repository.protected_branch)
    ours = PullRequest.objects.filter(repository=hosted.repository, number=OuterRef("number"))
    # One commit may be told of several: of all in a merge group it is the one whose head it merges, and of two with one
    # head the one that was handed over.
    is_head = Q(head_sha=parents[1]) if len(parents) == 2 else Q(pk__isnull=False)
    remote = merged.order_by(ExpressionWrapper(is_head, BooleanField()).desc(), Exists(ours).desc(), "number").first()
    head = parents[1] if len(parents) == 2 else (remote.head_sha if remote and len(parents) == 1 else "")
    rows = PullRequest.objects.filter(repository=hosted.repository).select_related("handoff")
    pull = rows.filter(number=remote.number).first() if remote else None
    if pull is None and remote is None and len(parents) == 2:
        pull = rows.filter(Q(head_sha=head) | Q(verdicts__head_sha=head)).first()
    return Step(commit, git.tree_of(commit), parents[0] if parents else "", head, remote, pull)


def _release(pull: PullRequest, step: Step, merged_at: datetime | None) -> tuple[LandedClass, str, str] | None:
    """What the newest row before the merge that speaks of this head said: the class, the base and tree it was on."""
    before = Q(created_at__lte=merged_at + SLACK) if merged_at else Q()
    verdict = Verdict.objects.filter(before, pull_request=pull).order_by("-pk").first()
    decision = Decision.objects.filter(before, pull_request=pull).order_by("-pk").first()
    if decision is not None and not (verdict and verdict.log_entry_id > decision.log_entry_id):
        is_live = decision.expires_at is None or merged_at is None or merged_at <= decision.expires_at + SLACK
        if decision.decision == "approve" and decision.head_sha == step.head_sha and is_live:
            kind = LandedClass.BREAK_GLASS if decision.reason_class == BREAK_GLASS else LandedClass.OVERRIDE
            base = verdict.base_sha if verdict and verdict.head_sha == step.head_sha else step.base_sha
            return kind, base, decision.merge_tree
        return None
    if verdict is not None and verdict.verdict == VerdictKind.PASS.value and verdict.head_sha == step.head_sha:
        return LandedClass.PASS, verdict.base_sha, verdict.merge_tree
    return None


def _was_taken_back(pull: PullRequest, merged_at: datetime | None) -> bool:
    """Whether the release was gone already: the row had left READY_TO_MERGE when it was merged.

    Of what was pushed nobody knows when: then it has to be released still.
    """
    if pull.status in {PullStatus.READY_TO_MERGE, PullStatus.MERGED}:
        return False
    return merged_at is None or pull.moved_at < merged_at


def _merged(git: Git, step: Step) -> str:
    try:
        return git.merge_tree(step.base_sha, step.head_sha)
    except GitError:
        return ""


def _note_enrolment(hosted: GitHubRepository, git: Git, by: Actor) -> None:
    """Where the portal began: this commit and all behind it are PRE-ENROLMENT."""
    if LandedCommit.objects.filter(repository=hosted.repository).exists():
        return
    step = Step(hosted.enrolled_sha, git.tree_of(hosted.enrolled_sha), "", "", None, None)
    _write(hosted, step, Judged(LandedClass.PRE_ENROLMENT), (), by)


def _note_rewound(hosted: GitHubRepository, git: Git, by: Actor) -> None:
    """The branch no longer holds what landed last: somebody forced it to something else."""
    rows = LandedCommit.objects.filter(repository=hosted.repository, is_brought=False)
    newest = rows.order_by("-pk").first()
    if newest is None or git.is_ancestor(newest.commit, hosted.tip_sha):
        return
    step = Step(hosted.tip_sha, git.tree_of(hosted.tip_sha), newest.commit, "", None, None)
    if not rows.filter(commit=hosted.tip_sha, code="landed.rewound").exists():
        _write(hosted, step, _bypass("landed.rewound"), (), by)


def _record(hosted: GitHubRepository, git: Git, step: Step, judged: Judged, by: Actor) -> None:
    words = [step.commit, *([f"^{step.base_sha}"] if step.base_sha else []), f"^{hosted.enrolled_sha}"]
    brought = [name for name in git.run("rev-list", *words).decode("ascii").split() if name != step.commit]
    known = LandedCommit.objects.filter(repository=hosted.repository, commit__in=brought)
    done = set(known.values_list("commit", flat=True))
    trees = tuple((name, git.tree_of(name)) for name in brought if name not in done)
    _write(hosted, step, judged, trees, by)


@transaction.atomic(durable=True)
def _write(
    hosted: GitHubRepository, step: Step, judged: Judged, brought: tuple[tuple[str, str], ...], by: Actor
) -> None:
    """The commit's row, those of what it brought along, and one entry of the log."""
    body: dict[str, JsonValue] = {
        "repository": hosted.repository.full_name,
        "commit": step.commit,
        "tree": step.tree,
        "class": judged.kind.value,
        "code": judged.code,
        "head": step.head_sha,
        "base": step.base_sha,
        "pr": step.remote.number if step.remote else (step.pull.number if step.pull else 0),
        "brought": [name for name, _ in brought],
    }
    kind = events.BYPASS_DETECTED if judged.kind is LandedClass.BYPASS else events.COMMIT_LANDED
    entry = append_event(kind, by, f"H-{step.pull.handoff_id}" if step.pull else "", body)
    of_all = {
        "repository": hosted.repository,
        "kind": judged.kind,
        "code": judged.code,
        "pull_request": step.pull,
        "pull_number": body["pr"],
        "merged_at": step.remote.merged_at if step.remote else None,
        "log_entry": entry,
    }
    rows = [
        LandedCommit(commit=step.commit, tree=step.tree, head_sha=step.head_sha, base_sha=step.base_sha, **of_all),
        *(LandedCommit(commit=name, tree=tree, is_brought=True, **of_all) for name, tree in brought),
    ]
    LandedCommit.objects.bulk_create(rows)


def intent_of(landed: LandedCommit) -> MergeIntent | None:
    """Who asked the portal for this merge, if anybody did; else somebody merged it on GitHub."""
    rows = MergeIntent.objects.select_related("actor").filter(pull_request=landed.pull_request, merge_sha="")
    return rows.filter(head_sha=landed.head_sha, base_sha=landed.base_sha).order_by("-pk").first()
