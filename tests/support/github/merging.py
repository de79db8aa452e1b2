"""Merging a pull request: what is asked first, and the three ways to write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2

from tests.support.github.exchange import Refusal
from tests.support.github.guarding import keep_suite
from tests.support.github.plumbing import GitError, Person
from tests.support.github.pushes import refs_moved
from tests.support.github.rules import against_merge, obstacles, rules_on

if TYPE_CHECKING:
    from tests.support.github.accounts import Actor
    from tests.support.github.pulls import Pull
    from tests.support.github.repositories import Repository

METHOD_NAMES = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}


def merge(
    pull: Pull, actor: Actor, *, method: str = "merge", title: str = "", message: str | None = None, sha: str = ""
) -> str:
    """Merge it as this actor. Shape: the sha the base is at then. Raises: Refusal 405 or 409."""
    repository = pull.repository
    if pull.state != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    if sha and sha != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    if pull.draft:
        raise Refusal(405, "Pull Request is still a draft")
    if method not in repository.merge_methods:
        raise Refusal(405, f"{METHOD_NAMES.get(method, method)} are not allowed on this repository.")
    if not pull.test_tree:
        raise Refusal(405, "Pull Request is not mergeable")
    if found := obstacles(pull, actor, method):
        keep_merge(pull, pull.head_sha, actor, method)
        raise Refusal(405, "Repository rule violations found\n\n" + "\n\n".join(found) + "\n\n")
    base = pull.base_tip
    new = write(pull, base, method, title, message, actor)
    try:
        repository.git.update_ref(f"refs/heads/{pull.base}", new, base)
    except GitError:
        raise Refusal(409, "Base branch was modified. Review and try the merge again.") from None
    keep_merge(pull, new, actor, method, before=base)
    by = actor.account or repository.github.ghost
    repository.github.follow.merged(pull, new, by)
    refs_moved(repository, [(base, new, f"refs/heads/{pull.base}")], by)
    if repository.delete_branch_on_merge and pull.head_repository is repository:
        repository.delete_branch(pull.head, by=by)
    return new


def keep_merge(pull: Pull, after: str, actor: Actor, method: str, before: str = "") -> None:
    """The rule suite of a merge, where rulesets are on the base."""
    rules = [rule for rule in rules_on(pull.repository, pull.base) if rule.ruleset]
    if not rules:
        return
    found, passed = [], []
    for rule in rules:
        mine = passed if rule.lets_pass(pull.repository, actor, by_pull=True) else found
        mine += [(rule, text) for text in against_merge(rule, pull, actor, method, queued=False)]
    keep_suite(pull.repository, f"refs/heads/{pull.base}", before or pull.base_tip, after, actor, found, passed)


def default_title(pull: Pull, method: str) -> str:
    if method == "squash":
        return f"{pull.title} (#{pull.number})"
    owner = pull.head_repository.owner.login if pull.head_repository else "unknown"
    return f"Merge pull request #{pull.number} from {owner}/{pull.head}"


def committer(repository: Repository) -> Person:
    """GitHub itself commits what is merged over the web or the API."""
    return Person("GitHub", "noreply@github.com", repository.github.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"))


def write(pull: Pull, base: str, method: str, title: str, message: str | None, actor: Actor) -> str:
    repository = pull.repository
    git, by = repository.git, committer(repository)
    author = repository.person(actor.account or repository.github.ghost)
    if method == "rebase":
        return replay(pull, base, by)
    default = pull.title if method == "merge" else squashed(pull)
    text = f"{title or default_title(pull, method)}\n\n{default if message is None else message}".rstrip() + "\n"
    if method == "squash":
        author = repository.person(pull.user)
    parents = [base, pull.head_sha] if method == "merge" else [base]
    return git.write_commit(git.merge_tree(base, pull.head_sha), parents, text, author, by)


def squashed(pull: Pull) -> str:
    """The message of a squash: that of the only commit, or a list of all."""
    commits = pull.repository.git.commits(f"{pull.base_tip}..{pull.head_sha}", "--reverse")
    if len(commits) == 1:
        return commits[0].message.partition("\n")[2].strip()
    return "\n\n".join(f"* {one.message}" for one in commits)


def replay(pull: Pull, base: str, by: Person) -> str:
    """Each commit of the head again on the base. Raises: Refusal 405 where one does not apply."""
    git = pull.repository.git
    store = pygit2.Repository(str(git.path))
    tip = base
    for commit in git.commits(f"{base}..{pull.head_sha}", "--reverse", "--topo-order", "--no-merges"):
        parent = commit.parents[0]
        index = store.merge_trees(git.resolve(parent, "tree"), git.resolve(tip, "tree"), commit.tree)
        if index.conflicts is not None:
            raise Refusal(405, "This branch can't be rebased due to conflicts")
        tip = git.write_commit(str(index.write_tree(store)), [tip], commit.message + "\n", commit.author, by)
    return tip
