"""A repository: a real bare one on disk, and what GitHub keeps beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.support.github.accounts import GITHUB_ACTIONS, Account, Actor, App, Token
from tests.support.github.plumbing import NOBODY, Git, Person
from tests.support.github.pushes import refs_moved
from tests.support.github.rules import Ruleset

if TYPE_CHECKING:
    from tests.support.github.checks import CheckRun, CheckSuite, CommitStatus
    from tests.support.github.guarding import RuleSuite
    from tests.support.github.hooks import Hook
    from tests.support.github.issues import Comment, Issue, IssueEvent, Label
    from tests.support.github.pulls import Pull, Remark
    from tests.support.github.queues import Group
    from tests.support.github.runs import Workflow, WorkflowRun
    from tests.support.github.world import GitHub


@dataclass(eq=False)
class Repository:
    """`id` is what stays when it is renamed or transferred. Everything it holds is in plain lists, oldest first."""

    github: GitHub
    id: int
    owner: Account
    name: str
    git: Git
    created_at: datetime
    private: bool = True
    default_branch: str = "main"
    parent: Repository | None = None
    description: str = ""
    archived: bool = False
    roles: dict[int, str] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: list[Comment] = field(default_factory=list)
    events: list[IssueEvent] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    check_suites: list[CheckSuite] = field(default_factory=list)
    check_runs: list[CheckRun] = field(default_factory=list)
    statuses: list[CommitStatus] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    rulesets: list[Ruleset] = field(default_factory=list)
    rule_suites: list[RuleSuite] = field(default_factory=list)
    has_rulesets: bool = True  # an older server, or a plan without them, has none
    protections: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)
    workflows: list[Workflow] = field(default_factory=list)
    runs: list[WorkflowRun] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    queue: list[Pull] = field(default_factory=list)
    pushed_at: datetime = field(init=False)
    secrets: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    environments: list[dict[str, Any]] = field(default_factory=list)
    merge_methods: set[str] = field(default_factory=lambda: {"merge", "squash", "rebase"})
    delete_branch_on_merge: bool = False
    actions_permissions: dict[str, Any] = field(default_factory=lambda: {"enabled": True, "allowed_actions": "all"})
    token_permissions: dict[str, Any] = field(
        default_factory=lambda: {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    )

    def __post_init__(self) -> None:
        self.pushed_at = self.created_at

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    @property
    def url(self) -> str:
        return f"{self.github.api}/repos/{self.full_name}"

    @property
    def html_url(self) -> str:
        return f"{self.github.url}/{self.full_name}"

    @property
    def clone_url(self) -> str:
        """Where git pushes to and fetches from; a token goes in as the password of ``x-access-token``."""
        return f"{self.html_url}.git"

    def url_with(self, token: str) -> str:
        """The clone address with a token in it."""
        return self.clone_url.replace("://", f"://x-access-token:{token}@")

    def role_of(self, account: Account | None) -> str:
        """pull, triage, push, maintain or admin; empty: none."""
        if account is None:
            return ""
        if account is self.owner or self.owner.members.get(account.id) == "admin":
            return "admin"
        return self.roles.get(account.id, "pull" if account.id in self.owner.members else "")

    def add(self, user: Account, role: str = "push") -> None:
        """Make somebody a collaborator, without the request."""
        self.roles[user.id] = role

    # --- git, as a member would do it from a clone, without the transport ---

    def sha(self, branch: str = "") -> str:
        """Where a branch (or any other name of a commit) is. Empty: there is none."""
        return self.git.find_commit(branch or self.default_branch)

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        *,
        branch: str = "",
        message: str = "Change",
        by: Account | None = None,
        parent: str | None = None,
        force: bool = False,
    ) -> str:
        """Push a commit on a branch, which is made when it is not there, past every rule. None deletes a file.

        `parent`: another commit than the tip (with `force`: the branch is rewritten). Shape: the sha of the new commit.
        """
        branch = branch or self.default_branch
        by = by or self.github.ghost
        with self.github.lock:
            old = self.git.resolve(f"refs/heads/{branch}")
            base = parent if parent is not None else old or self.git.resolve(f"refs/heads/{self.default_branch}")
            assert force or parent is None or parent == old or not old, "this rewrites the branch: force=True"
            who = self.person(by)
            given = {name: one.encode() if isinstance(one, str) else one for name, one in files.items()}
            tree = self.git.write_tree(base, given) if given else self.git.resolve(base, "tree")
            new = self.git.write_commit(tree, [base] if base else [], message, who, who)
            self.move(f"refs/heads/{branch}", new, by=by)
        return new

    def move(self, ref: str, new: str, *, by: Account | None = None) -> None:
        """Set a ref, past every rule, with all that follows from it (events, heads, runs). NOBODY deletes it."""
        with self.github.lock:
            old = self.git.refs().get(ref, (NOBODY, ""))[0]
            self.git.update_ref(ref, new)
            refs_moved(self, [(old, new, ref)], by or self.github.ghost)

    def delete_branch(self, branch: str, *, by: Account | None = None) -> None:
        self.move(f"refs/heads/{branch}", NOBODY, by=by)

    def person(self, account: Account) -> Person:
        when = self.github.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return Person(account.login, f"{account.id}+{account.login}@users.noreply.github.com", when)

    def number(self) -> int:
        """The next number of an issue or pull request."""
        return max([0, *self.pulls, *self.issues]) + 1

    # --- short for what tests do often ---

    def open_pull(self, head: str, *, by: Account, base: str = "", title: str = "", **more: Any) -> Pull:
        """Open a pull request. Shape: `more` body, draft, source (the fork `head` is in)."""
        with self.github.lock:
            return self.github.follow.open(
                self, head=head, base=base or self.default_branch, title=title or head, by=by, **more
            )

    def require(
        self, *contexts: str, app: App | None = None, strict: bool = False, name: str = "required", **more: Any
    ) -> Ruleset:
        """A ruleset on the default branch with these required checks, pinned to the App. Shape: `more` fields of Ruleset."""
        checks = [{"context": one} | ({"integration_id": app.id} if app else {}) for one in contexts]
        parameters = {"required_status_checks": checks, "strict_required_status_checks_policy": strict}
        return self.rule({"type": "required_status_checks", "parameters": parameters}, name=name, **more)

    def rule(self, *rules: dict[str, Any], name: str = "rules", **more: Any) -> Ruleset:
        """A ruleset with these rules, active on the default branch."""
        now = self.github.clock.now()
        given = {
            "target": "branch", "enforcement": "active", "bypass_actors": [], "rules": list(rules),
            "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        } | more  # fmt: skip
        ruleset = Ruleset(repository=self, id=self.github.new_id(), name=name, created_at=now, updated_at=now, **given)
        self.rulesets.append(ruleset)
        return ruleset

    def enqueue(self, *pulls: Pull, by: Account, together: bool = False) -> list[Group]:
        with self.github.lock:
            return self.github.follow.enqueue(list(pulls), self.actor(by), together=together)

    def actions_token(self, **permissions: str) -> str:
        """A GITHUB_TOKEN of github-actions in this repository, with the permissions a workflow would declare."""
        app = next(one for one in self.github.apps if one.id == GITHUB_ACTIONS)
        return self.github.install(app, self).token(permissions=permissions or None, repositories=[self])

    def installed(self, app: App) -> bool:
        return any(one.app is app and one.covers(self) for one in self.github.installations)

    def actor(self, user: Account) -> Actor:
        return Actor(token=Token(user=user))
