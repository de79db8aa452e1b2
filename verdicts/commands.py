"""What is asked for on GitHub, done or refused, in the verifier's lane. Only acts that anybody may watch.

Who asked is a principal, by GitHub's number of the account; role and separation are asked as everywhere. The act, its
entry and the answer are one transaction. A verdict or a decision cannot be had this way: those need a sign-in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import MATRIX, Act
from audit.actions import actor_of, append_event, take_part
from audit.canonical import JsonValue
from audit.coded import CodedError
from audit.events import Actor, AuditError, numbered
from audit.models import Kind, Participation, Principal
from audit.separation import conflict
from handoffs.github.commands import Verb
from handoffs.github.markdown import inert
from handoffs.models import GitHubCommand, PullRequest
from verdicts import evidence
from verdicts.composing import facts_of
from verdicts.models import VerdictError
from verdicts.policy import parse_policy
from verdicts.projecting import blocking_list
from verdicts.queueing import for_glance
from verdicts.rounds import queue_verification

# Who may ask for what; a verb that is not here is for anybody who is registered.
_ACTS: Final = {
    Verb.VERIFY: Act.RUN_VERIFICATION,
    Verb.RERUN: Act.RERUN_GATE,
    Verb.ESCALATE: Act.ISSUE_VERDICT,
}
# A machine may have its work verified and nothing else.
_OF_MACHINES: Final = frozenset({Verb.VERIFY, Verb.STATUS})


@dataclass(frozen=True)
class Done:
    """What came of it, in Markdown; empty where the thumb says it all."""

    answer: str = ""


def run_command(command_id: int, *, reporter: Actor) -> str:
    """Do it, or refuse it. Returns the outcome's code; empty for one that somebody else ended.

    `reporter` says it in the log of who has no role that could say it.
    """
    try:
        return _run(command_id)
    except (AuditError, VerdictError) as refusal:
        return _refuse(command_id, refusal, reporter)


@transaction.atomic(durable=True)
def _run(command_id: int) -> str:
    command = _open(command_id)
    if command is None:
        return ""
    actor = actor_of(command.principal)
    verb = Verb(command.verb)
    _refuse_role(command, actor, verb)
    pull = PullRequest.objects.select_related("repository", "handoff").get(pk=command.pull_request_id)
    if command.head_sha and command.head_sha != pull.head_sha:
        raise VerdictError("command.head_moved", f"that button was on {command.head_sha[:12]}; the head moved on")
    done = _do(verb, command, pull, actor)
    _end(command, GitHubCommand.Outcome.DONE, "done", done.answer, by=actor)
    return "done"


def _do(verb: Verb, command: GitHubCommand, pull: PullRequest, actor: Actor) -> Done:
    match verb:
        case Verb.VERIFY:
            queued = queue_verification(pull.pk, by=actor)
            said = f"{queued} checks are queued on this head." if queued else "A verification is running on it already."
            return Done(said)
        case Verb.STATUS:
            return Done()  # the enforcer's lane looks at once, and the beat composes
        case Verb.EXPLAIN:
            found = list(for_glance(PullRequest.objects.filter(pk=pull.pk)))
            ((_, facts),) = facts_of(found, portal_url=settings.PORTAL_URL)
            return Done(blocking_list(facts))
        case Verb.RERUN:
            _refuse_gate(command.argument)
            take_part(pull.handoff.chain, actor)
            return Done(f"GitHub is asked to run `{command.argument}` again.")
        case Verb.ESCALATE:
            return Done(_escalation(command, pull, actor))
        case Verb.HELP:
            raise VerdictError("command.unknown", "help needs nobody's leave")


def _escalation(command: GitHubCommand, pull: PullRequest, actor: Actor) -> str:
    """The filled form's address, without the question. Nothing is recorded: a comment carries no sign-in."""
    parts, registry = Participation.objects.parts(pull.handoff.chain), Principal.objects.registry()
    if clash := conflict(parts, actor.principal_id, actor.role, registry):
        who = numbered(clash.principal_id)
        raise AuditError("sod.conflict", f"{who} took part in this handoff as {clash.duty} and so cannot act as PLAN")
    address = f"{settings.PORTAL_URL}/prs/{pull.repository.full_name}/{pull.number}/?draft={command.pk}#your-verdict"
    return f"[Open the filled form]({address}). An escalation is recorded in leoportal, by you, signed in."


def _refuse_role(command: GitHubCommand, actor: Actor, verb: Verb) -> None:
    act = _ACTS.get(verb)
    if act is not None and actor.role not in MATRIX[act]:
        roles = " or ".join(sorted(role.value for role in MATRIX[act]))
        raise AuditError("role.not_allowed", f"needs role {roles}; you have {actor.role}")
    if command.principal.kind != Kind.HUMAN and verb not in _OF_MACHINES:
        raise AuditError("command.of_people", f"/leo-{verb} is for people; a machine may ask for /leo-verify")


def _refuse_gate(key: str) -> None:
    policy = parse_policy(evidence.policy_in_force().document.encode())
    known = [gate.key for gate in policy.input_gates]
    if key not in known:
        raise VerdictError("command.gate", f"got no gate of that name, expected one of {', '.join(known)}")


@transaction.atomic(durable=True)
def _refuse(command_id: int, refusal: CodedError, reporter: Actor) -> str:
    command = _open(command_id)
    if command is None:
        return ""
    try:
        by = actor_of(command.principal)
    except AuditError:
        by = reporter
    _end(command, GitHubCommand.Outcome.REFUSED, refusal.code, inert(refusal.detail), by=by)
    return refusal.code


def _open(command_id: int) -> GitHubCommand | None:
    rows = GitHubCommand.objects.select_for_update(of=("self",)).select_related("principal", "request")
    return rows.filter(pk=command_id, outcome=GitHubCommand.Outcome.WAITING).first()


def _end(command: GitHubCommand, outcome: GitHubCommand.Outcome, code: str, answer: str, *, by: Actor) -> None:
    """The entry in the log and what is answered. Of a question to LEAD the log keeps nothing: it may be personal."""
    pull = command.pull_request
    is_done = outcome is GitHubCommand.Outcome.DONE
    body: dict[str, JsonValue] = {
        "repository": pull.repository.full_name,
        "pr": pull.number,
        "command": f"/leo-{command.verb}",
        "gate": command.argument if command.verb == Verb.RERUN else "",
        "code": code,
        "by": command.principal_id,
        "request": command.request_id,
    }
    entry = append_event(
        events.COMMAND_DONE if is_done else events.COMMAND_REFUSED,
        by,
        f"H-{pull.handoff_id}",
        body,
    )
    GitHubCommand.objects.filter(pk=command.pk).update(
        outcome=outcome, code=code[:60], answer=answer[:4000], done_at=timezone.now(), log_entry=entry
    )
