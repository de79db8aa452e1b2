"""The merge queue: groups on gh-readonly-queue branches, checks asked for, merges when they are good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.github import issues
from tests.support.github.checks import is_satisfied, latest, latest_statuses, runs_on
from tests.support.github.exchange import Refusal
from tests.support.github.merging import committer, default_title
from tests.support.github.plumbing import NOBODY
from tests.support.github.pushes import refs_moved
from tests.support.github.rules import obstacles, rules_on
from tests.support.github.runs import start_workflows

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, Actor
    from tests.support.github.pulls import Pull
    from tests.support.github.repositories import Repository

BAD = {"failure", "cancelled", "timed_out", "action_required", "stale"}


@dataclass(eq=False)
class Group:
    """A commit the queue wants to put on the base, with its members in order and what each becomes there."""

    repository: Repository
    pulls: list[Pull]
    base: str
    base_sha: str
    head_sha: str
    branch: str
    commits: list[str]

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"


def has_queue(repository: Repository, branch: str) -> bool:
    return any(rule.type == "merge_queue" for rule in rules_on(repository, branch))


def merge_method(repository: Repository, branch: str) -> str:
    """How the queue lands: merge or squash; what a rebase makes of several commits is left out."""
    found = (
        rule.parameters.get("merge_method", "") for rule in rules_on(repository, branch) if rule.type == "merge_queue"
    )
    return "squash" if "SQUASH" in found else "merge"


def enqueue(pulls: list[Pull], actor: Actor, *, together: bool = False) -> list[Group]:
    """Put pull requests into the queue. `together`: one group of them all instead of one after another.

    Raises: Refusal 422 when one has no queue or is not ready.
    """
    for pull in pulls:
        if not has_queue(pull.repository, pull.base):
            raise Refusal(422, "The base branch does not have a merge queue.")
        found = (
            obstacles(pull, actor, queued=True) if pull.test_tree and pull.state == "open" else ["it is not mergeable"]
        )
        if found or pull.draft or pull in pull.repository.queue:
            raise Refusal(
                422, f"Pull request #{pull.number} cannot be queued: {'; '.join(found) or 'it is a draft or queued'}"
            )
    by = actor.account or pulls[0].repository.github.ghost
    for pull in pulls:
        pull.repository.queue.append(pull)
        issues.happened(pull, "added_to_merge_queue", by)
        pull.repository.github.notify.pull(pull, "enqueued", by)
    return [build(members, by) for members in ([pulls] if together else [[pull] for pull in pulls])]


def build(pulls: list[Pull], by: Account) -> Group:
    """The next group, on top of the one before it."""
    repository, base = pulls[0].repository, pulls[0].base
    git = repository.git
    before = [group for group in repository.groups if group.base == base]
    start = tip = before[-1].head_sha if before else pulls[0].base_tip
    method, commits = merge_method(repository, base), []
    for pull in pulls:
        tree = git.merge_tree(tip, pull.head_sha)
        if not tree:
            raise Refusal(422, f"Pull request #{pull.number} conflicts with the queue.")
        text = f"{default_title(pull, method)}\n\n{pull.title}\n"
        parents = [tip, pull.head_sha] if method == "merge" else [tip]
        tip = git.write_commit(tree, parents, text, repository.person(by), committer(repository))
        commits.append(tip)
    branch = f"gh-readonly-queue/{base}/pr-{pulls[-1].number}-{start}"
    group = Group(repository, pulls, base, start, tip, branch, commits)
    repository.groups.append(group)
    git.update_ref(group.ref, tip)
    refs_moved(repository, [(NOBODY, tip, group.ref)], repository.github.queue_bot)
    repository.github.notify.merge_group(group, "checks_requested", by)
    start_workflows(repository, "merge_group", tip, branch, by)
    return group


def destroy(group: Group, reason: str, by: Account) -> None:
    repository = group.repository
    repository.groups.remove(group)
    repository.github.notify.merge_group(group, "destroyed", by, reason=reason)
    if repository.git.resolve(group.ref):
        repository.git.update_ref(group.ref, NOBODY)
        refs_moved(repository, [(group.head_sha, NOBODY, group.ref)], repository.github.queue_bot)


def leave(pull: Pull, by: Account, reason: str) -> None:
    """Out of the queue: its group goes, and those on top of it are built anew."""
    repository = pull.repository
    repository.queue.remove(pull)
    issues.happened(pull, "removed_from_merge_queue", by)
    repository.github.notify.pull(pull, "dequeued", by, reason=reason)
    place = next((at for at, group in enumerate(repository.groups) if pull in group.pulls), None)
    if place is None:
        return
    gone = repository.groups[place:]
    for number, group in enumerate(gone):
        destroy(group, "dequeued" if number == 0 else "invalidated", by)
    for group in gone:
        if rest := [one for one in group.pulls if one is not pull and one in repository.queue]:
            build(rest, by)


def base_moved(repository: Repository, branch: str) -> None:
    """Somebody else moved the base: every group is built anew on it."""
    groups = [group for group in repository.groups if group.base == branch]
    tip = repository.git.resolve(f"refs/heads/{branch}")
    if not groups or groups[0].base_sha == tip:
        return
    for group in groups:
        destroy(group, "invalidated", repository.github.queue_bot)
    for group in groups:
        build(group.pulls, repository.github.queue_bot)


def required(repository: Repository, base: str) -> list[tuple[str, int | None]]:
    return [
        (one["context"], one.get("integration_id"))
        for rule in rules_on(repository, base)
        if rule.type == "required_status_checks"
        for one in rule.parameters.get("required_status_checks", [])
    ]


def advance(repository: Repository, sha: str) -> None:
    """Merge what is good at the front of the queue; throw out what failed."""
    while group := next((one for one in repository.groups if one.head_sha == sha), None):
        wanted = required(repository, group.base)
        if any(has_failed(repository, sha, context, pin) for context, pin in wanted):
            leave(group.pulls[-1], repository.github.queue_bot, "failed_checks")
            return
        first = next(one for one in repository.groups if one.base == group.base)
        if first is not group or not all(is_satisfied(repository, sha, context, pin) for context, pin in wanted):
            return
        land(group)
        following = next((one for one in repository.groups if one.base == group.base), None)
        if following is None:
            return
        sha = following.head_sha


def has_failed(repository: Repository, sha: str, context: str, pin: int | None) -> bool:
    runs = [one for one in latest(runs_on(repository, sha)) if one.name == context and pin in {None, one.app.id}]
    statuses = [one for one in latest_statuses(repository, sha) if one.context == context]
    mine = [one for one in statuses if pin is None or (one.app and one.app.id == pin)]
    return any(one.conclusion in BAD for one in runs) or any(one.state in {"failure", "error"} for one in mine)


def land(group: Group) -> None:
    repository, bot = group.repository, group.repository.github.queue_bot
    ref = f"refs/heads/{group.base}"
    repository.git.update_ref(ref, group.head_sha, group.base_sha)
    for pull, commit in zip(group.pulls, group.commits, strict=True):
        repository.github.follow.merged(pull, group.head_sha if repository.github.queue_names_group else commit, bot)
    destroy(group, "merged", bot)
    refs_moved(repository, [(group.base_sha, group.head_sha, ref)], bot)
