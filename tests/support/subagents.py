"""What the tests of the built-in sub-agents share: changed files, a change, one sub-agent's look at them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from verdicts.results import AgentKind
from verdicts.subagents import AGENTS
from verdicts.subagents.change import Change, ChangedFile

SCANNERS = Path(sys.prefix) / "scanners" / "bin"
needs_scanners = pytest.mark.skipif(
    not (SCANNERS / "ruff").exists(), reason="the scanners' environment is not installed"
)
HEAD = "a" * 40
AWS_KEY = "AKIA" + "Q3EGRCV2BOD7WYTZ"  # put together here, so that no scanner takes this file for a leak


def changed(path, text, added=None):
    content = text if isinstance(text, bytes) else text.encode()
    lines = frozenset(range(1, content.count(b"\n") + 2)) if added is None else frozenset(added)
    return ChangedFile(path, content, lines)


def change(*files, **more):
    return Change(tuple(files), HEAD, **more)


def analyse(kind, *files, scanners=SCANNERS, **more):
    return AGENTS[AgentKind(kind)].analyse(change(*files, **more), scanners)


def rules(result, *, is_open=True):
    return {item.rule for item in (result.open_findings if is_open else result.findings)}
