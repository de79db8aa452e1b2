"""What can be asked for in a comment or with a button of our check run, and what only looks like it. Pure.

A command is the whole first line of a comment. It is matched by bytes at fixed places: nothing is searched for, so a
comment of any size and shape costs the same. A verdict or a decision cannot be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from audit.coded import CodedError

MAX_LINE: Final = 400  # bytes
MIN_QUESTION, MAX_QUESTION = 10, 300
_PULL: Final = b"PR-"
_DIGITS: Final = frozenset(b"0123456789")
_GATE: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_MARKERS: Final = ("CODEX-READY", "CLAUDE-APPLIED", "PLAN-SUPERVISOR", "LEAD-APPROVED")
_VERDICTS: Final = frozenset({"PASS", "CONDITIONAL_PASS", "ESCALATE", "FAIL", "APPROVED"})
_DECIDING: Final = (
    "/LEO-APPROVE",
    "/LEO-PASS",
    "/LEO-FAIL",
    "/LEO-VERDICT",
    "/LEO-DECIDE",
    "/LEO-MERGE",
    "/LEO-OVERRIDE",
)


class CommandError(CodedError):
    """A line that is addressed to the portal and is no command. `code` is stable."""


class Verb(StrEnum):
    """What can be asked for."""

    VERIFY = "verify"
    STATUS = "status"
    EXPLAIN = "explain"
    RERUN = "rerun"
    ESCALATE = "escalate"
    HELP = "help"


@dataclass(frozen=True)
class Command:
    """One request. Shape: `pull` is 0 and `argument` empty where none is given; `argument` a gate, or a question."""

    verb: Verb
    pull: int = 0
    argument: str = ""


@dataclass(frozen=True)
class Button:
    """A button of Gate 3's check run. Units, set by GitHub: label 20, description 40, identifier 20 characters."""

    label: str
    description: str
    identifier: str
    verb: Verb


BUTTONS: Final = (
    Button("Verify again", "Run gates and sub-agents once more", "leo-verify", Verb.VERIFY),
    Button("Explain block", "Say what blocks it and who clears it", "leo-explain", Verb.EXPLAIN),
    Button("Escalate to LEAD", "Draft an escalation in the portal", "leo-escalate", Verb.ESCALATE),
)
HELP: Final = (
    ("/leo-verify PR-<n>", "PLAN", "run the gates and sub-agents on this head once more; the number may be left out"),
    ("/leo-status", "anyone registered", "bring the status comment up to date"),
    ("/leo-explain", "anyone registered", "say what blocks this pull request and who clears it"),
    ("/leo-rerun <gate>", "PLAN, ENFORCER", "ask GitHub to run that gate's workflow again"),
    ("/leo-escalate <question>", "PLAN", "a link to the filled form; the verdict is recorded in the portal"),
    ("/leo-help", "anyone", "this list"),
)


def first_line(body: str) -> bytes:
    """The first line of a comment, as far as it may matter."""
    head = body[: MAX_LINE + 2].partition("\n")[0]
    return head.encode("utf-8", "replace").rstrip(b" \r")


def is_addressed(line: bytes) -> bool:
    """Whether somebody talks to the portal, rightly or wrongly."""
    return line[:5].lower() == b"/leo-" or line.lower() == b"/leo"


def parse_command(line: bytes) -> Command:
    """Read a line as a command.

    Raises: CommandError("command.too_long"), ("command.unknown"), ("command.argument").
    Not checked: that the pull request or the gate exists, and who asks.
    """
    if len(line) > MAX_LINE:
        raise CommandError("command.too_long", f"got more than {MAX_LINE} bytes in the first line")
    word, space, rest = line.partition(b" ")
    verb = _VERBS.get(word)
    if verb is None:
        raise CommandError("command.unknown", "got no command that there is; `/leo-help` lists them")
    match verb:
        case Verb.VERIFY:
            return Command(verb, pull=_pull(rest) if space else 0)
        case Verb.RERUN:
            if not 0 < len(rest) <= 60 or not set(rest) <= _GATE:
                raise CommandError("command.argument", "expected `/leo-rerun <gate>`, the gate as the status names it")
            return Command(verb, argument=rest.decode("ascii"))
        case Verb.ESCALATE:
            return Command(verb, argument=_question(rest))
        case _:
            if space:
                raise CommandError("command.argument", f"expected `/leo-{verb}` and nothing after it")
            return Command(verb)


_VERBS: Final = {f"/leo-{verb}".encode("ascii"): verb for verb in Verb}


def _pull(rest: bytes) -> int:
    digits = rest[len(_PULL) :]
    if rest[: len(_PULL)] != _PULL or not 0 < len(digits) < 10 or not set(digits) <= _DIGITS or digits[:1] == b"0":
        raise CommandError("command.argument", "expected `/leo-verify PR-<n>`, or `/leo-verify` alone")
    return int(digits)


def _question(rest: bytes) -> str:
    question = rest.decode("utf-8", "replace")
    if not MIN_QUESTION <= len(question) <= MAX_QUESTION or not question.isprintable():
        raise CommandError(
            "command.argument", f"expected `/leo-escalate <question>` of {MIN_QUESTION} to {MAX_QUESTION} characters"
        )
    return question


def claims_in(text: str) -> tuple[str, ...]:
    """What only the portal says, found in what somebody wrote: it means nothing, and the trail says so.

    A marker anywhere; a verdict, or a command that would decide, as the whole or the start of the first line.
    """
    shouted = text.upper()
    found = [marker for marker in _MARKERS if marker in shouted]
    first = shouted[:MAX_LINE].partition("\n")[0].strip()
    if first in _VERDICTS or first.startswith(_DECIDING):
        found.append(first.split(" ", 1)[0][:20])
    return tuple(found)
