"""The events of GitHub: who is told, and in what words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.github import show, show_checks, show_git, show_pulls
from tests.support.github.accounts import GITHUB_ACTIONS, LEVELS
from tests.support.github.hooks import make
from tests.support.github.plumbing import NOBODY
from tests.support.github.pulls import Pull
from tests.support.github.show import Json, node, stamp

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, App, Installation
    from tests.support.github.checks import CheckRun, CheckSuite, CommitStatus
    from tests.support.github.issues import Comment, Issue, Label
    from tests.support.github.pulls import Review
    from tests.support.github.queues import Group
    from tests.support.github.repositories import Repository
    from tests.support.github.rules import Ruleset
    from tests.support.github.runs import Job, WorkflowRun
    from tests.support.github.world import GitHub

# The permission an App needs to be sent an event: "Webhook events and payloads", "Availability" of each.
PERMISSIONS = {
    "push": "contents", "create": "contents", "delete": "contents", "pull_request": "pull_requests",
    "pull_request_review": "pull_requests", "check_run": "checks", "check_suite": "checks", "workflow_run": "actions",
    "workflow_job": "actions", "status": "statuses", "merge_group": "merge_queues",
    "branch_protection_rule": "administration", "repository_ruleset": "administration", "repository": "metadata",
}  # fmt: skip


class Notifier:
    def __init__(self, github: GitHub) -> None:
        self.github = github

    def tell(
        self,
        event: str,
        repository: Repository,
        sender: Account,
        payload: Callable[[], Json],
        *,
        only: App | None = None,
        seconds: bool = False,
    ) -> None:
        """Make the event for everybody who takes it. `only`: nobody but this App."""
        targets: list[tuple[Any, Installation | None]] = [
            (hook, None)
            for hook in repository.hooks
            if only is None and hook.active and (event in hook.events or "*" in hook.events)
        ]
        for one in self.github.installations:
            is_meant = one.covers(repository) and only in {None, one.app} and is_told(one, event, own=only is not None)
            if is_meant and one.app.webhook_url and not one.suspended_at:
                targets.append((one.app, one))
        if not targets:
            return
        body = payload() | {
            "repository": show.hook_repository(repository, seconds=seconds), "sender": show.user(sender)
        }  # fmt: skip
        if repository.owner.type == "Organization":
            body["organization"] = show.organization(repository.owner)
            if seconds:
                body["repository"]["organization"] = repository.owner.login
        for target, installation in targets:
            whole = dict(body)
            if installation:
                whole["installation"] = {"id": installation.id, "node_id": node("Installation", installation.id)}
            make(self.github, event, whole, target, installation=installation, repository=repository)

    def pushed(self, repository: Repository, old: str, new: str, ref: str, sender: Account) -> None:
        kind, name = ("branch", ref[11:]) if ref.startswith("refs/heads/") else ("tag", ref[10:])
        if new == NOBODY:
            self.tell("delete", repository, sender, lambda: {"ref": name, "ref_type": kind, "pusher_type": "user"})
        elif old == NOBODY:
            described = {"master_branch": repository.default_branch, "description": repository.description or None}
            self.tell(
                "create",
                repository,
                sender,
                lambda: {"ref": name, "ref_type": kind, "pusher_type": "user"} | described,
            )
        self.tell("push", repository, sender, lambda: push(repository, old, new, ref, sender), seconds=True)

    def pull(self, one: Pull, action: str, sender: Account, **more: Any) -> None:
        self.tell(
            "pull_request",
            one.repository,
            sender,
            lambda: {"action": action, "number": one.number, "pull_request": hook_pull(show_pulls.pull(one))} | more,
        )

    def labelled(self, on: Issue | Pull, action: str, label: Label, sender: Account) -> None:
        if isinstance(on, Pull):
            self.pull(on, action, sender, label=show_pulls.label(label))

    def review(self, of: Pull, one: Review, action: str, sender: Account) -> None:
        def body() -> Json:
            shown = show_pulls.review(of, one) | {"state": one.state.lower()}
            return {"action": action, "review": shown, "pull_request": hook_pull(show_pulls.simple_pull(of))}

        self.tell("pull_request_review", of.repository, sender, body)

    def comment(self, one: Comment, action: str, sender: Account, *, earlier: str = "") -> None:
        def body() -> Json:
            issue = show_pulls.issue(one.on)
            shown = {"action": action, "issue": issue, "comment": show_pulls.comment(one)}
            return shown | ({"changes": {"body": {"from": earlier}}} if action == "edited" else {})

        self.tell("issue_comment", one.on.repository, sender, body)

    def check_run(self, one: CheckRun, action: str, sender: Account, *, identifier: str = "") -> None:
        def body() -> Json:
            shown = show_checks.check_run(one)
            suite = show_checks.check_suite(one.suite)
            keep = ("id", "node_id", "head_branch", "head_sha", "status", "conclusion", "url", "before", "after",
                    "pull_requests", "app", "created_at", "updated_at")  # fmt: skip
            shown["check_suite"] = {name: suite[name] for name in keep} | {"app": hook_app(suite["app"])}
            shown["app"] = hook_app(shown["app"])
            more = {"requested_action": {"identifier": identifier}} if identifier else {}
            return {"action": action, "check_run": shown} | more

        own = action in {"requested_action", "rerequested"}
        self.tell("check_run", one.repository, sender, body, only=one.app if own else None)

    def check_suite(self, one: CheckSuite, action: str, sender: Account) -> None:
        def body() -> Json:
            shown = show_checks.check_suite(one)
            shown.pop("repository")
            return {"action": action, "check_suite": shown | {"app": hook_app(shown["app"])}}

        self.tell("check_suite", one.repository, sender, body, only=None if action == "completed" else one.app)

    def status(self, one: CommitStatus, sender: Account) -> None:
        def body() -> Json:
            home = one.repository
            heads = [
                show_git.branch(home, name[11:], sha)
                for name, (sha, _) in home.git.refs("refs/heads/").items()
                if sha == one.sha
            ]
            commit = show_git.commit(home, home.git.commit(one.sha))
            commit["commit"]["verification"] = {
                name: value for name, value in show_git.UNSIGNED.items() if name != "verified_at"
            }
            return {
                "id": one.id, "sha": one.sha, "name": home.full_name, "target_url": one.target_url,
                "avatar_url": f"{self.github.url}/avatars/u/{one.creator.id}", "context": one.context,
                "description": one.description, "state": one.state,
                "commit": commit, "branches": heads,
                "created_at": stamp(one.created_at), "updated_at": stamp(one.created_at),
            }  # fmt: skip

        self.tell("status", one.repository, sender, body)

    def workflow_run(self, one: WorkflowRun, action: str, sender: Account) -> None:
        def body() -> Json:
            shown = show_checks.workflow_run(one)
            return {"action": action, "workflow": show_checks.workflow(one.workflow), "workflow_run": shown}

        self.tell("workflow_run", one.repository, sender, body)

    def workflow_job(self, one: Job, action: str, sender: Account) -> None:
        self.tell(
            "workflow_job", one.run.repository, sender, lambda: {"action": action, "workflow_job": show_checks.job(one)}
        )

    def merge_group(self, one: Group, action: str, sender: Account, *, reason: str = "") -> None:
        def body() -> Json:
            shown = {
                "head_sha": one.head_sha, "head_ref": one.ref, "base_sha": one.base_sha,
                "base_ref": f"refs/heads/{one.base}", "head_commit": show_git.simple_commit(one.repository, one.head_sha),
            }  # fmt: skip
            return {"action": action, "merge_group": shown} | ({"reason": reason} if reason else {})

        self.tell("merge_group", one.repository, sender, body)

    def ruleset(self, one: Ruleset, action: str, sender: Account, shown: Json, changes: Json | None = None) -> None:
        body = {"action": action, "repository_ruleset": shown} | ({"changes": changes} if changes is not None else {})
        self.tell("repository_ruleset", one.repository, sender, lambda: body)

    def protection(self, repository: Repository, action: str, sender: Account, rule: Json, changes: Json) -> None:
        body = {"action": action, "rule": rule} | ({"changes": changes} if action == "edited" else {})
        self.tell("branch_protection_rule", repository, sender, lambda: body)

    def repository(self, one: Repository, action: str, sender: Account, changes: Json | None = None) -> None:
        self.tell("repository", one, sender, lambda: {"action": action} | ({"changes": changes} if changes else {}))

    def installation(self, one: Installation, action: str, sender: Account, **more: Any) -> None:
        """Every App is told of its own installations, whatever it subscribed to."""
        if not one.app.webhook_url:
            return
        event = "installation_repositories" if "repositories_added" in more else "installation"
        payload = {
            "action": action,
            "installation": hook_app(show.installation(one)),
            "sender": show.user(sender),
        } | more
        make(self.github, event, payload, one.app, installation=one)


def is_told(one: Installation, event: str, *, own: bool) -> bool:
    """Whether an installation's App takes an event: it subscribed and holds the permission.

    What is asked of an App's own checks comes with the permission to write them.
    """
    if one.app.id == GITHUB_ACTIONS:
        return False
    if event == "issue_comment":
        allowed = any(one.permissions.get(name) for name in ("issues", "pull_requests"))
    else:
        name = PERMISSIONS[event]
        allowed = name == "metadata" or LEVELS[one.permissions.get(name, "")] >= 1
    return allowed and (event in one.app.events or (own and one.permissions.get("checks") == "write"))


def hook_pull(shown: Json) -> Json:
    """A pull request as webhooks carry it."""
    for side in ("head", "base"):
        if shown[side]["repo"]:
            shown[side]["repo"]["custom_properties"] = {}
    return shown


def hook_app(shown: Json) -> Json:
    """An App or an installation as webhooks carry it."""
    return {name: value for name, value in shown.items() if name != "client_id"}


def push(repository: Repository, old: str, new: str, ref: str, sender: Account) -> Json:
    git = repository.git
    commits = []
    if new != NOBODY:
        reach = f"{old}..{new}" if old != NOBODY else f"refs/heads/{repository.default_branch}..{new}"
        exists = old != NOBODY or git.resolve(f"refs/heads/{repository.default_branch}")
        commits = [pushed(repository, one.sha) for one in git.commits(reach if exists else new, "--reverse")[-2048:]]
    forced = NOBODY not in {old, new} and not git.is_ancestor(old, new)
    name = sender.login
    return {
        "ref": ref, "before": old, "after": new, "created": old == NOBODY, "deleted": new == NOBODY, "forced": forced,
        "base_ref": None, "compare": f"{repository.html_url}/compare/{old[:12]}...{new[:12]}", "commits": commits,
        "head_commit": pushed(repository, new) if new != NOBODY else None,
        "pusher": {"name": name, "email": f"{name}@users.noreply.github.com"},
    }  # fmt: skip


def pushed(repository: Repository, sha: str) -> Json:
    git = repository.git
    one = git.commit(git.resolve(sha))
    kinds: dict[str, list[str]] = {"added": [], "removed": [], "modified": []}
    base = one.parents[0] if one.parents else ""
    for status, path, *_ in git.changed(base, one.sha) if base else []:
        kinds[status if status in kinds else "modified"].append(path)
    shown = show_git.simple_commit(repository, one.sha)
    return shown | kinds | {"distinct": True, "url": f"{repository.html_url}/commit/{sha}"}
