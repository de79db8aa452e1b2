"""Commits, comparisons, and the pull requests a commit belongs to."""

from __future__ import annotations

from typing import Any

from tests.support.github import show_git, show_pulls
from tests.support.github.exchange import Call, Page, Refusal, invalid
from tests.support.github.repositories import Repository
from tests.support.github.routing import route


def found(call: Call, name: str) -> str:
    sha = call.repository.git.find_commit(name)
    if not sha:
        raise invalid(f"No commit found for SHA: {name}")
    return sha


@route("GET", "/repos/{owner}/{repo}/commits", "contents:read")
def list_commits(call: Call) -> Any:
    one, asked = call.repository, call.query
    start = one.git.find_commit(asked.get("sha") or one.default_branch)
    if not start:
        raise Refusal(409, "Git Repository is empty.") if not one.git.refs("refs/heads/") else Refusal(404, "Not Found")
    flags = [f"--{name}={asked[name]}" for name in ("since", "until", "author") if name in asked]
    paths = ["--", asked["path"]] if "path" in asked else []
    shas = one.git.run("rev-list", *flags, start, *paths).split()
    return Page(shas, lambda sha: show_git.commit(one, one.git.commit(sha)))


@route("GET", "/repos/{owner}/{repo}/commits/{ref}", "contents:read")
def get_commit(call: Call) -> Any:
    return show_git.full_commit(call.repository, call.repository.git.commit(found(call, call.params["ref"])))


@route("GET", "/repos/{owner}/{repo}/commits/{commit_sha}/pulls", "pull_requests:read")
def list_pulls(call: Call) -> Any:
    """The merged pull request a commit of the default branch came by; elsewhere the open ones it is in."""
    one, sha = call.repository, found(call, call.params["commit_sha"])
    landed = [pull for pull in one.pulls.values() if sha in {pull.merge_commit_sha, pull.head_sha} and pull.merged]
    pulls = landed or [
        pull for pull in one.pulls.values() if pull.state == "open" and one.git.is_ancestor(sha, pull.head_sha)
        and not one.git.is_ancestor(sha, pull.base_tip)
    ]  # fmt: skip
    return Page(pulls, show_pulls.simple_pull)


@route("GET", "/repos/{owner}/{repo}/commits/{commit_sha}/branches-where-head", "contents:read")
def list_branches(call: Call) -> Any:
    one, sha = call.repository, found(call, call.params["commit_sha"])
    heads = [name[11:] for name, (at, _) in one.git.refs("refs/heads/").items() if at == sha]
    return Page(heads, lambda name: show_git.branch(one, name, sha))


@route("GET", "/repos/{owner}/{repo}/compare/{basehead}", "contents:read")
def compare(call: Call) -> Any:
    base, dots, head = call.params["basehead"].partition("...")
    if not dots:
        raise Refusal(404, "Not Found")
    one = call.repository
    start, end = side(one, base), side(one, head)
    common = one.git.merge_base(start, end)
    if not common:
        raise Refusal(404, "No common ancestor between the two commits")
    ahead, behind = one.git.count(start, end), one.git.count(end, start)
    status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
    url = f"{one.url}/compare/{call.params['basehead']}"
    html = f"{one.html_url}/compare/{call.params['basehead']}"
    commits = one.git.commits(f"{start}..{end}", "--reverse")
    return {
        "url": url, "html_url": html, "permalink_url": html, "diff_url": f"{html}.diff", "patch_url": f"{html}.patch",
        "base_commit": show_git.commit(one, one.git.commit(start)),
        "merge_base_commit": show_git.commit(one, one.git.commit(common)), "status": status, "ahead_by": ahead,
        "behind_by": behind, "total_commits": ahead,
        "commits": [show_git.commit(one, each) for each in commits[:250]],
        "files": show_git.files(one, common, end, most=show_git.MOST_FILES),
    }  # fmt: skip


def side(one: Repository, name: str) -> str:
    """Shape: BRANCH, SHA, or OWNER:BRANCH of a fork."""
    owner, colon, branch = name.partition(":")
    home = one
    if colon and owner.lower() != one.owner.login.lower():
        forks = [fork for fork in one.github.forks_of(one) if fork.owner.login.lower() == owner.lower()]
        if not forks:
            raise Refusal(404, "Not Found")
        home = forks[0]
        one.git.run("fetch", "-q", str(home.git.path), "+refs/heads/*:refs/stand-in/*")
    sha = home.git.find_commit(branch if colon else name)
    if not sha:
        raise Refusal(404, "Not Found")
    return sha
