"""Reviews of a pull request."""

from __future__ import annotations

from typing import Any

from tests.support.github import show, show_pulls
from tests.support.github.accounts import GITHUB_ACTIONS
from tests.support.github.api_pulls import one_pull
from tests.support.github.exchange import Answer, Call, Page, invalid, not_found
from tests.support.github.pulls import Pull, Review
from tests.support.github.routing import route
from tests.support.github.show import stamp

STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def one_review(call: Call, pull: Pull) -> Review:
    number = call.number("review_id")
    for review in pull.reviews:
        if review.id == number:
            return review
    raise not_found()


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", "pull_requests:read")
def list_reviews(call: Call) -> Any:
    pull = one_pull(call)
    return Page(pull.reviews, lambda one: show_pulls.review(pull, one))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}", "pull_requests:read")
def get_review(call: Call) -> Any:
    pull = one_pull(call)
    return show_pulls.review(pull, one_review(call, pull))


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", "pull_requests:write", role="pull")
def create_review(call: Call) -> Any:
    pull, by = one_pull(call), call.actor.account or call.github.ghost
    event = call.body.get("event")
    if event in {"APPROVE", "REQUEST_CHANGES"} and pull.user is by:
        word = "approve" if event == "APPROVE" else "request changes on"
        raise invalid(f"Can not {word} your own pull request")
    app, may_approve = call.actor.acting_app, call.repository.token_permissions["can_approve_pull_request_reviews"]
    if event == "APPROVE" and app and app.id == GITHUB_ACTIONS and not may_approve:
        raise invalid("GitHub Actions is not permitted to approve pull requests.")
    sha = call.body.get("commit_id") or pull.head_sha
    if event is None:
        review = Review(call.github.new_id(), by, "PENDING", call.body.get("body") or "", sha, None)
        pull.reviews.append(review)
    else:
        review = pull.review(STATES[event], by, body=call.body.get("body") or "", sha=sha)
    return show_pulls.review(pull, review)


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/dismissals", "pull_requests:write")
def dismiss(call: Call) -> Any:
    pull = one_pull(call)
    review = one_review(call, pull)
    call.wanted("message")
    review.state = "DISMISSED"
    call.github.notify.review(pull, review, "dismissed", call.actor.account or call.github.ghost)
    return show_pulls.review(pull, review)


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "pull_requests:read")
def list_requested(call: Call) -> Any:
    return {"users": [show.user(one) for one in one_pull(call).requested], "teams": []}


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "pull_requests:write")
def request_reviewers(call: Call) -> Any:
    pull = one_pull(call)
    pull.requested += [call.github.account(login) for login in call.body.get("reviewers", [])]
    return Answer(201, show_pulls.simple_pull(pull))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/comments", "pull_requests:read")
def list_comments(call: Call) -> Any:
    pull = one_pull(call)
    return Page([one for one in call.repository.remarks if one.pull is pull], show_pulls.remark)


@route("GET", "/repos/{owner}/{repo}/pulls/comments", "pull_requests:read")
def list_all_comments(call: Call) -> Any:
    start = call.query.get("since", "")
    found = [one for one in call.repository.remarks if stamp(one.created_at) >= start]
    return Page(found, show_pulls.remark)
