"""How GitHub writes pull requests, issues, comments and labels in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.support.github.issues import REACTIONS, Comment, Issue, IssueEvent, Label, Reaction, association
from tests.support.github.pulls import Pull, Remark, Review
from tests.support.github.show import Json, app, node, repository, stamp, stamp_or_none, user

if TYPE_CHECKING:
    from tests.support.github.repositories import Repository


def label(one: Label) -> Json:
    return {
        "id": one.id, "node_id": node("Label", one.id), "url": f"{one.repository.url}/labels/{quote(one.name)}",
        "name": one.name, "color": one.color, "default": False, "description": one.description,
    }  # fmt: skip


def side(of: Repository | None, ref: str, sha: str, owner: Any) -> Json:
    login = of.owner.login if of else owner.login
    return {
        "label": f"{login}:{ref}", "ref": ref, "sha": sha, "user": user(of.owner if of else owner),
        "repo": repository(of) if of else None,
    }  # fmt: skip


def simple_pull(one: Pull) -> Json:
    """As lists carry it."""
    url, html = f"{one.repository.url}/pulls/{one.number}", f"{one.repository.html_url}/pull/{one.number}"
    issue = f"{one.repository.url}/issues/{one.number}"
    links = {
        "self": url, "html": html, "issue": issue, "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments", "review_comment": f"{one.repository.url}/pulls/comments{{/number}}",
        "commits": f"{url}/commits", "statuses": f"{one.repository.url}/statuses/{one.head_sha}",
    }  # fmt: skip
    return {
        "url": url, "id": one.id, "node_id": node("PullRequest", one.id), "html_url": html, "diff_url": f"{html}.diff",
        "patch_url": f"{html}.patch", "issue_url": issue, "commits_url": links["commits"],
        "review_comments_url": links["review_comments"], "review_comment_url": links["review_comment"],
        "comments_url": links["comments"], "statuses_url": links["statuses"], "number": one.number, "state": one.state,
        "locked": False, "title": one.title, "user": user(one.user), "body": one.body,
        "labels": [label(each) | {"description": each.description or ""} for each in one.labels], "milestone": None, "active_lock_reason": None,
        "created_at": stamp(one.created_at), "updated_at": stamp(one.updated_at),
        "closed_at": stamp_or_none(one.closed_at), "merged_at": stamp_or_none(one.merged_at),
        "merge_commit_sha": one.merge_commit_sha, "assignee": None, "assignees": [],
        "requested_reviewers": [user(each) for each in one.requested], "requested_teams": [],
        "head": side(one.head_repository, one.head, one.head_sha, one.user),
        "base": side(one.repository, one.base, one.base_sha, one.user),
        "_links": {name: {"href": address} for name, address in links.items()},
        "author_association": association(one.repository, one.user), "auto_merge": None, "draft": one.draft,
    }  # fmt: skip


def pull(one: Pull) -> Json:
    git = one.repository.git
    base = one.base_sha if one.merged else one.base_tip or one.base_sha
    changed = git.changed(git.merge_base(base, one.head_sha) or base, one.head_sha)
    return simple_pull(one) | {
        "merged": one.merged, "mergeable": one.merges_cleanly, "rebaseable": one.merges_cleanly,
        "mergeable_state": one.mergeable_state, "merged_by": user(one.merged_by) if one.merged_by else None,
        "comments": sum(each.on is one for each in one.repository.comments), "review_comments": 0,
        "maintainer_can_modify": False, "commits": git.count(base, one.head_sha),
        "additions": sum(each[4] for each in changed), "deletions": sum(each[5] for each in changed),
        "changed_files": len(changed),
    }  # fmt: skip


def minimal_pull(one: Pull) -> Json:
    """As suites and runs carry it."""
    head = one.head_repository or one.repository
    return {
        "id": one.id, "number": one.number, "url": f"{one.repository.url}/pulls/{one.number}",
        "head": {"ref": one.head, "sha": one.head_sha, "repo": {"id": head.id, "url": head.url, "name": head.name}},
        "base": {
            "ref": one.base, "sha": one.base_sha,
            "repo": {"id": one.repository.id, "url": one.repository.url, "name": one.repository.name},
        },
    }  # fmt: skip


def reactions(url: str, given: list[Reaction]) -> Json:
    counts = {name: sum(one.content == name for one in given) for name in REACTIONS}
    return {"url": f"{url}/reactions", "total_count": len(given), **counts}


def reaction(one: Reaction) -> Json:
    return {
        "id": one.id, "node_id": node("Reaction", one.id), "user": user(one.user), "content": one.content,
        "created_at": stamp(one.created_at),
    }  # fmt: skip


def issue(one: Issue | Pull) -> Json:
    """A pull request, too, is an issue, with a member that says so."""
    url = f"{one.repository.url}/issues/{one.number}"
    kind = "pull" if isinstance(one, Pull) else "issues"
    shown = {
        "url": url, "repository_url": one.repository.url, "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments", "events_url": f"{url}/events",
        "html_url": f"{one.repository.html_url}/{kind}/{one.number}", "id": one.id, "node_id": node("Issue", one.id),
        "number": one.number, "title": one.title, "user": user(one.user), "labels": [label(each) for each in one.labels],
        "state": one.state, "locked": False, "assignee": None, "assignees": [], "milestone": None,
        "comments": sum(each.on is one for each in one.repository.comments), "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at), "closed_at": stamp_or_none(one.closed_at),
        "author_association": association(one.repository, one.user), "active_lock_reason": None, "body": one.body,
        "reactions": reactions(url, []), "timeline_url": f"{url}/timeline", "state_reason": None,
        "performed_via_github_app": app(one.performed_via) if one.performed_via else None,
    }  # fmt: skip
    if isinstance(one, Pull):
        html = f"{one.repository.html_url}/pull/{one.number}"
        links = {"url": f"{one.repository.url}/pulls/{one.number}", "html_url": html, "diff_url": f"{html}.diff"}
        shown |= {
            "draft": one.draft,
            "pull_request": links | {"patch_url": f"{html}.patch", "merged_at": stamp_or_none(one.merged_at)},
        }
    return shown


def comment(one: Comment) -> Json:
    url = f"{one.on.repository.url}/issues/comments/{one.id}"
    kind = "pull" if isinstance(one.on, Pull) else "issues"
    return {
        "url": url, "html_url": f"{one.on.repository.html_url}/{kind}/{one.on.number}#issuecomment-{one.id}",
        "issue_url": f"{one.on.repository.url}/issues/{one.on.number}", "id": one.id,
        "node_id": node("IssueComment", one.id), "user": user(one.user), "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at), "author_association": association(one.on.repository, one.user),
        "body": one.body, "reactions": reactions(url, one.reactions),
        "performed_via_github_app": app(one.app) if one.app else None,
    }  # fmt: skip


def remark(one: Remark) -> Json:
    home, number = one.pull.repository, one.pull.number
    url, html = f"{home.url}/pulls/comments/{one.id}", f"{home.html_url}/pull/{number}#discussion_r{one.id}"
    pull = f"{home.url}/pulls/{number}"
    return {
        "url": url, "pull_request_review_id": None, "id": one.id, "node_id": node("PullRequestReviewComment", one.id),
        "diff_hunk": "@@ -1 +1 @@", "path": one.path, "commit_id": one.commit_id, "original_commit_id": one.commit_id,
        "user": user(one.user), "body": one.body, "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at), "html_url": html, "pull_request_url": pull,
        "author_association": association(home, one.user),
        "_links": {"self": {"href": url}, "html": {"href": html}, "pull_request": {"href": pull}},
    }  # fmt: skip


def event(one: IssueEvent) -> Json:
    url = f"{one.on.repository.url}/issues/events/{one.id}"
    commit_url = f"{one.on.repository.url}/commits/{one.commit_id}" if one.commit_id else None
    acting = next((each for each in one.on.repository.github.apps if each.bot is one.actor), None)
    shown = {
        "id": one.id, "node_id": node("IssueEvent", one.id), "url": url, "actor": user(one.actor), "event": one.event,
        "commit_id": one.commit_id, "commit_url": commit_url, "created_at": stamp(one.created_at),
        "performed_via_github_app": app(acting) if acting else None,
    }  # fmt: skip
    if one.label:
        shown["label"] = {"name": one.label.name, "color": one.label.color}
    return shown


def review(of: Pull, one: Review) -> Json:
    url = f"{of.repository.url}/pulls/{of.number}"
    html = f"{of.repository.html_url}/pull/{of.number}#pullrequestreview-{one.id}"
    shown = {
        "id": one.id, "node_id": node("PullRequestReview", one.id), "user": user(one.user), "body": one.body,
        "state": one.state, "html_url": html, "pull_request_url": url, "commit_id": one.commit_id,
        "_links": {"html": {"href": html}, "pull_request": {"href": url}},
        "author_association": association(of.repository, one.user),
    }  # fmt: skip
    if one.submitted_at:
        shown["submitted_at"] = stamp(one.submitted_at)
    return shown
