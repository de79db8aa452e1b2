"""Comments on issues and pull requests, reactions to them, and what happened there."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from tests.support.github import issues, show_pulls
from tests.support.github.accounts import is_at_least
from tests.support.github.api_issues import ISSUE, READ, WRITE, by, one_issue
from tests.support.github.exchange import Answer, Call, Page, Refusal, invalid, not_found
from tests.support.github.issues import REACTIONS, Comment, Reaction
from tests.support.github.routing import route
from tests.support.github.show import stamp

COMMENT = "/repos/{owner}/{repo}/issues/comments/{comment_id}"
LONGEST_BODY = 65536
TOO_LONG = "Body is too long (maximum is 65536 characters)"


def one_comment(call: Call) -> Comment:
    number = call.number("comment_id")
    for comment in call.repository.comments:
        if comment.id == number:
            return comment
    raise not_found()


def body_text(call: Call) -> str:
    text = str(call.wanted("body"))
    if not text.strip():
        raise invalid(resource="IssueComment", code="missing_field", field="body")
    if len(text) > LONGEST_BODY:
        raise invalid(
            resource="IssueComment",
            code="unprocessable",
            field="data",
            message=TOO_LONG,
        )
    return text


@route("GET", f"{ISSUE}/comments", *READ)
def list_comments(call: Call) -> Any:
    one = one_issue(call)
    return Page(since(call, [each for each in call.repository.comments if each.on is one]), show_pulls.comment)


def since(call: Call, found: list[Comment]) -> list[Comment]:
    asked = call.query
    found = [one for one in found if stamp(one.updated_at) >= asked.get("since", "")]
    attribute = "updated_at" if asked.get("sort") == "updated" else "created_at"
    return sorted(found, key=attrgetter(attribute), reverse=asked.get("direction") == "desc")


@route("POST", f"{ISSUE}/comments", *WRITE, role="pull")
def create_comment(call: Call) -> Any:
    text = body_text(call)
    return Answer(201, show_pulls.comment(issues.add_comment(one_issue(call), text, by(call), call.actor.acting_app)))


@route("GET", "/repos/{owner}/{repo}/issues/comments", *READ)
def list_all_comments(call: Call) -> Any:
    return Page(since(call, call.repository.comments), show_pulls.comment)


@route("GET", COMMENT, *READ)
def get_comment(call: Call) -> Any:
    return show_pulls.comment(one_comment(call))


def own(call: Call, comment: Comment) -> None:
    """A comment is its author's; who may write may change another's."""
    user = call.actor.user
    if user and user is not comment.user and not is_at_least(call.repository.role_of(user), "push"):
        raise Refusal(403, "Must have admin rights to Repository.")


@route("PATCH", COMMENT, *WRITE, role="pull")
def update_comment(call: Call) -> Any:
    comment = one_comment(call)
    own(call, comment)
    comment.edit(body_text(call), by(call))
    return show_pulls.comment(comment)


@route("DELETE", COMMENT, *WRITE, role="pull")
def delete_comment(call: Call) -> Any:
    comment = one_comment(call)
    own(call, comment)
    comment.delete(by(call))
    return Answer(204)


@route("GET", f"{COMMENT}/reactions", *READ)
def list_reactions(call: Call) -> Any:
    return Page(one_comment(call).reactions, show_pulls.reaction)


@route("POST", f"{COMMENT}/reactions", *WRITE, role="pull")
def react(call: Call) -> Any:
    """201; 200 when this one is there already."""
    comment, content, who = one_comment(call), call.wanted("content"), by(call)
    if content not in REACTIONS:
        raise invalid(resource="Reaction", code="invalid", field="content")
    for one in comment.reactions:
        if one.user is who and one.content == content:
            return show_pulls.reaction(one)
    comment.reactions.append(Reaction(call.github.new_id(), who, content, call.github.clock.now()))
    return Answer(201, show_pulls.reaction(comment.reactions[-1]))


@route("DELETE", f"{COMMENT}/reactions/{{reaction_id}}", *WRITE, role="pull")
def unreact(call: Call) -> Any:
    comment, number = one_comment(call), call.number("reaction_id")
    kept = [one for one in comment.reactions if one.id != number or one.user is not by(call)]
    if len(kept) == len(comment.reactions):
        raise not_found()
    comment.reactions = kept
    return Answer(204)


# --- events ---


@route("GET", f"{ISSUE}/events", *READ)
def list_events_of(call: Call) -> Any:
    one = one_issue(call)
    return Page([event for event in call.repository.events if event.on is one], show_pulls.event)


@route("GET", "/repos/{owner}/{repo}/issues/events", *READ)
def list_events(call: Call) -> Any:
    return Page(call.repository.events[::-1], lambda one: show_pulls.event(one) | {"issue": show_pulls.issue(one.on)})
