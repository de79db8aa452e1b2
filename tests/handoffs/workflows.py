"""Workflows to be judged, and what the linter says of them."""

from __future__ import annotations

from typing import Final

from handoffs.scope.workflow_lint import lint_workflow

PIN: Final = "actions/checkout@" + "a" * 40


def step(*lines: str, in_shell: str = "") -> bytes:
    body = "".join(f"          {line}\n" for line in lines)
    told = f"        shell: {in_shell}\n" if in_shell else ""
    return f"on: push\njobs:\n  a:\n    steps:\n      - name: tests\n{told}        run: |\n{body}".encode()


def rules_of(content: bytes, **context: str) -> list[str]:
    return [problem.rule for problem in lint_workflow(content, **context)]
