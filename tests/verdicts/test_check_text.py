"""The words of check runs: what a stranger wrote is text, and GitHub's limits hold."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from handoffs.github.check_runs import Button
from tests.support.judging import finding
from verdicts.check_text import (
    BUTTONS,
    MOST_ANNOTATIONS,
    AgentLine,
    Block,
    Story,
    code,
    gate_summary,
    remarks,
    said_of_verdict,
    summary,
    visible,
)
from verdicts.results import AgentOutcome, Disposition, Severity

HOSTILE = (
    "@octocat please merge",
    "[click](https://evil.invalid) ![x](https://evil.invalid/x.png)",
    "<img src=x onerror=alert(1)><!-- hidden -->",
    "a | b \\| c \\\\| d",
    "`` ` ``` code ```",
    "line one\n\n# PASS\n| all | good |",
    "safe\u202e\u2066 reversed\u2069",
    "in\u200bvisible \U000e0041 tag \u0430dmin",
    "bell \x07 null \x00 escape \x1b[31m",
    "#1 fixes #2 acme/payments@0123456789abcdef",
)


MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


def kinds(text: str) -> set[str]:
    """Everything that a reader of markdown finds inside its paragraphs or cells."""
    return {child.type for token in MARKDOWN.parse(text) for child in token.children or ()}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_stranger_wrote_is_one_code_span_in_one_cell(text: str):
    assert kinds(code(text)) == {"code_inline"}
    table = summary(Story(blocks=(Block(text, "EXEC"),)))
    assert kinds(table) == {"code_inline", "text"}
    assert MARKDOWN.render(table).count("<td>") == 2
    table = gate_summary("failure", ((text, False, text),), "", "https://portal.example")
    assert MARKDOWN.render(table).count("<td>") == 3
    assert MARKDOWN.render(table).count("<code>") == 2


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None, database=None)
def test_no_text_leaves_its_code_span_or_hides_anything(text: str):
    shown = code(text)
    if not shown:
        return
    assert kinds(shown) == {"code_inline"}
    assert MARKDOWN.render(f"| a | b |\n| - | - |\n| {shown} | x |").count("<td>") == 2
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


def test_hidden_characters_are_written_as_their_numbers():
    assert visible("a\u202eb\u200bc") == "aU+202EbU+200Bc"
    assert visible("x" * 400, 10) == "x" * 9 + "…"


def test_the_summary_says_what_who_and_where_first():
    story = Story(
        blocks=(Block("Policy Verification failed", "EXEC"),),
        agents=(
            AgentLine("Security", AgentOutcome.PASSED, "94"),
            AgentLine("Database", AgentOutcome.FAILED, "40"),
            AgentLine("Design", AgentOutcome.NOT_APPLICABLE, "0"),
        ),
        verdict=said_of_verdict(
            "Verdict", "r.felix", "PLAN", datetime(2026, 11, 26, 11, 21, tzinfo=UTC), 14, "5c0d" * 16
        ),
        notes=("OBSERVE MODE",),
        url="https://portal.example/prs/acme/payments/1/",
    )
    lines = summary(story).splitlines()
    assert lines[0] == "**OBSERVE MODE**"
    assert lines[2:5] == ["| blocked by | who clears it |", "| --- | --- |", "| `Policy Verification failed` | EXEC |"]
    assert "Security ✓ passed 94 · Database ✗ failed 40 · Design n/a" in lines[6]
    assert lines[8] == "Verdict by `r.felix` (PLAN) 2026-11-26 11:21 UTC, policy v14, evidence `5c0d5c0d5c0d…`"
    assert lines[-1] == "[Open in leoportal](https://portal.example/prs/acme/payments/1/)"


def test_findings_with_a_line_are_remarks_worst_first_and_nobody_is_called():
    findings = (
        finding(Severity.LOW, file="b.py", line=3),
        finding(Severity.CRITICAL, file="a.py", line=9, message="@octocat runs\u202e this"),
        finding(Severity.MEDIUM, line=0),
        finding(Severity.HIGH, file=""),
        finding(Severity.HIGH, is_new=False, disposition=Disposition.PRE_EXISTING),
    )
    found = remarks(findings)
    assert [(one.path, one.line, one.level) for one in found] == [("a.py", 9, "failure"), ("b.py", 3, "notice")]
    assert found[0].message == "@ octocat runsU+202E this"


def test_no_more_remarks_than_are_read_and_the_rest_is_said():
    findings = tuple(finding(Severity.LOW, line=line) for line in range(1, MOST_ANNOTATIONS + 50))
    assert len(remarks(findings)) == MOST_ANNOTATIONS
    assert f"{MOST_ANNOTATIONS} of {len(findings)} findings" in summary(Story(findings=findings))


def test_the_buttons_are_within_githubs_limits():
    assert [one.label for one in BUTTONS] == ["Verify again", "Explain block", "Escalate to LEAD"]
    for text in ("", "x" * 21):
        with pytest.raises(ValueError, match="expected 1 to 20"):
            Button(text, "What it does", "leo-x")
    with pytest.raises(ValueError, match="expected 1 to 40"):
        Button("Label", "x" * 41, "leo-x")
