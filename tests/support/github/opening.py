"""Opening a pull request, by the API or by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.github.exchange import invalid
from tests.support.github.pulls import Pull

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, App
    from tests.support.github.repositories import Repository


def open_pull(
    repository: Repository,
    *,
    head: str,
    base: str,
    title: str,
    by: Account,
    body: str | None = None,
    source: Repository | None = None,
    draft: bool = False,
    app: App | None = None,
) -> Pull:
    """Open one, under the lock. Raises: Refusal 422."""
    github, source = repository.github, source or repository
    sha, tip = source.git.resolve(f"refs/heads/{head}"), repository.git.resolve(f"refs/heads/{base}")
    if not sha:
        raise invalid(resource="PullRequest", field="head", code="invalid")
    if not tip:
        raise invalid(resource="PullRequest", field="base", code="invalid")
    for other in repository.pulls.values():
        if (other.state, other.head, other.head_repository, other.base) == ("open", head, source, base):
            text = f"A pull request already exists for {source.owner.login}:{head}."
            raise invalid(resource="PullRequest", code="custom", message=text)
    number, now = repository.number(), github.clock.now()
    pull = Pull(
        repository, github.new_id(), number, title, body, by, base, tip, head, sha, source, now, now,
        draft=draft, performed_via=app,
    )  # fmt: skip
    github.follow.refresh(pull, by)
    if source is repository and repository.git.is_ancestor(sha, tip):
        repository.git.update_ref(f"refs/pull/{number}/head", "0" * 40)
        text = f"No commits between {base} and {head}"
        raise invalid(resource="PullRequest", code="custom", message=text)
    repository.pulls[number] = pull
    github.notify.pull(pull, "opened", by)
    github.follow.pull_runs(pull, by)
    return pull
