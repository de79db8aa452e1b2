"""What GitHub does by itself when something moved: suites, runs, heads of pull requests, merges it discovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.github import issues
from tests.support.github.accounts import GITHUB_ACTIONS, LEVELS
from tests.support.github.checks import SATISFYING, latest, latest_statuses, runs_on, suite_for
from tests.support.github.opening import open_pull
from tests.support.github.plumbing import NOBODY
from tests.support.github.queues import advance, base_moved, enqueue, leave
from tests.support.github.runs import start_workflows

if TYPE_CHECKING:
    from tests.support.github.accounts import Account
    from tests.support.github.pulls import Pull
    from tests.support.github.repositories import Repository
    from tests.support.github.world import GitHub


class Following:
    open = staticmethod(open_pull)
    enqueue = staticmethod(enqueue)

    def __init__(self, github: GitHub) -> None:
        self.github = github

    def suites(self, repository: Repository, sha: str, branch: str, before: str) -> None:
        """A suite for each installed App that may write checks, and the event that asks it for them."""
        for one in self.github.installations:
            if one.app.id == GITHUB_ACTIONS or not one.covers(repository):
                continue
            if LEVELS[one.permissions.get("checks", "")] >= LEVELS["write"]:
                known = len(repository.check_suites)
                suite = suite_for(repository, one.app, sha, branch=branch, before=before)
                if len(repository.check_suites) > known:
                    self.github.notify.check_suite(suite, "requested", self.github.ghost)

    def workflows(self, repository: Repository, event: str, sha: str, branch: str, sender: Account) -> None:
        start_workflows(repository, event, sha, branch, sender)

    def pulls(self, repository: Repository, branch: str, old: str, new: str, sender: Account) -> None:
        """Pull requests from this branch get a new head or are closed; into it, some turn out to be merged."""
        for holder in self.github.repositories:
            for pull in list(holder.pulls.values()):
                if pull.state != "open":
                    continue
                if pull.head_repository is repository and pull.head == branch:
                    if new == NOBODY:
                        pull.close(sender)
                    elif old != NOBODY:
                        self.synchronize(pull, old, new, sender)
                is_base = holder is repository and pull.base == branch and NOBODY not in {old, new}
                if is_base and pull.state == "open" and repository.git.is_ancestor(pull.head_sha, new):
                    self.merged(pull, new, sender)

    def synchronize(self, pull: Pull, old: str, new: str, sender: Account) -> None:
        self.leave(pull, sender, "branch_updated")
        self.refresh(pull, sender)
        if not pull.repository.git.is_ancestor(old, new):
            issues.happened(pull, "head_ref_force_pushed", sender, commit=new)
        self.github.notify.pull(pull, "synchronize", sender, before=old, after=new)
        self.pull_runs(pull, sender)

    def leave(self, pull: Pull, by: Account, reason: str) -> None:
        """Out of the merge queue, if it is in it."""
        if pull in pull.repository.queue:
            leave(pull, by, reason)

    def refresh(self, pull: Pull, sender: Account) -> None:
        """Bring head and refs/pull/N/head up to what the branch is now."""
        source = pull.head_repository
        assert source is not None
        new = source.git.resolve(f"refs/heads/{pull.head}") or pull.head_sha
        if source is not pull.repository:
            pull.repository.git.run(
                "fetch", "-q", str(source.git.path), f"+refs/heads/{pull.head}:refs/pull/{pull.number}/head"
            )
        pull.head_sha, pull.base_sha = new, pull.base_tip or pull.base_sha
        pull.updated_at = self.github.clock.now()
        pull.repository.git.update_ref(f"refs/pull/{pull.number}/head", new)
        if source is pull.repository:  # pushes to a fork are not seen here: no suite, and `head_branch` is null
            self.suites(pull.repository, new, pull.head, NOBODY)

    def pull_runs(self, pull: Pull, sender: Account) -> None:
        start_workflows(pull.repository, "pull_request", pull.head_sha, pull.head, sender, pull=pull)

    def merged(self, pull: Pull, sha: str, by: Account) -> None:
        """A pull request is merged, by whatever way its commits got into the base."""
        if pull in pull.repository.queue:
            pull.repository.queue.remove(pull)
        now = self.github.clock.now()
        pull.state, pull.merged_at, pull.closed_at, pull.updated_at = "closed", now, now, now
        pull.merged_by, pull.merge_commit_sha = by, sha
        issues.happened(pull, "merged", by, commit=sha)
        issues.happened(pull, "closed", by)
        self.github.notify.pull(pull, "closed", by)

    def queue(self, repository: Repository, branch: str) -> None:
        base_moved(repository, branch)

    def results(self, repository: Repository, sha: str) -> None:
        """A check or status on a commit is new or changed: the merge queue looks again."""
        advance(repository, sha)

    def is_green(self, repository: Repository, sha: str) -> bool:
        """Whether nothing on the commit, required or not, is anything but good."""
        runs = latest(runs_on(repository, sha))
        statuses = latest_statuses(repository, sha)
        return all(run.conclusion in SATISFYING for run in runs) and all(one.state == "success" for one in statuses)
