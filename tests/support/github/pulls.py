"""A pull request: its head and base, whether it could be merged, and what people do to it in the browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.support.github import issues
from tests.support.github.issues import Comment, Label
from tests.support.github.rules import obstacles

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, Actor, App
    from tests.support.github.repositories import Repository


@dataclass(eq=False)
class Review:
    id: int
    user: Account
    state: str
    body: str
    commit_id: str
    submitted_at: datetime | None


@dataclass(eq=False)
class Remark:
    """A comment on a line."""

    pull: Pull
    id: int
    user: Account
    path: str
    body: str
    commit_id: str
    created_at: datetime


@dataclass(eq=False)
class Pull:
    """`head_repository` None: the fork it came from was deleted. `head_sha` is the last one GitHub saw."""

    repository: Repository
    id: int
    number: int
    title: str
    body: str | None
    user: Account
    base: str
    base_sha: str
    head: str
    head_sha: str
    head_repository: Repository | None
    created_at: datetime
    updated_at: datetime
    draft: bool = False
    state: str = "open"
    labels: list[Label] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    requested: list[Account] = field(default_factory=list)
    merged_at: datetime | None = None
    merged_by: Account | None = None
    closed_at: datetime | None = None
    merge_commit_sha: str | None = None
    performed_via: App | None = None
    merge_request: dict[str, Any] = field(default_factory=dict)

    @property
    def merged(self) -> bool:
        return self.merged_at is not None

    @property
    def base_tip(self) -> str:
        return self.repository.git.resolve(f"refs/heads/{self.base}")

    @property
    def test_tree(self) -> str:
        """The tree of merging head into base. Empty: there are conflicts."""
        if self.merged:
            return ""
        return self.repository.git.merge_tree(self.base_tip, self.head_sha)

    @property
    def merges_cleanly(self) -> bool | None:
        """What the REST API calls ``mergeable``: whether there are conflicts, nothing about rules."""
        return None if self.merged else bool(self.test_tree)

    @property
    def is_behind(self) -> bool:
        return not self.repository.git.is_ancestor(self.base_tip, self.head_sha)

    def obstacles(self, actor: Actor | None = None) -> list[str]:
        """Why GitHub would refuse to merge it, for somebody without a bypass when no `actor` is given."""
        if self.state != "open":
            return ["Pull Request is not open"]
        if self.draft:
            return ["Pull Request is still a draft"]
        return [] if not self.test_tree else obstacles(self, actor)

    @property
    def mergeable(self) -> bool:
        """Whether it could be merged now by somebody without a bypass: no conflict and every rule met."""
        return self.state == "open" and bool(self.test_tree) and not self.obstacles()

    @property
    def mergeable_state(self) -> str:
        """clean, dirty, draft, behind, blocked, unstable or unknown."""
        if self.merged:
            return "unknown"
        if not self.test_tree:
            return "dirty"
        if self.draft:
            return "draft"
        if found := self.obstacles():
            return "behind" if all("out of date" in one for one in found) else "blocked"
        return "clean" if self.repository.github.follow.is_green(self.repository, self.head_sha) else "unstable"

    # --- what people do in the browser ---

    def comment(self, body: str, by: Account) -> Comment:
        with self.repository.github.lock:
            return issues.add_comment(self, body, by)

    def remark(self, body: str, by: Account, *, path: str = "README.md") -> Remark:
        """Somebody comments on a line of a file."""
        github = self.repository.github
        with github.lock:
            one = Remark(self, github.new_id(), by, path, body, self.head_sha, github.clock.now())
            self.repository.remarks.append(one)
            return one

    def label(self, *names: str, by: Account) -> None:
        with self.repository.github.lock:
            issues.set_labels(self, [one.name for one in self.labels] + list(names), by)

    def unlabel(self, *names: str, by: Account) -> None:
        with self.repository.github.lock:
            issues.set_labels(self, [one.name for one in self.labels if one.name not in names], by)

    def edit(self, by: Account, *, base: str = "", title: str = "", body: str | None = None) -> None:
        with self.repository.github.lock:
            self.change(by, base=base, title=title, body=body)

    def change(self, by: Account, *, base: str = "", title: str = "", body: str | None = None) -> None:
        changes: dict[str, Any] = {}
        if title and title != self.title:
            changes["title"] = {"from": self.title}
            self.title = title
        if body is not None and body != self.body:
            changes["body"] = {"from": self.body or ""}
            self.body = body
        if base and base != self.base:
            changes["base"] = {"ref": {"from": self.base}, "sha": {"from": self.base_sha}}
            self.base = base
            self.base_sha = self.base_tip
        self.updated_at = self.repository.github.clock.now()
        if changes:
            self.repository.github.notify.pull(self, "edited", by, changes=changes)

    def close(self, by: Account) -> None:
        github = self.repository.github
        with github.lock:
            if self.state == "open":
                github.follow.leave(self, by, "closed")
                self.state, self.closed_at = "closed", github.clock.now()
                issues.happened(self, "closed", by)
                github.notify.pull(self, "closed", by)

    def reopen(self, by: Account) -> None:
        github = self.repository.github
        with github.lock:
            if self.state == "closed" and not self.merged:
                self.state, self.closed_at = "open", None
                github.follow.refresh(self, by)
                issues.happened(self, "reopened", by)
                github.notify.pull(self, "reopened", by)

    def review(self, state: str, by: Account, *, body: str = "", sha: str = "") -> Review:
        """Shape: `state` APPROVED, CHANGES_REQUESTED or COMMENTED."""
        github = self.repository.github
        with github.lock:
            review = Review(github.new_id(), by, state, body, sha or self.head_sha, github.clock.now())
            self.reviews.append(review)
            github.notify.review(self, review, "submitted", by)
            return review

    def approvals(self) -> list[Review]:
        """The last word of everybody who has write access and is not the author, where it is an approval."""
        last: dict[int, Review] = {}
        for one in self.reviews:
            if one.state in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}:
                last[one.user.id] = one
        return [one for one in last.values() if one.state == "APPROVED" and one.user is not self.user]
