"""Merging a pull request, at once or by the queue; merging a branch."""

from __future__ import annotations

import uuid
from typing import Any

from tests.support.github import queues, show_git
from tests.support.github.api_pulls import one_pull
from tests.support.github.api_repositories import update
from tests.support.github.exchange import Answer, Call, Refusal, not_found
from tests.support.github.merging import merge
from tests.support.github.routing import route


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/merge", "contents:read", "pull_requests:read")
def is_merged(call: Call) -> Any:
    if not one_pull(call).merged:
        raise not_found()
    return Answer(204)


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/merge", "contents:write")
def merge_pull(call: Call) -> Any:
    pull, body = one_pull(call), call.body
    sha = merge(
        pull, call.actor, method=body.get("merge_method") or "merge", title=body.get("commit_title") or "",
        message=body.get("commit_message"), sha=body.get("sha") or "",
    )  # fmt: skip
    return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/merge-async", "contents:write")
def merge_later(call: Call) -> Any:
    """Into the merge queue where the base has one; otherwise at once, though the answer says "pending"."""
    pull, body = one_pull(call), call.body
    if pull.merged:
        return {
            "status": "merged",
            "details": {"message": "Pull request is already merged.", "sha": pull.merge_commit_sha},
        }
    if pull in call.repository.queue:
        return {"status": "enqueued", "details": {"message": "Pull request is already in a merge queue."}}
    if pull.state != "open":
        return Answer(400, {"status": "failed", "details": {"message": "Pull request is closed."}})
    action, method = body.get("merge_action", "default"), body.get("merge_method", "merge")
    number = str(uuid.uuid4())
    details = {
        "message": "Merge request enqueued.", "uuid": number, "merge_method": method, "merge_action": action,
        "expected_head_sha": body.get("sha") or pull.head_sha,
    }  # fmt: skip
    pull.merge_request = {"status": "pending", "details": details}
    try:
        if details["expected_head_sha"] != pull.head_sha:
            raise Refusal(409, "Head branch was modified. Review and try the merge again.")
        if action != "direct_merge" and queues.has_queue(call.repository, pull.base):
            queues.enqueue([pull], call.actor)
            outcome = {"status": "enqueued", "details": {"message": "Pull request was added to the merge queue."}}
        else:
            sha = merge(
                pull, call.actor, method=method, sha=body.get("sha") or "", title=body.get("commit_title") or ""
            )
            outcome = {"status": "merged", "details": {"message": "Pull request was merged.", "sha": sha}}
    except Refusal as refusal:
        outcome = {"status": "failed", "details": {"message": refusal.message}}
    answer = Answer(202, pull.merge_request)
    pull.merge_request = outcome | {"uuid": number}
    return answer


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/merge-async/{uuid}", "contents:read")
def get_merge_request(call: Call) -> Any:
    request = one_pull(call).merge_request
    if request.get("uuid") != call.params["uuid"]:
        raise not_found()
    return {name: value for name, value in request.items() if name != "uuid"}


@route("POST", "/repos/{owner}/{repo}/merges", "contents:write")
def merge_branch(call: Call) -> Any:
    one, base = call.repository, call.wanted("base")
    old, head = one.git.resolve(f"refs/heads/{base}"), one.git.find_commit(call.wanted("head"))
    if not old or not head:
        raise Refusal(404, "Base does not exist" if not old else "Head does not exist")
    if one.git.is_ancestor(head, old):
        return Answer(204)
    tree = one.git.merge_tree(old, head)
    if not tree:
        raise Refusal(409, "Merge conflict")
    who = one.person(call.actor.account or call.github.ghost)
    text = call.body.get("commit_message") or f"Merge {call.body['head']} into {base}"
    new = one.git.write_commit(tree, [old, head], text, who, who)
    update(call, f"refs/heads/{base}", old, new)
    return Answer(201, show_git.commit(one, one.git.commit(new)))
