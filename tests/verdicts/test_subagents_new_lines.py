"""Only what a change adds counts against it."""

from __future__ import annotations

import pytest

from tests.support.subagents import analyse, changed, needs_scanners, rules
from verdicts.results import AgentOutcome, Finding, Severity


@needs_scanners
def test_only_what_the_change_adds_counts_and_the_rest_is_shown():
    file = changed("a.py", "eval(input())\n\nexec(input())\n", added={3})
    result = analyse("SECURITY", file)
    assert {(item.rule, item.is_open) for item in result.findings} == {("ruff:S307", False), ("ruff:S102", True)}
    untouched = analyse("SECURITY", changed("a.py", "eval(input())\n", added={2}))
    assert (untouched.outcome, untouched.confidence) == (AgentOutcome.PASSED, 100)
    assert "ruff:S307" in rules(untouched, is_open=False)


@needs_scanners
def test_an_argument_added_inside_an_old_statement_is_new():
    text = "import subprocess\nsubprocess.run(\n    cmd,\n    check=True,\n    shell=True,\n)\n"
    assert "ruff:S602" in rules(analyse("SECURITY", changed("a.py", text, added={5})))


@needs_scanners
@pytest.mark.parametrize("end", [b"\r", b"\x0c", "\u2028".encode()])
def test_line_ends_that_tools_count_differently_do_not_hide_a_finding(end):
    text = b"# a" + end + b"# b" + end + b"# c\n\n\neval(input())\n"
    assert "ruff:S307" in rules(analyse("SECURITY", changed("a.py", text, added={4})))


@needs_scanners
def test_in_a_resolution_round_the_disputed_files_are_judged_whole():
    files = (changed("a.py", "eval(input())\n", added={2}), changed("b.py", "eval(input())\n", added={2}))
    dispute = Finding("r", Severity.HIGH, "a.py", 1, "TESTING sees it otherwise")
    result = analyse("SECURITY", *files, other_findings=(dispute,), round=2)
    assert [item.file for item in result.open_findings] == ["a.py"]
    assert result.input_digest != analyse("SECURITY", *files).input_digest
