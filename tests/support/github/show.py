"""How GitHub writes users, Apps, installations and repositories in JSON."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.support.github.accounts import Account, Actor, App, Installation, is_at_least

if TYPE_CHECKING:
    from tests.support.github.repositories import Repository

type Json = dict[str, Any]

# What a repository's JSON says of the addresses of its parts.
PARTS = {
    "archive_url": "{archive_format}{/ref}", "assignees_url": "assignees{/user}", "blobs_url": "git/blobs{/sha}",
    "branches_url": "branches{/branch}", "collaborators_url": "collaborators{/collaborator}",
    "comments_url": "comments{/number}", "commits_url": "commits{/sha}", "compare_url": "compare/{base}...{head}",
    "contents_url": "contents/{+path}", "contributors_url": "contributors", "deployments_url": "deployments",
    "downloads_url": "downloads", "events_url": "events", "forks_url": "forks",
    "git_commits_url": "git/commits{/sha}", "git_refs_url": "git/refs{/sha}", "git_tags_url": "git/tags{/sha}",
    "hooks_url": "hooks", "issue_comment_url": "issues/comments{/number}",
    "issue_events_url": "issues/events{/number}", "issues_url": "issues{/number}", "keys_url": "keys{/key_id}",
    "labels_url": "labels{/name}", "languages_url": "languages", "merges_url": "merges",
    "milestones_url": "milestones{/number}", "notifications_url": "notifications{?since,all,participating}",
    "pulls_url": "pulls{/number}", "releases_url": "releases{/id}", "stargazers_url": "stargazers",
    "statuses_url": "statuses/{sha}", "subscribers_url": "subscribers", "subscription_url": "subscription",
    "tags_url": "tags", "teams_url": "teams", "trees_url": "git/trees{/sha}",
}  # fmt: skip
OF_A_USER = {
    "followers_url": "followers", "following_url": "following{/other_user}", "gists_url": "gists{/gist_id}",
    "starred_url": "starred{/owner}{/repo}", "subscriptions_url": "subscriptions", "organizations_url": "orgs",
    "repos_url": "repos", "events_url": "events{/privacy}", "received_events_url": "received_events",
}  # fmt: skip


def stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_or_none(when: datetime | None) -> str | None:
    return stamp(when) if when else None


def node(kind: str, number: int | str) -> str:
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def user(one: Account) -> Json:
    url = f"{one.github.api}/users/{quote(one.login)}"
    page = f"apps/{one.login.removesuffix('[bot]')}" if one.type == "Bot" else one.login
    parts = {name: f"{url}/{path}" for name, path in OF_A_USER.items()}
    return {
        "login": one.login, "id": one.id, "node_id": node(one.type, one.id),
        "avatar_url": f"{one.github.url}/avatars/u/{one.id}", "gravatar_id": "", "url": url,
        "html_url": f"{one.github.url}/{page}", **parts, "type": one.type, "site_admin": one.site_admin,
    }  # fmt: skip


def private_user(one: Account) -> Json:
    """What GET /user says: a user about themselves."""
    return public_user(one) | {
        "private_gists": 0, "total_private_repos": 0, "owned_private_repos": 0, "disk_usage": 0, "collaborators": 0,
        "two_factor_authentication": True,
    }  # fmt: skip


def public_user(one: Account) -> Json:
    born = stamp(one.github.started)
    return user(one) | {
        "name": one.login, "company": None, "blog": "", "location": None, "email": None, "hireable": None, "bio": None,
        "public_repos": 0, "public_gists": 0, "followers": 0, "following": 0, "created_at": born, "updated_at": born,
    }  # fmt: skip


def organization(one: Account) -> Json:
    """As webhooks carry it."""
    url = f"{one.github.api}/orgs/{one.login}"
    return {
        "login": one.login, "id": one.id, "node_id": node("Organization", one.id), "url": url,
        "repos_url": f"{url}/repos", "events_url": f"{url}/events", "hooks_url": f"{url}/hooks",
        "issues_url": f"{url}/issues", "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"{one.github.url}/avatars/u/{one.id}", "description": "",
    }  # fmt: skip


def app(one: App) -> Json:
    return {
        "id": one.id, "slug": one.slug, "client_id": one.client_id, "node_id": node("Integration", one.id),
        "owner": user(one.owner), "name": one.name, "description": "", "external_url": one.external_url,
        "html_url": f"{one.github.url}/github-apps/{one.slug}", "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at), "permissions": dict(one.permissions), "events": list(one.events),
    }  # fmt: skip


def installation(one: Installation) -> Json:
    url = f"{one.github.api}/app/installations/{one.id}"
    return {
        "id": one.id, "account": user(one.account), "client_id": one.app.client_id,
        "repository_selection": "all" if one.repositories is None else "selected",
        "access_tokens_url": f"{url}/access_tokens", "repositories_url": f"{one.github.api}/installation/repositories",
        "html_url": f"{one.github.url}/settings/installations/{one.id}", "app_id": one.app.id,
        "app_slug": one.app.slug, "target_id": one.account.id, "target_type": one.account.type,
        "permissions": dict(one.permissions), "events": list(one.app.events), "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at), "single_file_name": None, "has_multiple_single_files": False,
        "single_file_paths": [], "suspended_by": user(one.account) if one.suspended_at else None, "suspended_at": stamp_or_none(one.suspended_at),
    }  # fmt: skip


def minimal_repository(one: Repository) -> Json:
    url = one.url
    parts = {name: f"{url}/{path}" for name, path in PARTS.items()}
    parts["archive_url"] = f"{url}/{PARTS['archive_url']}"
    return {
        "id": one.id, "node_id": node("Repository", one.id), "name": one.name, "full_name": one.full_name,
        "owner": user(one.owner), "private": one.private, "html_url": one.html_url, "description": one.description or None,
        "fork": one.parent is not None, "url": url, **parts,
    }  # fmt: skip


def repository(one: Repository, actor: Actor | None = None) -> Json:
    issues = sum(pull.state == "open" for pull in one.pulls.values()) + len(one.issues)
    bare = one.html_url.partition("://")[2]
    shown = minimal_repository(one) | {
        "git_url": f"git://{bare}.git", "ssh_url": f"git@{bare.replace('/', ':', 1)}.git", "clone_url": one.clone_url,
        "svn_url": one.html_url, "homepage": None, "size": 1, "stargazers_count": 0, "watchers_count": 0,
        "language": None, "has_issues": True, "has_projects": True, "has_downloads": True, "has_wiki": True,
        "has_pages": False, "has_discussions": False, "forks_count": len(one.github.forks_of(one)), "mirror_url": None,
        "archived": one.archived, "disabled": False, "open_issues_count": issues, "license": None,
        "allow_forking": True, "is_template": False, "web_commit_signoff_required": False, "topics": [],
        "visibility": "private" if one.private else "public", "forks": len(one.github.forks_of(one)),
        "open_issues": issues, "watchers": 0, "default_branch": one.default_branch, "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at), "pushed_at": stamp(one.pushed_at),
    }  # fmt: skip
    if actor is not None and actor.account is not None:
        shown["permissions"] = permissions(one, actor)
    return shown


def permissions(one: Repository, actor: Actor) -> Json:
    if actor.installation:
        pushes = actor.may(one, "contents:write")
        return {"admin": False, "maintain": False, "push": pushes, "triage": pushes, "pull": True}
    role = one.role_of(actor.user)
    return {name: is_at_least(role, name) for name in ("admin", "maintain", "push", "triage", "pull")}


def full_repository(one: Repository, actor: Actor) -> Json:
    shown = repository(one, actor) | {"network_count": 0, "subscribers_count": 0, "temp_clone_token": ""}
    if one.owner.type == "Organization":
        shown["organization"] = user(one.owner)
    if one.parent:
        shown["parent"] = shown["source"] = repository(one.parent)
    role = one.role_of(actor.user) if actor.user else ""
    if is_at_least(role, "push") or (actor.installation and actor.may(one, "contents:write")):
        shown |= {
            "allow_merge_commit": "merge" in one.merge_methods, "allow_squash_merge": "squash" in one.merge_methods,
            "allow_rebase_merge": "rebase" in one.merge_methods, "allow_auto_merge": False,
            "delete_branch_on_merge": one.delete_branch_on_merge, "allow_update_branch": False,
            "use_squash_pr_title_as_default": False, "squash_merge_commit_title": "COMMIT_OR_PR_TITLE",
            "squash_merge_commit_message": "COMMIT_MESSAGES", "merge_commit_title": "MERGE_MESSAGE",
            "merge_commit_message": "PR_TITLE",
        }  # fmt: skip
    return shown


def hook_repository(one: Repository, *, seconds: bool = False) -> Json:
    """As webhooks carry it; a push's counts time in `seconds`."""
    shown = repository(one) | {"custom_properties": {}}
    if seconds:
        shown |= {
            "created_at": int(one.created_at.timestamp()), "pushed_at": int(one.pushed_at.timestamp()),
            "stargazers": 0, "master_branch": one.default_branch, "url": one.html_url,
        }  # fmt: skip
    return shown
