"""The words of a check run: who blocks and who clears it, sub-agents, the verdict, findings with their lines. Pure.

What comes from an agent is shown as text: in a code span of GitHub's markdown there are no links, mentions, images or
HTML, and a character that nobody sees is written as its number.
Source: ux.md section 21; GitHub Flavored Markdown 0.29, sections 4.10, 6.3 and 6.11.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from handoffs.github import commands
from handoffs.github.check_runs import Annotation, Button
from handoffs.scope.hidden_text import places_in
from verdicts.findings import AgentOutcome, Finding, Severity

MOST_BLOCKS: Final = 20
MOST_ANNOTATIONS: Final = 300
_SEVERITIES: Final = tuple(Severity)
_LEVELS: Final = {
    Severity.CRITICAL: "failure",
    Severity.HIGH: "failure",
    Severity.MEDIUM: "warning",
    Severity.LOW: "notice",
    Severity.INFO: "notice",
}
_MARKS: Final = {AgentOutcome.PASSED: "✓", AgentOutcome.WARNED: "△", AgentOutcome.NOT_APPLICABLE: "–"}
_TICKS: Final = re.compile("`+")
BUTTONS: Final = tuple(Button(one.label, one.description, one.identifier) for one in commands.BUTTONS)


@dataclass(frozen=True)
class Block:
    """One thing between a head and its merge, and who clears it."""

    sentence: str
    who: str


@dataclass(frozen=True)
class AgentLine:
    """One sub-agent in a line. Units: `confidence` 0 to 100."""

    name: str
    outcome: AgentOutcome
    confidence: str


@dataclass(frozen=True)
class Story:
    """What the summary of Gate 3 tells. `verdict` names who judged as the portal's pages do; empty before that."""

    blocks: tuple[Block, ...] = ()
    agents: tuple[AgentLine, ...] = ()
    verdict: str = ""
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    url: str = ""


def visible(text: str, most: int = 300) -> str:
    """One line of text, at most so long: what is hidden, or moves the text around it, is written as U+XXXX."""
    line = " ".join(text.split())
    hidden = places_in(line)
    shown = "".join(
        f"U+{ord(one):04X}" if at in hidden or unicodedata.category(one)[0] == "C" else one
        for at, one in enumerate(line)
    )
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def code(text: str, most: int = 300) -> str:
    """Text of a stranger as a code span, also in a table's cell."""
    shown = visible(text, most).replace("|", "\\|").replace("\\\\|", "\\ \\|")
    if not shown:
        return ""
    ticks = "`" * (1 + max((len(run) for run in _TICKS.findall(shown)), default=0))
    return f"{ticks} {shown} {ticks}" if len(ticks) > 1 else f"`{shown}`"


def summary(story: Story) -> str:
    """The summary of Gate 3: its first lines answer what, who and where."""
    parts = [*(f"**{note}**" for note in story.notes)]
    if story.blocks:
        rows = "".join(f"| {code(block.sentence)} | {block.who} |\n" for block in story.blocks[:MOST_BLOCKS])
        parts.append(f"| blocked by | who clears it |\n| --- | --- |\n{rows}".rstrip())
        if len(story.blocks) > MOST_BLOCKS:
            parts.append(f"And {len(story.blocks) - MOST_BLOCKS} more.")
    if story.agents:
        parts.append(f"Sub-agents: {' · '.join(_agent(one) for one in story.agents)}")
    if story.verdict:
        parts.append(story.verdict)
    shown, all_of = len(remarks(story.findings)), len(with_line(story.findings))
    if all_of > shown:
        parts.append(f"{shown} of {all_of} findings with a line are annotated, the worst first; the portal shows all.")
    return "\n\n".join((*parts, link(story.url))) if story.url else "\n\n".join(parts)


def gate_summary(outcome: str, checks: Sequence[tuple[str, bool, str]], run_id: str, url: str) -> str:
    """The summary of an input gate: what it looked at, and what it got."""
    parts = [f"Result: {outcome}."] if outcome else ["Nothing was reported on this head yet."]
    if checks:
        rows = "".join(
            f"| {'✓ holds' if is_met else '✗ fails'} | {code(name)} | {code(got, 120)} |\n"
            for name, is_met, got in sorted(checks, key=lambda one: one[1])[:MOST_BLOCKS]
        )
        parts.append(f"| | check | got |\n| --- | --- | --- |\n{rows}".rstrip())
    if run_id:
        parts.append(f"Run {code(run_id, 120)}")
    return "\n\n".join((*parts, link(url)))


def link(url: str) -> str:
    """The way to the portal's page."""
    return f"[Open in leoportal]({url})"


def said_of_verdict(verdict: str, by: str, role: str, at: datetime, policy: int, digest: str) -> str:
    """The sentence that says whose verdict it is. `at` in UTC; `by` is a login name, escaped here."""
    when = f"{at:%Y-%m-%d %H:%M} UTC"
    return f"{verdict} by {code(by, 80)} ({role}) {when}, policy v{policy}, evidence `{digest[:12]}…`"


def with_line(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that count and name a line, worst first."""
    found = [one for one in findings if one.is_open and one.file and one.line > 0]
    return sorted(found, key=lambda one: (_SEVERITIES.index(one.severity), one.file, one.line, one.rule))


def remarks(findings: Sequence[Finding]) -> tuple[Annotation, ...]:
    """Findings as remarks on their lines, worst first. Their text is shown as it is, not as markdown."""
    return tuple(
        Annotation(
            one.file,
            one.line,
            _LEVELS[one.severity],
            _unaddressed(visible(f"{one.severity}: {one.rule}", 200)),
            _unaddressed(visible(one.message, 2000)) or one.rule,
        )
        for one in with_line(findings)[:MOST_ANNOTATIONS]
    )


def _unaddressed(text: str) -> str:
    """Nobody is called by a remark: a name after an at sign stands apart from it."""
    return text.replace("@", "@ ")


def _agent(one: AgentLine) -> str:
    if one.outcome is AgentOutcome.NOT_APPLICABLE:
        return f"{one.name} n/a"
    mark = _MARKS.get(one.outcome, "✗")
    word = one.outcome.value.lower()
    return f"{one.name} {mark} {word} {one.confidence}"
