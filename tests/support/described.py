"""What GitHub's description was silent about, and whether it was there: said at the end of a test run, from every worker."""

from __future__ import annotations

from typing import Any

import pytest

UNDESCRIBED: set[str] = set()
UNCOMPARED: set[str] = set()


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["undescribed"], output["uncompared"] = sorted(UNDESCRIBED), sorted(UNCOMPARED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    output: dict[str, Any] = getattr(node, "workeroutput", {})  # a worker that was killed says nothing
    UNDESCRIBED.update(output.get("undescribed", ()))
    UNCOMPARED.update(output.get("uncompared", ()))


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: Any) -> None:
    for notice in sorted(UNCOMPARED):
        terminalreporter.write_line(notice)
    if UNDESCRIBED:
        terminalreporter.write_line("GitHub's description and schemas say nothing about:")
        for line in sorted(UNDESCRIBED):
            terminalreporter.write_line(f"  {line}")
