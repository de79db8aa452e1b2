"""The rules of our own: tests that cannot fail, migrations, markup, hidden characters."""

from __future__ import annotations

import pytest

from tests.support.subagents import analyse, changed, needs_scanners, rules
from verdicts.results import AgentOutcome
from verdicts.subagents.change import ChangedFile


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
