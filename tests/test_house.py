"""Rules of the house that a linter holds, tried with a planted offence each."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from re import _constants, _parser  # type: ignore[attr-defined]

ROOT = Path(__file__).parents[1]
PRODUCT = [
    path for app in ("leoportal", "handoffs", "verdicts", "audit") for path in sorted((ROOT / app).rglob("*.py"))
]
UNPACKERS = ("tarfile", "zipfile", "zipimport", "shutil.unpack_archive")


def ruff(text: str) -> str:
    """What ruff says, with this project's own configuration, about a module planted among the product's."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    planted = ["--stdin-filename", str(ROOT / "handoffs" / "planted.py"), "-"]
    done = subprocess.run([*command, *planted], cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 1 else ""


@pytest.mark.threat("BUN-02")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("import tarfile\n\ntarfile.open('x')", "TID251"), ("from tarfile import open as unpack\n\nunpack('x')", "TID251"),
        ("import zipfile\n\nzipfile.ZipFile('x')", "TID251"), ("import shutil\n\nshutil.unpack_archive('x')", "TID251"),
        ("from shutil import unpack_archive\n\nunpack_archive('x')", "TID251"),
        ("import subprocess\n\nsubprocess.run('ls *', shell=True, check=True)", "S602"),
        ("import subprocess\n\nsubprocess.Popen('ls *', shell=True)", "S602"),
        ("import os\n\nos.system('ls')", "S605"), ("import os\n\nos.popen('ls')", "S605"),
        ("from os import system\n\nsystem('ls')", "TID251"), ("import yaml\n\nyaml.safe_load('x')", "TID251"),
        ("from yaml import safe_load\n\nsafe_load('x')", "TID251"),
    ],
)  # fmt: skip
def test_a_planted_archive_module_or_shell_fails_the_lint(line, code):
    assert f" {code} " in ruff(f'"""Planted."""\n\n{line}\n')


def test_the_lint_is_quiet_about_an_honest_module():
    assert ruff('"""Planted."""\n\nimport hashlib\n\nDIGEST = hashlib.sha256(b"").hexdigest()\n') == ""


@pytest.mark.threat("BUN-02")
@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_product_module_goes_round_the_ban(path):
    """No import by name at run time, and no remark that silences the ban."""
    text = path.read_text("utf-8")
    assert not re.search(r"noqa[^\n]{0,60}(?:TID251|S602|S604|S605)", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            assert not names & {*UNPACKERS, "unpack_archive"}, node.lineno
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"__import__", "importlib.import_module", "import_module", "exec", "eval"}, node.lineno


# --- patterns ------------------------------------------------------------------------------------------------------


def patterns() -> Iterator[tuple[str, str]]:
    """Every pattern in the product that is written down: the first argument of a function of `re`, and joined ones."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str | bytes):
                    value = first.value if isinstance(first.value, str) else first.value.decode("latin-1")
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", value


def is_nested(pattern: str) -> bool:
    """Whether a repetition without an end holds another repetition of varying length: what backtracks without end."""

    def varies(items, *, inside: bool) -> bool:
        for operator, argument in items:
            if operator in {_constants.MAX_REPEAT, _constants.MIN_REPEAT}:
                least, most, body = argument
                if inside and least != most and most > 1:
                    return True
                if varies(body, inside=inside or most == _constants.MAXREPEAT):
                    return True
            elif operator is _constants.SUBPATTERN:
                if varies(argument[-1], inside=inside):
                    return True
            elif operator is _constants.BRANCH:
                if any(varies(branch, inside=inside) for branch in argument[1]):
                    return True
            elif operator in {_constants.ASSERT, _constants.ASSERT_NOT} and varies(argument[1], inside=inside):
                return True
        return False

    return varies(_parser.parse(pattern), inside=False)


@pytest.mark.threat("MRK-02")
def test_no_pattern_of_the_product_nests_quantifiers():
    found = list(patterns())
    assert len(found) > 50
    assert not [(place, pattern) for place, pattern in found if is_nested(pattern)]


@pytest.mark.threat("MRK-02")
@pytest.mark.parametrize(
    "pattern", [r"(a+)+", r"(?:a|b*)*", r"(?:\s*x?)*\s*y{2,9}(z{1,3})+", r"((?:a{2,})b)*", r"(?:(?=a*)b)+"]
)
def test_a_planted_nested_quantifier_is_found(pattern):
    assert is_nested(pattern)


@pytest.mark.parametrize(
    "pattern", [r"a+b*", r"(?:ab)+", r"(?:[a-z]{4}x)*", r"(?:[A-Z]{1,12} ){0,3}", r"(?:a?b)?", r"[a-z]+(?:\.[a-z]+)?"]
)
def test_a_bounded_pattern_is_left_alone(pattern):
    assert not is_nested(pattern)
