"""The built-in sub-agents on planted problems, on attempts to silence them, and on scanners that do not work."""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from verdicts.policy import GateInput, Inputs, Verdict, decide, default_policy_yaml, disagreements, parse_policy
from verdicts.results import AgentKind, AgentOutcome, Finding, GateOutcome, Grade, Severity, Tool, from_json, to_json
from verdicts.subagents import AGENTS
from verdicts.subagents.change import Change, ChangedFile, is_test
from verdicts.subagents.sandbox import run, workspace
from verdicts.subagents.suppressions import DIRECTIVES, blank

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


# --- planted problems, each under a comment or a file that asks the scanner to look away ---------------------------

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


# --- what is new ---------------------------------------------------------------------------------------------------


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


# --- scanners that do not work -------------------------------------------------------------------------------------

SAMPLE = (
    changed("app/a.py", "x = 1\n"),
    changed("tests/test_a.py", "def test_a():\n    assert f() == 1\n"),
    changed("a.sql", "SELECT 1;\n"),
    changed("a.html", "<p>a</p>\n"),
    changed("a.js", "export const a = 1;\n"),
)
PROGRAMS = ("ruff", "detect-secrets", "zizmor", "shellcheck", "hadolint", "squawk", "complexipy", "djlint", "oxlint")


def fake(folder, script):
    for program in PROGRAMS:
        path = folder / program
        path.write_text(script)
        path.chmod(0o755)
    return folder


@pytest.mark.parametrize("kind", AgentKind)
def test_a_missing_scanner_never_passes(kind, tmp_path):
    result = analyse(kind, *SAMPLE, scanners=tmp_path)
    assert (result.outcome, result.confidence, result.grade) == (AgentOutcome.MISSING, 0, Grade.MISSING)
    assert "not installed" in result.reason


@needs_scanners
def test_one_missing_scanner_among_several_is_enough(tmp_path):
    for program in PROGRAMS:
        if program != "detect-secrets":
            (tmp_path / program).symlink_to(SCANNERS / program)
    assert analyse("SECURITY", *SAMPLE, scanners=tmp_path).outcome is AgentOutcome.MISSING


# Reading is one code path for all five; these two have the most different readers.
BROKEN = {
    "crashes": "#!/bin/sh\nexit 3\n",
    "is silent": "#!/bin/sh\nexit 0\n",
    "fails and says nothing": "#!/bin/sh\nexit 1\n",
    "fails with an empty list": "#!/bin/sh\necho '[]'\nexit 1\n",
    "writes nonsense": "#!/bin/sh\necho 'all good'\n",
    "writes another shape": "#!/bin/sh\necho '{\"ok\": true}'\n",
    "is killed": "#!/bin/sh\nkill -9 $$\n",
    "is no program": "not a program",
    "has no interpreter": "#!/nowhere/at/all\n",
}


@pytest.mark.parametrize("kind", ["PERFORMANCE", "DESIGN"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_scanner_that_does_not_work_never_passes(kind, how, tmp_path):
    result = analyse(kind, *SAMPLE, scanners=fake(tmp_path, BROKEN[how]))
    assert (result.outcome, result.confidence) == (AgentOutcome.ERROR, 0)
    assert result.reason
    assert from_json(to_json(result)) == result


def test_a_scanner_that_speaks_of_files_it_was_not_given_is_an_error(tmp_path):
    row = '[{"filename":"f9999.py","code":"S307","message":"m","location":{"row":1},"end_location":{"row":1}}]'
    result = analyse("TESTING", *SAMPLE, scanners=fake(tmp_path, f"#!/bin/sh\necho '{row}'\nexit 1\n"))
    assert result.outcome is AgentOutcome.ERROR


def execute(folder, script, **more):
    program = folder / "probe"
    program.write_text(script)
    program.chmod(0o755)
    with workspace(change(*SAMPLE)) as place:
        return run(folder, Tool("probe", "1"), place.names(lambda file: True), place, **more)


def test_a_scanner_that_hangs_is_stopped_with_its_children(tmp_path):
    execution = execute(tmp_path, "#!/bin/sh\n(while :; do :; done) &\nwhile :; do :; done\n", timeout_seconds=0.5)
    assert execution.outcome is AgentOutcome.ERROR
    assert (execution.tool.exit_code, "did not end" in execution.problem) == (None, True)


def test_a_scanner_cannot_fill_the_disk(tmp_path):
    script = f"#!{sys.executable}\nwith open('big', 'wb') as file:\n    file.truncate(1 << 30)\n    file.seek(1 << 29)\n    file.write(b'x')\n"
    assert execute(tmp_path, script).tool.exit_code != 0


def test_a_scanner_gets_no_environment_and_sees_only_the_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("LEO_SECRET", "hunter2")
    script = f"#!{sys.executable}\nimport os\nprint(sorted(os.environ), sorted(os.listdir('.')), os.getcwd())\n"
    output = execute(tmp_path, script).output.decode()
    assert "LEO_SECRET" not in output
    assert "'f0001.py', 'f0002.py', 'f0003.sql', 'f0004.html', 'f0005.js'" in output
    assert ".git" not in output


def accept_one(server):
    connection, _ = server.accept()
    connection.close()


def test_a_scanner_has_no_network_where_the_result_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=accept_one, args=(server,), daemon=True).start()
        script = f"#!{sys.executable}\nimport socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\n"
        execution = execute(tmp_path, script)
        socket.create_connection(("127.0.0.1", port)).close()  # lets the waiting thread end in any case
    assert execution.is_isolated == (execution.tool.exit_code != 0)


@needs_scanners
def test_the_evidence_says_what_ran_and_how():
    result = analyse("SECURITY", *SAMPLE)
    tools = {tool.name: tool for tool in result.tools}
    assert set(tools) == {"leoportal", "ruff", "detect-secrets"}
    assert tools["ruff"].version != "unknown"
    assert {"--isolated", "--ignore-noqa", "(2 files)"} <= set(tools["ruff"].arguments)
    assert (tools["ruff"].exit_code, len(tools["ruff"].rules_digest)) == (
        1,
        64,
    )  # the assert in the test: seen, expected
    assert result.subjects == tuple(sorted(file.path for file in SAMPLE))


@needs_scanners
@pytest.mark.parametrize("kind", AgentKind)
def test_the_same_change_gets_the_same_answer(kind):
    again = analyse(kind, *planted(kind))
    assert replace(again, tools=()) == replace(found_in_planted(kind), tools=())


# --- rules of our own ----------------------------------------------------------------------------------------------


@needs_scanners
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("x = 1  # \u202e reversed\n", "source.hidden"),
        ("# -*- coding: utf-7 -*-\nx = 1\n", "source.encoding"),
        (b"x = 1\x00\n", "source.binary"),
        ("def f(:\n", "ruff:invalid-syntax"),
        ("x" * (3 << 20), "file.too_large"),
    ],
)
def test_source_that_cannot_be_judged_does_not_pass_security(text, rule):
    result = analyse("SECURITY", changed("a.py", text))
    assert rule in rules(result)
    assert result.outcome is not AgentOutcome.PASSED


HIDDEN = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\u200d\u2060\ufeff\u00ad"


@needs_scanners
@pytest.mark.threat("PAT-07")
@pytest.mark.parametrize("path", ["a.py", "tests/test_a.py", "README.md"])
def test_every_hidden_character_is_a_high_finding_in_code_tests_and_prose(path):
    text = "".join(f"x{number} = 'a{character}b'\n" for number, character in enumerate(HIDDEN))
    found = [item for item in analyse("SECURITY", changed(path, text)).open_findings if item.rule == "source.hidden"]
    assert {(item.line, item.severity) for item in found} == {(n + 1, "HIGH") for n in range(len(HIDDEN))}
    assert f"U+{ord(HIDDEN[0]):04X}" in found[0].message


TEST_RULES = {
    "test.vacuous": "def test_a():\n    assert True\n",
    "test.no_assertion": "def test_a():\n    run()\n",
    "test.skipped": "import pytest\n@pytest.mark.skip\ndef test_a():\n    assert f()\n",
}


@needs_scanners
@pytest.mark.parametrize("rule", TEST_RULES)
def test_tests_that_cannot_fail_or_do_not_run_are_found(rule):
    assert rule in rules(analyse("TESTING", changed("tests/test_a.py", TEST_RULES[rule])))


@needs_scanners
@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test_a():\n    with pytest.raises(ValueError):\n        f()\n",
        "def test_a(x):\n    assert_same(x)\n",
        "class T:\n    def test_a(self):\n        self.assertEqual(f(), 1)\n",
        "import pytest\ndef test_a():\n    if not f():\n        pytest.skip('no f')\n    assert g()\n",
        "def test_a(mock):\n    mock.assert_called_once()\n",
    ],
)
def test_ordinary_tests_are_left_alone(text):
    result = analyse("TESTING", changed("tests/test_a.py", text))
    assert (result.outcome, result.confidence) == (AgentOutcome.PASSED, 100), result.open_findings


@needs_scanners
def test_source_without_a_test_and_a_deleted_test_are_found():
    assert "test.none_changed" in rules(analyse("TESTING", changed("app/a.py", "x = 1\n")))
    gone = ChangedFile("tests/test_a.py", b"", frozenset(), is_deleted=True)
    result = analyse("TESTING", changed("app/a.py", "x = 1\n"), gone)
    assert rules(result) == {"test.none_changed", "test.deleted"}


MIGRATION = "from django.db import migrations, models\nclass Migration(migrations.Migration):\n    operations = [\n        {}\n    ]\n"


@needs_scanners
@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        ("migrations.RunPython(fill)", "migration.RunPython"),
        ("migrations.RunPython(fill, None)", "migration.RunPython"),
        ("migrations.RunSQL('SELECT 1')", "migration.RunSQL"),
        ("migrations.RunSQL(make(), 'SELECT 1')", "migration.RunSQL"),
        ("migrations.AddField('a', 'b', models.IntegerField())", "migration.AddField"),
        ("migrations.AddField(model_name='a', name='b', field=models.IntegerField())", "migration.AddField"),
        ("migrations.RemoveField('a', 'b')", "migration.RemoveField"),
        ("migrations.DeleteModel('a')", "migration.DeleteModel"),
        ("migrations.RenameField('a', 'b', 'c')", "migration.RenameField"),
        ("migrations.AlterField('a', 'b', models.TextField())", "migration.AlterField"),
        ("migrations.AddIndex('a', models.Index(fields=['b']))", "migration.AddIndex"),
    ],
)
def test_migrations_that_need_a_second_look_are_found(operation, rule):
    result = analyse("DATABASE", changed("app/migrations/0002_b.py", MIGRATION.format(operation)))
    assert rules(result) == {rule}
    assert result.outcome is AgentOutcome.WARNED


@needs_scanners
@pytest.mark.parametrize(
    "operation",
    [
        (
            "migrations.CreateModel(name='a', fields=[('id', models.BigAutoField(primary_key=True))]),\n"
            "        migrations.AddIndex('a', models.Index(fields=['id']))"
        ),
        "migrations.AddField('a', 'b', models.IntegerField(null=True))",
        "migrations.AddField('a', 'b', models.IntegerField(db_default=0))",
        "migrations.AddField('a', 'b', models.ManyToManyField('c'))",
        "migrations.RunPython(fill, migrations.RunPython.noop)",
        "migrations.RunSQL('SELECT 1', 'SELECT 1')",
    ],
)
def test_ordinary_migrations_are_left_alone(operation):
    result = analyse("DATABASE", changed("app/migrations/0002_b.py", MIGRATION.format(operation)))
    assert (result.outcome, result.confidence) == (AgentOutcome.PASSED, 100), result.open_findings


MARKUP = {
    '<img src="{% static "a.png" %}">': "markup.no_alt",
    '<img\n  src="a>b"\n  title="alt">': "markup.no_alt",
    '<p style="color: red">a</p>': "markup.inline_style",
    '<p {% if a %}b{% endif %} onclick="x()">a</p>': "markup.inline_handler",
    '<p hx-on:click="x()">a</p>': "markup.inline_handler",
    '<a href="JavaScript:x()">a</a>': "markup.script_url",
}


@needs_scanners
def test_markup_that_excludes_people_or_breaks_the_policy_is_found():
    result = analyse(
        "DESIGN", *(changed(f"templates/{number}.html", text + "\n") for number, text in enumerate(MARKUP))
    )
    found = {item.file: item.rule for item in result.open_findings if item.rule.startswith("markup.")}
    assert found == {f"templates/{number}.html": rule for number, rule in enumerate(MARKUP.values())}


@needs_scanners
def test_ordinary_markup_is_left_alone():
    text = '{% extends "b.html" %}\n{% block c %}\n  <img src="{{ a }}" alt="" width="1" height="1" />\n  {# style="no" #}\n{% endblock c %}\n'
    result = analyse("DESIGN", changed("templates/a.html", text), changed("static/a.js", "export const a = 1;\n"))
    assert (result.outcome, result.confidence) == (AgentOutcome.PASSED, 100), result.open_findings


# --- which sub-agent applies, and the verdict that follows ---------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("README.md", {"SECURITY"}),
        ("app/a.py", {"SECURITY", "TESTING", "PERFORMANCE"}),
        ("a.sql", {"SECURITY", "DATABASE"}),
        ("app/migrations/0001_initial.py", {"SECURITY", "DATABASE", "TESTING", "PERFORMANCE"}),
        ("templates/a.html", {"SECURITY", "DESIGN"}),
        ("static/a.css", {"SECURITY", "DESIGN"}),
        ("static/a.TS", {"SECURITY", "TESTING", "DESIGN"}),
    ],
)
def test_what_applies_follows_from_the_changed_files(path, kinds):
    assert {kind for kind, agent in AGENTS.items() if not agent.applies([path])} == kinds


def test_what_does_not_apply_says_why_and_is_not_a_pass():
    result = analyse("DESIGN", changed("a.py", "x = 1\n"))
    assert (result.outcome, result.reason) == (AgentOutcome.NOT_APPLICABLE, AGENTS[AgentKind.DESIGN].applies(["a.py"]))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/a.py", True),
        ("app/test_a.py", True),
        ("a/b.spec.ts", True),
        ("app/attest.py", False),
        ("contest/a.py", False),
    ],
)
def test_test_code_is_known_by_the_usual_names(path, expected):
    assert is_test(path) is expected


POLICY = parse_policy(default_policy_yaml())


def verdict_on(*files, **more):
    tree = "f" * 40
    return decide(
        Inputs(
            policy=POLICY,
            repository="acme/payments",
            pull_request=1,
            base_sha="d" * 40,
            head_sha=HEAD,
            bundle_digest="e" * 64,
            expected_tree=tree,
            observed_tree=tree,
            is_bundle_verified=True,
            is_bundle_signed=True,
            results=tuple(analyse(kind, *files, **more) for kind in AgentKind),
            gates=tuple(GateInput(gate.key, GateOutcome.SUCCESS) for gate in POLICY.input_gates),
            rounds_used=0,
            is_deadline_passed=False,
        )
    )


GOOD_SOURCE = '''"""Retries of webhook deliveries."""

from __future__ import annotations

import random


def delay_seconds(attempt: int, *, base_seconds: float = 2.0) -> float:
    """How long to wait before this attempt, with some noise."""
    if attempt < 1:
        raise ValueError(f"got attempt {attempt}, expected at least 1")
    return base_seconds * 2 ** (attempt - 1) * random.uniform(0.9, 1.1)  # noqa: S311
'''
GOOD_TEST = '''"""Tests of retries."""

import pytest

from app.retries import delay_seconds


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_the_delay_doubles(attempt):
    password = "not a real one"
    assert delay_seconds(attempt) > 0, password


def test_attempts_start_at_one():
    with pytest.raises(ValueError, match="at least 1"):
        delay_seconds(0)
'''


@needs_scanners
def test_an_ordinary_good_commit_passes():
    judgement = verdict_on(
        changed("app/retries.py", GOOD_SOURCE),
        changed("tests/test_retries.py", GOOD_TEST),
        changed("docs/retries.md", "# Retries\n"),
    )
    assert judgement.verdict is Verdict.PASS, judgement.reasons
    assert judgement.confidence == Decimal("100.00")


@needs_scanners
@pytest.mark.parametrize(
    ("path", "text", "verdict"),
    [
        ("app/b.py", f"KEY = '{AWS_KEY}'\n", "FAIL"),
        ("app/b.py", "def f(x):\n    return eval(x)\n", "ESCALATE"),
        ("app/templates/b.html", '<img src="a.png">\n', "CONDITIONAL_PASS"),
    ],
)
def test_one_problem_in_it_is_enough(path, text, verdict):
    judgement = verdict_on(
        changed("app/retries.py", GOOD_SOURCE), changed("tests/test_retries.py", GOOD_TEST), changed(path, text)
    )
    assert judgement.verdict == verdict, judgement.reasons


def test_without_scanners_nothing_passes(tmp_path):
    judgement = verdict_on(changed("app/retries.py", GOOD_SOURCE), scanners=tmp_path)
    assert judgement.verdict is Verdict.FAIL
    assert judgement.confidence < 85


@needs_scanners
def test_a_built_in_that_fails_and_one_that_passes_on_the_same_file_disagree():
    files = (
        changed("app/b.py", "def f(x):\n    return eval(x)\n"),
        changed("tests/test_b.py", "def test_f():\n    assert f('1') == 1\n"),
    )
    found = disagreements(tuple(analyse(kind, *files) for kind in AgentKind), POLICY)
    assert {(item.failed, item.subjects) for item in found} == {("SECURITY", ("app/b.py",))}
