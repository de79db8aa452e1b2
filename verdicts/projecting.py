"""What GitHub should show of a pull request: labels, one status comment, short new comments. Pure.

Nothing here decides anything: it says again, in Markdown and without anybody's name, what the portal's rows say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Final

from audit.canonical import digest_json
from handoffs.github.contexts import NOT_SEPARATED
from handoffs.github.markdown import code, inert
from verdicts.decision import Clearer, Judgement, Verdict
from verdicts.results import AgentOutcome, GateOutcome

STATES: Final = (
    "codex-building", "claude-enforcing", "gates-passing", "needs-revision", "lead-review", "ready-to-merge",
)  # fmt: skip
PRIORITIES: Final = ("priority:p0", "priority:p1", "priority:p2", "priority:p3")
OVERRIDE, TIMEOUT = "leo:override", "leo:timeout"
OWNED: Final = frozenset({*STATES, *PRIORITIES, OVERRIDE, TIMEOUT})
OWNED_PREFIXES: Final = ("priority:", "leo:")
MAX_REASONS: Final = 20
MAX_EARLIER: Final = 20
_ENDED: Final = {"merged": "ready-to-merge", "closed": "needs-revision"}
_MARKS: Final = {
    AgentOutcome.PASSED: "✓", AgentOutcome.WARNED: "△", AgentOutcome.FAILED: "✗", AgentOutcome.NOT_APPLICABLE: "–",
}  # fmt: skip
_PARTIES: Final = {
    Clearer.EXEC: "EXEC (the enforcer)", Clearer.CODEX: "the builder", Clearer.REVIEWER: "the reviewer",
    Clearer.OPERATOR: "an operator", Clearer.TIME: "time",
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """A verdict or a decision that was recorded. Shape: `what` PASS, FAIL, …, approve, send_back or rerun.

    `by` is a principal's number. `confidence` is PLAN's verdict's, and None for LEAD's decision. `conditions` counts a
    verdict's reasons; `digest` is an approval's justification's.
    """

    key: str
    what: str
    head_sha: str
    at: datetime
    by: int
    confidence: Decimal | None = None
    conditions: int = 0
    digest: str = ""
    is_override: bool = False
    is_break_glass: bool = False
    is_live: bool = False


@dataclass(frozen=True)
class Facts:
    """What the portal's rows say of one pull request. `said` in the order it was recorded."""

    label: str
    status: str
    head_sha: str
    round: int
    policy: int
    address: str
    judgement: Judgement
    gates: tuple[tuple[str, GateOutcome], ...]
    said: tuple[Said, ...] = ()
    has_work_left: bool = False
    is_timed_out: bool = False
    deadline_key: str = ""
    is_separated: bool = True

    @property
    def approval(self) -> Said | None:
        """LEAD's approval of this head, if it is what was said last about it."""
        live = [one for one in self.said if one.is_live]
        return live[-1] if live and live[-1].what == "approve" else None

    @property
    def is_complete(self) -> bool:
        """Whether every input gate ended and nothing of the portal's own is left to run."""
        return not self.has_work_left and all(outcome is not GateOutcome.MISSING for _, outcome in self.gates)


@dataclass(frozen=True)
class Shown:
    """What GitHub should show. Shape: `labels` sorted."""

    labels: tuple[str, ...]
    body: str

    @property
    def digest(self) -> str:
        """Changes whenever something of it does."""
        return digest_json({"labels": list(self.labels), "body": self.body})


def is_owned(label: str) -> bool:
    """Whether a label is the portal's, also one of its families that does not exist."""
    return label.lower() in OWNED or label.lower().startswith(OWNED_PREFIXES)


def project(facts: Facts) -> Shown:
    """The labels and the status comment."""
    return Shown(_labels(facts), _comment(facts))


def _labels(facts: Facts) -> tuple[str, ...]:
    found = {_ENDED.get(facts.status, facts.label), PRIORITIES[_priority(facts)]}
    if facts.approval is not None and facts.approval.is_override:
        found.add(OVERRIDE)
    if facts.is_timed_out:
        found.add(TIMEOUT)
    return tuple(sorted(found))


def _priority(facts: Facts) -> int:
    """How urgent the rows say it is: 0 the glass is broken, 1 a deadline passed, 2 it waits for LEAD, 3 all else."""
    if facts.approval is not None and facts.approval.is_break_glass and facts.status == "ready-to-merge":
        return 0
    if facts.is_timed_out:
        return 1
    return 2 if facts.status == "lead-review" else 3


def turn_of(facts: Facts) -> tuple[str, str]:
    """Whose turn it is, and what to do."""
    match facts.status:
        case "merged":
            return "nobody", "it is merged"
        case "closed":
            return "nobody", "it was closed without a merge"
        case "ready-to-merge":
            return "PLAN or LEAD", "merge it"
        case "lead-review":
            return "LEAD", "decide"
        case "needs-revision":
            return "the builder", "hand a revised bundle over"
    if facts.label == "claude-enforcing":
        return "EXEC (the enforcer)", "it triggers the workflows"
    return ("PLAN", "record a verdict") if facts.is_complete else ("the gates", "they are running")


def _comment(facts: Facts) -> str:
    who, what = turn_of(facts)
    judgement = facts.judgement
    verdict = judgement.verdict.value if judgement.verdict else "not ready"
    parts = [
        "" if facts.is_separated else f"**{NOT_SEPARATED}. Nothing here blocks a merge.**",
        f"### {_words(facts.label if facts.status not in _ENDED else facts.status)}: the turn of {who} ({what})",
        f"Computed now: **{inert(verdict)}** · {_percent(judgement.confidence)} · round {facts.round} · head "
        f"{code(facts.head_sha[:12])} · policy v{facts.policy}",
        _blocked(facts),
        _agents(facts),
        "Gates: " + " · ".join(f"{code(key)} {outcome.value.replace('_', ' ')}" for key, outcome in facts.gates),
        _last(facts),
        f"[Open in leoportal]({facts.address})",
        _earlier(facts),
        "<sub>A copy of what leoportal recorded. Nothing here decides anything, and what is changed by hand is put "
        "back. `/leo-help` lists what can be asked for.</sub>",
    ]
    return "\n\n".join(part for part in parts if part)


def _blocked(facts: Facts) -> str:
    if facts.status in _ENDED or not facts.judgement.reasons:
        return ""
    rows = [
        f"| {inert(reason.sentence)} | {_PARTIES.get(reason.who, reason.who.value)} |"
        for reason in facts.judgement.reasons[:MAX_REASONS]
    ]
    more = len(facts.judgement.reasons) - len(rows)
    rows += [f"| and {more} more, in leoportal | |"] if more else []
    return "\n".join(["| blocked by | who clears it |", "| --- | --- |", *rows])


def blocking_list(facts: Facts) -> str:
    """What blocks it and who clears it, as the answer to `/leo-explain`."""
    who, what = turn_of(facts)
    return _blocked(facts) or f"Nothing blocks it. It is the turn of {who}: {what}."


def _agents(facts: Facts) -> str:
    said = []
    for term in facts.judgement.terms:
        mark = _MARKS.get(term.outcome, "?")
        score = "" if term.outcome is AgentOutcome.NOT_APPLICABLE else f" {_whole(term.confidence)}"
        said.append(f"{term.kind.value.capitalize()} {mark} {term.outcome.value.lower().replace('_', ' ')}{score}")
    return "Sub-agents: " + " · ".join(said)


def _last(facts: Facts) -> str:
    live = [one for one in facts.said if one.is_live]
    return "\n".join(f"{_sentence(one)} at {_moment(one.at)}." for one in live[-2:])


def _earlier(facts: Facts) -> str:
    rows = [one for one in facts.said if not one.is_live][-MAX_EARLIER:]
    if not rows:
        return ""
    lines = [f"- {_moment(one.at)}: {_sentence(one)}" for one in reversed(rows)]
    return "\n".join(
        ["<details><summary>Earlier verdicts and decisions</summary>", "", *lines, "", "</details>"],
    )


def _sentence(one: Said) -> str:
    on = f"on {code(one.head_sha[:12])}"
    if one.confidence is not None:
        return f"PLAN (principal {one.by}) recorded **{inert(one.what)}** {on}, {_percent(one.confidence)}"
    done = {"approve": "approved", "send_back": "sent it back", "rerun": "forced a re-run"}.get(one.what, "decided")
    how = ", past the gates (break-glass)" if one.is_break_glass else ", an override" if one.is_override else ""
    return f"LEAD (principal {one.by}) {done} {on}{how}"


def notices_of(facts: Facts) -> tuple[tuple[str, str], ...]:
    """The short comments that there should be by now, by key: what was recorded, and turns that went to a person."""
    found = [(one.key, _notice(one, facts)) for one in facts.said]
    if facts.is_timed_out and facts.status == "lead-review":
        missing = ", ".join(code(key) for key, outcome in facts.gates if outcome is GateOutcome.MISSING)
        said = f"LEAD, your decision is needed: the gates' deadline passed{' without ' + missing if missing else ''}."
        found.append((f"timeout {facts.deadline_key}", f"{said} [Open in leoportal]({facts.address})"))
    elif facts.status == "gates-passing" and facts.label == "gates-passing" and facts.is_complete:
        said = f"PLAN, your verdict is needed: every gate on {code(facts.head_sha[:12])} has ended, "
        said += f"{_percent(facts.judgement.confidence)}."
        found.append((f"plan {facts.deadline_key}", f"{said} [Open in leoportal]({facts.address})"))
    return tuple(found)


def _notice(one: Said, facts: Facts) -> str:
    on, open_it = code(one.head_sha[:12]), f"[Open in leoportal]({facts.address})"
    if one.confidence is not None:
        turn = {
            Verdict.PASS.value: "It is released for this head, unless the policy asks LEAD as well.",
            Verdict.CONDITIONAL_PASS.value: f"LEAD, your decision is needed on {_things(one.conditions, 'condition')}.",
            Verdict.ESCALATE.value: "LEAD, your decision is needed: PLAN asks a question.",
            Verdict.FAIL.value: "The builder hands a revised bundle over.",
        }[one.what]
        return f"`PLAN-SUPERVISOR: {one.what}` on {on}, {_percent(one.confidence)}. {turn} {open_it}"
    if one.what == "approve":
        how = " past the gates (break-glass)" if one.is_break_glass else " as an override" if one.is_override else ""
        return f"`LEAD-APPROVED: {one.digest}` on {on}{how}. PLAN or LEAD, you can merge it. {open_it}"
    said = {"send_back": "The builder hands a revised bundle over.", "rerun": "The gates run again."}.get(one.what, "")
    return f"{_sentence(one)}. {said} {open_it}"


def _words(label: str) -> str:
    return label.replace("-", " ").capitalize()


def _things(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _percent(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.1'), ROUND_DOWN)} %"


def _whole(value: Decimal) -> str:
    return str(value.quantize(Decimal(1), ROUND_DOWN))


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
