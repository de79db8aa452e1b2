"""Planted problems, each under a comment or a file that asks the scanner to look away."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from tests.support.subagents import AWS_KEY, analyse, changed, needs_scanners
from verdicts.results import AgentKind, AgentOutcome, from_json, to_json
from verdicts.subagents.suppressions import DIRECTIVES, blank

PLANTED = {
    "ruff": ("SECURITY", "app/a.py", "eval(input())  # noqa\n", "ruff:S307", "HIGH"),
    "ruff-file": ("SECURITY", "app/a.py", "# ruff: noqa\neval(input())\n", "ruff:S307", "HIGH"),
    "ruff-flake8": ("SECURITY", "app/a.py", "# flake8: noqa\neval(input())\n", "ruff:S307", "HIGH"),
    "ruff-range": (
        "SECURITY",
        "app/a.py",
        "# ruff: disable[S307]\neval(input())\n# ruff: enable[S307]\n",
        "ruff:S307",
        "HIGH",
    ),
    "ruff-nosec": ("SECURITY", "app/a.py", "eval(input())  # nosec\n", "ruff:S307", "HIGH"),
    "secrets": (
        "SECURITY",
        "app/a.txt",
        f"key = '{AWS_KEY}'  # pragma: allowlist secret\n",
        "detect-secrets:AWS Access Key",
        "CRITICAL",
    ),
    "secrets-next": (
        "SECURITY",
        "a.yml",
        f"# pragma: allowlist nextline secret\nkey: '{AWS_KEY}'\n",
        "detect-secrets:AWS Access Key",
        "CRITICAL",
    ),
    "secrets-lock": ("SECURITY", "poetry.lock", f"key = '{AWS_KEY}'\n", "detect-secrets:AWS Access Key", "CRITICAL"),
    "zizmor": (
        "SECURITY",
        ".github/workflows/ci.yml",
        (
            "on: pull_request_target # zizmor: ignore[dangerous-triggers]\njobs:\n  a:\n    runs-on: ubuntu-latest\n"
            "    steps:\n      - run: echo ${{ github.event.pull_request.title }} # zizmor: ignore\n"
        ),
        "zizmor:template-injection",
        "HIGH",
    ),
    "shellcheck": (
        "SECURITY",
        "a.sh",
        "#!/bin/bash\n# shellcheck disable=all\nrm -rf $1/*\n",
        "shellcheck:SC2115",
        "LOW",
    ),
    "shellcheck-shebang": (
        "SECURITY",
        "bin/go",
        "#!/usr/bin/env bash\n# shellcheck disable=SC2115\nrm -rf $1/*\n",
        "shellcheck:SC2115",
        "LOW",
    ),
    "hadolint": (
        "SECURITY",
        "Dockerfile",
        "FROM debian:12\n# hadolint ignore=DL3008\nRUN apt-get install -y curl\n",
        "hadolint:DL3008",
        "LOW",
    ),
    "hadolint-global": (
        "SECURITY",
        "web.dockerfile",
        "# hadolint global ignore=DL3008\nFROM debian:12\nRUN apt-get install -y curl\n",
        "hadolint:DL3008",
        "LOW",
    ),
    "squawk": (
        "DATABASE",
        "a.sql",
        "-- squawk-ignore adding-required-field\nALTER TABLE a ADD COLUMN b int NOT NULL;\n",
        "squawk:adding-required-field",
        "HIGH",
    ),
    "squawk-file": ("DATABASE", "a.sql", "-- squawk-ignore-file\nDROP TABLE a;\n", "squawk:ban-drop-table", "HIGH"),
    "squawk-in-migration": (
        "DATABASE",
        "app/migrations/0002_b.py",
        'SQL = """\n-- squawk-ignore ban-drop-table\nDROP TABLE a;\n"""\nmigrations.RunSQL(SQL, migrations.RunSQL.noop)\n',
        "squawk:ban-drop-table",
        "HIGH",
    ),
    "ruff-pt": (
        "TESTING",
        "tests/test_a.py",
        "def test_a(x):\n    assert (x, 'x')  # noqa: F631\n",
        "ruff:F631",
        "MEDIUM",
    ),
    "complexipy": (
        "PERFORMANCE",
        "app/a.py",
        "def f(a):  # complexipy: ignore\n"
        + "".join("    " * n + "if a:\n" for n in range(1, 9))
        + "    " * 9
        + "return 1\n",
        "complexipy:complexity",
        "LOW",
    ),
    "complexipy-noqa": (
        "PERFORMANCE",
        "app/a.py",
        "def f(a):  # noqa: complexipy\n"
        + "".join("    " * n + "if a:\n" for n in range(1, 9))
        + "    " * 9
        + "return 1\n",
        "complexipy:complexity",
        "LOW",
    ),
    "djlint": ("DESIGN", "a.html", "{# djlint:off #}\n<div><span></div>\n{# djlint:on #}\n", "djlint:H025", "LOW"),
    "oxlint": ("DESIGN", "a.js", "/* eslint-disable */\neval(location.hash);\n", "oxlint:no-eval", "HIGH"),
    "oxlint-block": (
        "DESIGN",
        "a.js",
        "/*\n eslint-disable\n no-eval */\neval(location.hash);\n",
        "oxlint:no-eval",
        "HIGH",
    ),
    "oxlint-next": (
        "DESIGN",
        "a.ts",
        "// oxlint-disable-next-line no-eval\neval(location.hash);\n",
        "oxlint:no-eval",
        "HIGH",
    ),
}


def planted(kind):
    """The planted files of one sub-agent, each in a folder of its own but where its path is what makes it be read."""
    return [
        changed(path if path.startswith(".github") else f"{name}/{path}", text)
        for name, (wanted, path, text, _, _) in PLANTED.items()
        if wanted == kind
    ]


@cache
def found_in_planted(kind):
    return analyse(kind, *planted(kind))


@needs_scanners
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_problem_is_found_although_a_comment_asks_to_look_away(name):
    kind, path, text, rule, severity = PLANTED[name]
    result = found_in_planted(kind)
    assert result.outcome in {AgentOutcome.FAILED, AgentOutcome.WARNED}, result.reason
    assert result.confidence < 100
    mine = [item for item in result.open_findings if item.file in {path, f"{name}/{path}"}]
    assert severity in {item.severity for item in mine if item.rule == rule}
    keywords = [directive.kind for directive in DIRECTIVES if directive.keyword.search(text.encode())]
    if kind in keywords:
        assert "suppression" in {item.rule for item in mine}
    assert keywords or name == "secrets-lock"


CONFIGURATIONS = {
    "pyproject.toml": '[tool.ruff]\nexclude = ["*"]\n[tool.djlint]\nignore = "H025"\n[tool.complexipy]\nexclude = ["."]\n',
    "ruff.toml": 'exclude = ["*"]\n[lint]\nignore = ["ALL"]\n',
    "setup.cfg": "[flake8]\nignore = S307\n",
    ".gitignore": "*\n",
    ".ignore": "*\n",
    ".oxlintrc.json": '{"ignorePatterns": ["**"], "rules": {"no-eval": "off"}}',
    ".eslintignore": "*\n",
    ".squawk.toml": 'excluded_rules = ["ban-drop-table", "adding-required-field"]\n',
    ".shellcheckrc": "disable=all\n",
    ".hadolint.yaml": "ignored:\n  - DL3008\n",
    ".djlintrc": '{"ignore": "H025"}',
    "complexipy.toml": 'exclude = ["."]\n',
    "zizmor.yml": "rules:\n  template-injection:\n    disable: true\n",
    ".github/zizmor.yml": "rules:\n  template-injection:\n    disable: true\n",
    ".secrets.baseline": "{}",
}


@needs_scanners
@pytest.mark.parametrize("kind", AgentKind)
def test_configuration_that_comes_with_the_change_is_not_used(kind):
    alone = found_in_planted(kind)
    beside = analyse(kind, *(changed(path, text) for path, text in CONFIGURATIONS.items()), *planted(kind))
    assert set(alone.open_findings) <= set(beside.open_findings)
    assert beside.outcome is alone.outcome


@needs_scanners
def test_no_path_hides_a_file_from_the_scanners_or_leads_out_of_the_copy():
    odd = [
        "node_modules/a.py",
        ".venv/a.py",
        "build/a.py",
        "-e.py",
        "--exit-zero.py",
        "../../a.py",
        "/etc/a.py",
        "a b\n;c.py",
        ".git/a.py",
        "é.py",
    ]
    result = analyse("SECURITY", *(changed(path, "eval(input())\n") for path in odd))
    assert {item.file for item in result.open_findings if item.rule == "ruff:S307"} == {
        path.replace("\n", "?") for path in odd
    }
    assert from_json(to_json(result)) == result


@pytest.mark.parametrize("directive", DIRECTIVES, ids=lambda directive: directive.name)
def test_blanking_moves_nothing(directive):
    text = b"\n".join(text.encode() for _, _, text, _, _ in PLANTED.values())
    blanked = blank(text)
    assert len(blanked) == len(text)
    assert blanked.count(b"\n") == text.count(b"\n")
    assert not directive.keyword.search(blanked)


@needs_scanners
def test_a_suppression_of_everything_weighs_and_one_that_names_its_rule_informs():
    result = analyse("SECURITY", changed("a.py", "x = 1  # noqa\ny = 2  # noqa: E501\nz = 'a noqa in text'\n"))
    assert [(item.severity, item.line) for item in result.findings if item.rule == "suppression"] == [
        ("LOW", 1),
        ("INFO", 2),
    ]


@needs_scanners
@pytest.mark.parametrize("kind", AgentKind)
def test_the_same_change_gets_the_same_answer(kind):
    again = analyse(kind, *planted(kind))
    assert replace(again, tools=()) == replace(found_in_planted(kind), tools=())
