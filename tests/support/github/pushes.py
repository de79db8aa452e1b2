"""What follows when refs move: events, heads of pull requests, suites, workflow runs, the merge queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.github.plumbing import NOBODY

if TYPE_CHECKING:
    from tests.support.github.accounts import Account
    from tests.support.github.repositories import Repository

type Move = tuple[str, str, str]  # old, new, ref


def refs_moved(repository: Repository, moves: list[Move], sender: Account) -> None:
    """Told after the fact, under the lock, by whatever moved them."""
    github = repository.github
    for old, new, ref in moves:
        if old == new or not ref.startswith(("refs/heads/", "refs/tags/")):
            continue
        repository.pushed_at = github.clock.now()
        github.notify.pushed(repository, old, new, ref, sender)
        if not ref.startswith("refs/heads/"):
            continue
        branch = ref.removeprefix("refs/heads/")
        if new != NOBODY:
            github.follow.suites(repository, new, branch, old)
            github.follow.workflows(repository, "push", new, branch, sender)
        github.follow.pulls(repository, branch, old, new, sender)
        github.follow.queue(repository, branch)
