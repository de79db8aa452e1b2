"""Pull requests: opening, listing, editing, what is in them."""

from __future__ import annotations

from typing import Any

from tests.support.github import show_git, show_pulls
from tests.support.github.api_comments import LONGEST_BODY, TOO_LONG
from tests.support.github.exchange import Answer, Call, Page, invalid, not_found
from tests.support.github.opening import open_pull
from tests.support.github.pulls import Pull
from tests.support.github.routing import route


def one_pull(call: Call) -> Pull:
    pull = call.repository.pulls.get(call.number("pull_number"))
    if pull is None:
        raise not_found()
    return pull


@route("GET", "/repos/{owner}/{repo}/pulls", "pull_requests:read")
def list_pulls(call: Call) -> Any:
    asked, state = call.query, call.query.get("state", "open")
    found = [pull for pull in call.repository.pulls.values() if state in {"all", pull.state}]
    if base := asked.get("base"):
        found = [pull for pull in found if pull.base == base]
    if ":" in (head := asked.get("head", "")):
        found = [pull for pull in found if label(pull).lower() == head.lower()]
    key = {"updated": lambda pull: pull.updated_at}.get(asked.get("sort", "created"), lambda pull: pull.number)
    newest_first = asked.get("direction", "desc" if asked.get("sort", "created") == "created" else "asc") == "desc"
    return Page(sorted(found, key=key, reverse=newest_first), show_pulls.simple_pull)


def label(pull: Pull) -> str:
    owner = pull.head_repository.owner if pull.head_repository else pull.user
    return f"{owner.login}:{pull.head}"


@route("POST", "/repos/{owner}/{repo}/pulls", "pull_requests:write", role="pull")
def create_pull(call: Call) -> Any:
    head, base = call.wanted("head"), call.wanted("base")
    owner, colon, branch = head.partition(":")
    source = call.repository
    if colon and owner.lower() != source.owner.login.lower():
        forks = [one for one in call.github.forks_of(source) if one.owner.login.lower() == owner.lower()]
        if not forks:
            raise invalid(resource="PullRequest", field="head", code="invalid")
        source = forks[0]
    if call.body.get("title") is None and call.body.get("issue") is None:
        raise invalid(resource="PullRequest", code="missing_field", field="title")
    pull = open_pull(
        call.repository, head=branch if colon else head, base=base, title=call.wanted("title"), body=call.body.get("body"),
        by=call.actor.account or call.github.ghost, source=source, draft=bool(call.body.get("draft")),
        app=call.actor.acting_app,
    )  # fmt: skip
    return Answer(201, show_pulls.pull(pull), {"Location": f"{call.repository.url}/pulls/{pull.number}"})


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}", "pull_requests:read")
def get_pull(call: Call) -> Any:
    """Asked for the first time with this head and base, GitHub may still be working out whether it merges."""
    pull, github = one_pull(call), call.github
    shown = show_pulls.pull(pull)
    if github.mergeability_is_late and (key := (pull.base_tip, pull.head_sha)) not in github.computed:
        github.computed.add(key)
        shown |= {"mergeable": None, "rebaseable": None, "mergeable_state": "unknown"}
    return shown


@route("PATCH", "/repos/{owner}/{repo}/pulls/{pull_number}", "pull_requests:write")
def update_pull(call: Call) -> Any:
    pull, by = one_pull(call), call.actor.account or call.github.ghost
    base = call.body.get("base", "")
    if base and not call.repository.git.resolve(f"refs/heads/{base}"):
        raise invalid(resource="PullRequest", field="base", code="invalid")
    if len(call.body.get("body") or "") > LONGEST_BODY:
        raise invalid(resource="PullRequest", code="unprocessable", field="data", message=TOO_LONG)
    pull.change(by, base=base, title=call.body.get("title", ""), body=call.body.get("body"))
    if call.body.get("state") == "closed":
        pull.close(by)
    elif call.body.get("state") == "open":
        if pull.merged or (pull.state == "closed" and pull.head_repository is None):
            raise invalid(resource="PullRequest", code="invalid", field="state")
        pull.reopen(by)
    return show_pulls.pull(pull)


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/commits", "pull_requests:read")
def list_commits(call: Call) -> Any:
    """At most 250."""
    pull, git = one_pull(call), call.repository.git
    commits = git.commits(f"{pull.base_sha}..{pull.head_sha}", "--reverse")[:250]
    return Page(commits, lambda one: show_git.commit(call.repository, one))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/files", "pull_requests:read")
def list_files(call: Call) -> Any:
    pull, git = one_pull(call), call.repository.git
    start = git.merge_base(pull.base_sha, pull.head_sha)
    return Page(show_git.files(call.repository, start, pull.head_sha), lambda one: one)


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/update-branch", "pull_requests:write")
def update_branch(call: Call) -> Any:
    """Merge the base into the head."""
    pull, git, by = one_pull(call), call.repository.git, call.actor.account or call.github.ghost
    if call.body.get("expected_head_sha") not in {None, pull.head_sha}:
        raise invalid("expected head sha didn’t match current head ref.")
    if not pull.is_behind or not pull.test_tree or pull.head_repository is None:
        raise invalid("There are no new commits on the base branch.")
    who = call.repository.person(by)
    text = f"Merge branch '{pull.base}' into {pull.head}"
    new = git.write_commit(git.merge_tree(pull.head_sha, pull.base_tip), [pull.head_sha, pull.base_tip], text, who, who)
    pull.head_repository.move(f"refs/heads/{pull.head}", new, by=by)
    return Answer(
        202, {"message": "Updating pull request branch.", "url": f"{call.repository.url}/pulls/{pull.number}"}
    )
