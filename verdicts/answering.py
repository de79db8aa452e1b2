"""Answers to what is asked for on GitHub: seen, handed on, told. In the enforcer's lane, which talks to GitHub.

The event only says where to look: the comment is read again, and who wrote it is GitHub's number of the account. What
is asked for by a registered person is a row for the verifier's lane; nothing is done here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.coded import CodedError
from audit.identities import GITHUB
from audit.models import ErasableText, Identity
from audit.texts import store_text
from handoffs.forges.protocol import ForgeError
from handoffs.github.commands import (
    BUTTONS,
    HELP,
    Command,
    CommandError,
    Verb,
    first_line,
    is_addressed,
    parse_command,
)
from handoffs.github.comments import Comment, Reaction, notice_marker
from handoffs.github.markdown import inert
from handoffs.models import GitHubCommand, GitHubRequest, Projection, PullRequest, RequestStatus
from verdicts.showing import Tools

SOON: Final = timedelta(seconds=2)  # until the verifier's lane has done its part
UNTOLD: Final = frozenset({"comment.deleted", "command.none", "actor.bot", "command.no_pull", "command.too_many"})
MOST_STRANGERS: Final = 20  # answers in an hour and repository to accounts that nobody linked


class AnswerError(CodedError):
    """Why nothing is done. `code` is stable; those in `UNTOLD` are not told on GitHub."""


@dataclass(frozen=True)
class Answer:
    """What is told. Shape: `text` Markdown, empty for a reaction alone."""

    status: RequestStatus
    code: str
    text: str = ""


def answer_request(request: GitHubRequest, tools: Tools, *, rerun: Callable[[GitHubCommand], str]) -> Answer | None:
    """Take a request one step further. Returns what was told, or None while the verifier's lane has it.

    `rerun` has GitHub run a gate's workflow again, and returns why it cannot. Safe to repeat: a reaction that is there
    changes nothing, a reply is found again.
    Raises: ForgeError.
    """
    command = GitHubCommand.objects.filter(request=request).select_related("pull_request").first()
    try:
        if command is None:
            found = _take(request, tools)
            if found is None:
                return None
            answer = found
        elif command.outcome == GitHubCommand.Outcome.WAITING:
            return None
        else:
            answer = _outcome(command, rerun)
    except (AnswerError, CommandError) as refusal:
        answer = Answer(RequestStatus.REFUSED, refusal.code, inert(refusal.detail))
    _tell(request, answer, tools)
    _end(request, answer, tools, is_logged=command is not None)
    return answer


def _take(request: GitHubRequest, tools: Tools) -> Answer | None:
    """Look again at what was asked for and by whom; hand it on."""
    identity = Identity.objects.current().filter(kind=GITHUB, value=str(request.actor_id)).first()
    if identity is None and _is_crowded(request):
        raise AnswerError("command.too_many", "too many accounts that nobody registered asked within the hour")
    comment = None
    if request.kind == GitHubRequest.Kind.COMMAND:
        comment = _read(request, tools)
        tools.comments.react(comment.id, Reaction.SEEN)
        if comment.author_id != request.actor_id or request.is_edited or comment.updated_at != comment.created_at:
            raise AnswerError("comment.edited", "an edited comment is not acted on; write a new one")
        asked = parse_command(first_line(comment.body))
    else:
        asked = _button(request)
    if asked.verb is Verb.HELP:
        return Answer(RequestStatus.DONE, "done", help_text())
    if identity is None:
        if comment is not None and comment.is_bot:
            raise AnswerError("actor.bot", "a bot that nobody registered is not answered")
        raise AnswerError("actor.unknown", f"account {request.actor_id} is not registered; an administrator links it")
    _hand_on(request, asked, _pull(request, asked), identity.principal_id)
    return None


@transaction.atomic
def _hand_on(request: GitHubRequest, asked: Command, pull: PullRequest, asker: int) -> None:
    """The row for the verifier's lane. What a person asks LEAD is their text: erased with their others."""
    question = None
    if asked.verb is Verb.ESCALATE and asked.argument:
        question = store_text(ErasableText.Kind.DECISION, asked.argument, author=asker, at=timezone.now())
    GitHubCommand.objects.create(
        request=request,
        pull_request=pull,
        principal_id=asker,
        verb=asked.verb.value,
        argument=asked.argument if question is None else "",
        question=question,
        head_sha=request.head_sha,
    )


def _is_crowded(request: GitHubRequest) -> bool:
    """Whether strangers got enough answers: each costs GitHub's budgets of requests and comments, and one entry."""
    linked = Identity.objects.current().filter(kind=GITHUB).values_list("value", flat=True)
    lately = GitHubRequest.objects.filter(
        repository=request.repository_id, answered_at__gt=timezone.now() - timedelta(hours=1)
    )
    strange = lately.exclude(actor_id__in=[int(value) for value in linked]).exclude(code="command.too_many")
    return strange.filter(kind__in=(GitHubRequest.Kind.COMMAND, GitHubRequest.Kind.ACTION)).count() >= MOST_STRANGERS


def _read(request: GitHubRequest, tools: Tools) -> Comment:
    try:
        comment = tools.comments.read(request.remote_id)
    except ForgeError as error:
        if error.code != "github.not_found":
            raise
        comment = None
    if comment is None:
        raise AnswerError("comment.deleted", "the comment is gone")
    is_edited = request.is_edited or comment.updated_at != comment.created_at
    if tools.comments.is_ours(comment) or not (is_edited or is_addressed(first_line(comment.body))):
        raise AnswerError("command.none", "nobody asks the portal for anything there")
    return comment


def _button(request: GitHubRequest) -> Command:
    button = next((one for one in BUTTONS if one.identifier == request.text), None)
    if button is None:
        raise CommandError("command.unknown", "got a button that there is none of")
    return Command(button.verb)


def _pull(request: GitHubRequest, asked: Command) -> PullRequest:
    rows = PullRequest.objects.filter(repository=request.repository)
    number = asked.pull or request.pull_number
    by_head = {"head_sha": request.head_sha} if request.head_sha else {"pk": 0}
    pull = rows.filter(number=number).first() if number else rows.is_open().filter(**by_head).first()
    if pull is None:
        if not request.pull_number:
            raise AnswerError("command.no_pull", "no pull request here has that head")
        raise AnswerError("command.pull", f"PR-{number} was not opened by leoportal; nothing can be asked about it")
    return pull


def _outcome(command: GitHubCommand, rerun: Callable[[GitHubCommand], str]) -> Answer:
    """What the verifier's lane decided. What only the enforcer's can do is done now."""
    if command.outcome == GitHubCommand.Outcome.REFUSED:
        return Answer(RequestStatus.REFUSED, command.code, command.answer)
    if command.verb == Verb.STATUS:
        Projection.objects.filter(pull_request=command.pull_request).update(looked_at=None)
    if command.verb == Verb.RERUN and (why := rerun(command)):
        return Answer(RequestStatus.REFUSED, "command.no_run", inert(why))
    return Answer(RequestStatus.DONE, command.code, command.answer)


def _tell(request: GitHubRequest, answer: Answer, tools: Tools) -> None:
    """The thumb or the face on the comment, and the reply where there is something to say."""
    if answer.code in UNTOLD:
        return
    is_done = answer.status == RequestStatus.DONE
    text = answer.text
    if not is_done:
        text = f"😕 {answer.text} (`{answer.code}`)"
    if text and request.pull_number:
        tools.comments.create(request.pull_number, notice_marker(f"answer {request.pk}"), text)
    if request.kind == GitHubRequest.Kind.COMMAND:
        try:
            tools.comments.react(request.remote_id, Reaction.DONE if is_done else Reaction.REFUSED)
        except ForgeError as error:
            if error.code != "github.not_found":  # its author took it back meanwhile
                raise


@transaction.atomic(durable=True)
def _end(request: GitHubRequest, answer: Answer, tools: Tools, *, is_logged: bool) -> None:
    """The request is answered, once; a refusal that no other lane put on record is put there."""
    rows = GitHubRequest.objects.filter(pk=request.pk, status=RequestStatus.WAITING)
    if not rows.update(status=answer.status, code=answer.code[:60], answered_at=timezone.now()):
        return
    if not is_logged and answer.status == RequestStatus.REFUSED and answer.code != "command.too_many":
        body: dict[str, JsonValue] = {
            "repository": request.repository.full_name,
            "pr": request.pull_number,
            "code": answer.code,
            "github_id": request.actor_id,
            "request": request.pk,
        }
        append_event(events.COMMAND_REFUSED, tools.by, "", body)


def help_text() -> str:
    """The list of commands."""
    lines = [f"| `{command}` | {who} | {what} |" for command, who, what in HELP]
    note = (
        "The first line of a comment, nothing else in it. Verdicts and decisions are recorded in leoportal, signed in."
    )
    return "\n".join(["| command | who | effect |", "| --- | --- | --- |", *lines, "", note])
