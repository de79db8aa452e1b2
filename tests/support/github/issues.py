"""Labels, comments, reactions and what issues and pull requests say happened to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from tests.support.github.accounts import is_at_least

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, App
    from tests.support.github.pulls import Pull
    from tests.support.github.repositories import Repository

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")


@dataclass(eq=False)
class Issue:
    """An issue that is no pull request."""

    repository: Repository
    id: int
    number: int
    title: str
    body: str | None
    user: Account
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    labels: list[Label] = field(default_factory=list)
    closed_at: datetime | None = None
    performed_via: App | None = None


@dataclass(eq=False)
class Label:
    repository: Repository
    id: int
    name: str
    color: str = "ededed"
    description: str | None = ""


@dataclass(eq=False)
class Reaction:
    id: int
    user: Account
    content: str
    created_at: datetime


@dataclass(eq=False)
class Comment:
    on: Issue | Pull
    id: int
    user: Account
    body: str
    created_at: datetime
    updated_at: datetime
    app: App | None = None
    reactions: list[Reaction] = field(default_factory=list)

    def edit(self, body: str, by: Account) -> None:
        """A person edits it in the browser."""
        github = self.on.repository.github
        with github.lock:
            earlier, self.body, self.updated_at = self.body, body, github.clock.now()
            github.notify.comment(self, "edited", by, earlier=earlier)

    def delete(self, by: Account) -> None:
        """A person deletes it in the browser."""
        github = self.on.repository.github
        with github.lock:
            self.on.repository.comments.remove(self)
            github.notify.comment(self, "deleted", by)


@dataclass(eq=False)
class IssueEvent:
    """Shape: `event` labeled, unlabeled, closed, reopened, merged, renamed, head_ref_force_pushed, …"""

    on: Issue | Pull
    id: int
    event: str
    actor: Account
    created_at: datetime
    commit_id: str | None = None
    label: Label | None = None


def find(repository: Repository, number: int) -> Issue | Pull | None:
    return repository.pulls.get(number) or repository.issues.get(number)


def label_named(repository: Repository, name: str) -> Label:
    """The label, which is made when it is not there: GitHub does so when one is put on an issue."""
    for label in repository.labels:
        if label.name.lower() == name.lower():
            return label
    label = Label(repository, repository.github.new_id(), name)
    repository.labels.append(label)
    return label


def happened(
    on: Issue | Pull, event: str, by: Account, *, commit: str | None = None, label: Label | None = None
) -> None:
    github = on.repository.github
    on.repository.events.append(IssueEvent(on, github.new_id(), event, by, github.clock.now(), commit, label))


def set_labels(on: Issue | Pull, names: list[str], by: Account) -> None:
    """Exactly these labels; an event for each one that came or went."""
    wanted = [label_named(on.repository, name) for name in dict.fromkeys(names)]
    notify = on.repository.github.notify
    for label in [one for one in on.labels if one not in wanted]:
        on.labels.remove(label)
        happened(on, "unlabeled", by, label=label)
        notify.labelled(on, "unlabeled", label, by)
    for label in [one for one in wanted if one not in on.labels]:
        on.labels.append(label)
        happened(on, "labeled", by, label=label)
        notify.labelled(on, "labeled", label, by)


def add_comment(on: Issue | Pull, body: str, by: Account, app: App | None = None) -> Comment:
    github = on.repository.github
    now = github.clock.now()
    comment = Comment(on, github.new_id(), by, body, now, now, app)
    on.repository.comments.append(comment)
    github.notify.comment(comment, "created", by)
    return comment


def association(repository: Repository, account: Account) -> str:
    """How somebody stands to a repository, as GitHub writes it beside what they say."""
    if account is repository.owner:
        return "OWNER"
    if account.id in repository.owner.members:
        return "MEMBER"
    return (
        "COLLABORATOR"
        if is_at_least(repository.role_of(account), "pull") and account.id in repository.roles
        else "NONE"
    )
