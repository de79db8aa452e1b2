"""What raises the approvals: what steers the gates, found by following the tree, and what nobody can review."""

from __future__ import annotations

from typing import Any

import pytest

from handoffs.checks.catalogue import Outcome
from handoffs.rules import Approvals
from handoffs.scope.calls import called_by
from handoffs.scope.control_plane import (
    MAX_RAISED,
    Raised,
    RaisedKind,
    Steering,
    bounded,
    classify_path,
    control_plane_paths,
)
from handoffs.scope.reading import MAX_FILES
from tests.support.bundles import BASE_FILES, changed, failed_codes, honest_handover, with_result, write_commit

HONEST = honest_handover()

EXECUTED_BY_CI = (
    ".github/workflows/ci.yml", ".github/actions/setup/action.yml", "tools/lint/action.yaml", ".gitlab-ci.yml", ".travis.yml",
    ".circleci/config.yml", "azure-pipelines.yml", "Jenkinsfile", "bitbucket-pipelines.yml", ".buildkite/pipeline.yml",
    "Makefile", "sub/GNUmakefile", "justfile", "Taskfile.yml", "Rakefile", "package.json", "web/package.json", ".pnpmfile.cjs",
    "conftest.py", "tests/conftest.py", "setup.py", "setup.cfg", "pyproject.toml", "tox.ini", "noxfile.py", "pytest.ini",
    "sitecustomize.py", "build.gradle", "gradlew", "gradle/wrapper/gradle-wrapper.properties", "pom.xml", "mvnw", "build.rs",
    ".cargo/config.toml", "CMakeLists.txt", "Dockerfile", "docker-compose.yml", "jest.config.js", "vite.config.mts",
    ".eslintrc.cjs", ".pre-commit-config.yaml", ".husky/pre-push", "lefthook.yml", ".devcontainer/devcontainer.json",
    "Cargo.toml", "composer.json", ".yarn/releases/yarn.cjs", ".vscode/tasks.json", "web/.coveragerc", ".semgrepignore",
    ".junie/guidelines.md", "AGENTS.override.md", "uv.toml", ".lfsconfig", "rust-toolchain.toml",
    ".gitattributes", ".gitmodules", ".npmrc", "rules.mk", "x.gemspec", "binding.gyp",
)  # fmt: skip


@pytest.mark.threat("GATE-11")
@pytest.mark.parametrize("path", EXECUTED_BY_CI)
def test_every_path_that_ci_executes_steers_the_gates(path):
    assert classify_path(path)
    assert classify_path(path.upper()), "case does not hide it"


@pytest.mark.threat("GATE-11")
def test_forty_executed_paths_escalate_through_a_real_bundle():
    assert len(EXECUTED_BY_CI) >= 40
    paths = [path for path in EXECUTED_BY_CI if path != ".gitmodules"]  # patch.submodules refuses that one
    report = HONEST.verify(with_result(HONEST, dict.fromkeys(paths, b"x\n")))
    assert {one.path for one in report.raised if one.kind == "control_plane"} == set(paths)


@pytest.mark.parametrize(
    "path", ["src/pay.py", "README.md", "docs/policy.md", "src/hooks/use.ts", "tests/test_a.py", "app.css"]
)
def test_ordinary_paths_steer_nothing(path):
    assert classify_path(path) == ""


CI = {
    ".github/workflows/ci.yml": b"jobs:\n  a:\n    steps:\n      - uses: ./tools/setup\n      - run: ./scripts/a.sh && make lint\n"
    b"      - run: npm test\n        working-directory: web\n      - run: python -m checks.style\n",
    "tools/setup/action.yml": b"runs:\n  using: composite\n  steps:\n    - run: ${{ github.action_path }}/prepare.sh\n",
    "tools/setup/prepare.sh": b"pip install -r requirements/lint.txt\n",
    "requirements/lint.txt": b"ruff==1\n",
    "scripts/a.sh": b"#!/bin/sh\n. scripts/lib.sh\npython3 scripts/b.py\n",
    "scripts/lib.sh": b"true\n",
    "scripts/b.py": b"import helper\nfrom app import models\n",
    "scripts/helper.py": b"X = 1\n",
    "app/models.py": b"Y = 1\n",
    "Makefile": b"lint:\n\t./bin/lint --all\n",
    "bin/lint": b"exec ruff\n",
    "web/package.json": b'{"scripts": {"test": "node ./run/tests.js"}}',
    "web/run/tests.js": b"require('./more')\n",
    "web/run/more.js": b"1\n",
    "checks/style.py": b"1\n",
    "loose.sh": b"1\n",
}


def _report(base_files, change, *gone):
    git = HONEST.git
    base = write_commit(git, changed(BASE_FILES, base_files))
    after = write_commit(git, changed(changed(BASE_FILES, base_files), change, *gone), base)
    raw = HONEST.rebuilt(patch=git.diff(base, after), manifest=lambda d: d.update(merge_base=base))
    return HONEST.verify(raw, target_branch_sha=base)


def _steering(report):
    return {one.path: one.why for one in report.raised if one.kind == RaisedKind.CONTROL_PLANE}


@pytest.mark.threat("GATE-11")
def test_the_gates_are_followed_from_file_to_file():
    report = _report(CI, {path: content + b"\n" for path, content in CI.items()})
    found = _steering(report)
    assert set(CI) - set(found) == {"app/models.py", "loose.sh"}
    assert found["scripts/b.py"] == "called by scripts/a.sh"
    assert found["scripts/helper.py"] == "called by scripts/b.py"
    assert found["tools/setup/prepare.sh"] == "called by tools/setup/action.yml"
    assert found["requirements/lint.txt"] == "called by tools/setup/prepare.sh"
    assert found["web/run/more.js"] == "called by web/run/tests.js"
    assert found["checks/style.py"] == "called by .github/workflows/ci.yml"
    listed = next(result for result in report.results if result.code == "scope.control_plane")
    assert listed.outcome is Outcome.PASSED
    assert "scripts/b.py (called by scripts/a.sh)" in listed.got


SPELLED = {
    "a variable": (b"$GITHUB_WORKSPACE/lib/x.sh", "lib/x.sh"),
    "a variable in braces": (b"${ROOT}/lib/x.sh", "lib/x.sh"),
    "an expression": (b"${{ github.workspace }}/lib/x.sh", "lib/x.sh"),
    "a variable of PowerShell": (b"$env:GITHUB_WORKSPACE\\lib\\x.ps1", "lib/x.ps1"),
    "a variable of cmd": (b"%GITHUB_WORKSPACE%\\lib\\x.bat", "lib/x.bat"),
    "the other slash": (b".\\lib\\x.ps1", "lib/x.ps1"),
    "a folder in a variable": (b"cd $ROOT/lib && ./x.sh", "lib/x.sh"),
    "another way to change folders": (b"pushd lib; ./x.sh", "lib/x.sh"),
    "a space in quotes": (b"bash 'lib/x y.sh'", "lib/x y.sh"),
    "an escaped space": (b"bash lib/x\\ y.sh", "lib/x y.sh"),
    "letters": ("bash lib/prüfen.sh".encode(), "lib/prüfen.sh"),
    "punctuation": (b"bash lib/x,y=z~1.sh", "lib/x,y=z~1.sh"),
    "no suffix": (b"node lib/x", "lib/x.js"),
    "a folder of Python": (b"python3 lib", "lib/__main__.py"),
    "a module without a space": (b"python3 -mlib.x", "lib/x.py"),
}


@pytest.mark.threat("GATE-11")
@pytest.mark.parametrize("name", sorted(SPELLED))
def test_a_called_script_is_found_however_it_is_spelled(name):
    command, path = SPELLED[name]
    assert path in called_by(".github/workflows/ci.yml", b"      - run: " + command + b"\n")


@pytest.mark.threat("GATE-11")
def test_symbolic_links_are_followed():
    links = {
        ".github/workflows/ci.yml": b"      - run: bin/check\n",
        "bin/check": ("120000", b"../lib/check.sh"),
        "lib/check.sh": b". lib/more.sh\n",
        "lib/more.sh": b"true\n",
        "AGENTS.md": ("120000", b"docs/agents.txt"),
        "docs/agents.txt": b"Be good.\n",
        "docs/link": ("120000", b"other.txt"),
        "docs/other.txt": b"x\n",
    }
    change = dict.fromkeys(("lib/check.sh", "lib/more.sh", "docs/agents.txt", "docs/other.txt"), b"changed\n")
    found = _steering(_report(links, change))
    assert found == {
        "lib/check.sh": "called by bin/check",
        "lib/more.sh": "called by lib/check.sh",
        "docs/agents.txt": "called by AGENTS.md",
    }


def test_a_change_can_neither_drop_a_call_nor_add_one_unseen():
    workflow = ".github/workflows/ci.yml"
    dropped = _report(CI, {"scripts/a.sh": b"true\n", "scripts/b.py": b"2\n"})
    assert "scripts/b.py" in _steering(dropped)
    added = _report(CI, {workflow: CI[workflow] + b"      - run: ./loose.sh\n", "loose.sh": b"2\n"})
    assert _steering(added)["loose.sh"] == f"called by {workflow}"
    deleted = _report(CI, {}, "scripts/lib.sh")
    assert set(_steering(deleted)) == {"scripts/lib.sh"}


def test_an_ordinary_change_beside_many_gates_raises_nothing():
    assert _report(CI, {"app/models.py": b"Z = 2\n", "loose.sh": b"2\n"}).raised == ()


def test_gates_that_cannot_be_followed_to_the_end_raise_every_path():
    many = {f"s/{number}.sh": b"x\n" for number in range(MAX_FILES + 1)}
    text = b"jobs:\n" + b"".join(f"  # ./{path}\n".encode() for path in many)
    report = _report({**many, ".github/workflows/ci.yml": text}, {"src/retry.py": b"1\n"})
    assert "could not be followed" in _steering(report)["src/retry.py"]


def test_nobody_looked_is_not_nothing_found():
    assert control_plane_paths(["a.py"], Steering(problem="nobody looked")) == {"a.py": "nobody looked"}


UNREVIEWABLE: dict[str, tuple[Any, str]] = {
    "a line end within a line": (
        b"# tidy\rimport evil\n",
        "does not read as it runs: U+000D (a control character) in line 1",
    ),
    "an escape": (b"x = 1\n# \x1b[8m\n", "does not read as it runs: U+001B (a control character) in line 2"),
    "binary": (b"\0\1\2" * 50, "binary content: 150 bytes, sha256"),
    "not utf-8": (b"caf\xe9\n" * 3, "binary content"),
    "large": (b"x = 1\n" * 200_000, "1200000 bytes"),
    "a line of 2 MiB": (b"x" * (2 << 20) + b"\n", "line 1 has more than 2000 characters"),
    "minified": (b"ok\n" + b"a();" * 600 + b"\n", "line 2 has more than 2000 characters"),
    "executable": (("100755", b"#!/bin/sh\n"), "becomes executable"),
    "direction": ("a = 1  # \u202e x\n".encode(), "U+202E RIGHT-TO-LEFT OVERRIDE in line 1"),
    "look-alike": ("\n\np\u0430ypal = 1\n".encode(), "U+0430 CYRILLIC SMALL LETTER A in line 3"),
}


@pytest.mark.threat("PAT-11")
@pytest.mark.parametrize("name", UNREVIEWABLE)
def test_what_nobody_can_review_is_raised_or_refused(name):
    content, why = UNREVIEWABLE[name]
    raw = with_result(HONEST, {"src/new.py": content})
    report = HONEST.verify(raw)
    found = {one.path: one.why for one in report.raised if one.kind == RaisedKind.UNREVIEWABLE}
    assert why in found["src/new.py"]
    assert "scope.unreviewable" not in failed_codes(report)
    refused = HONEST.verify(raw, approvals=Approvals(unreviewable="refuse"))
    assert "scope.unreviewable" in failed_codes(refused)


@pytest.mark.threat("PAT-11")
def test_chmod_of_a_file_that_was_there_is_raised():
    files: dict[str, Any] = {"src/pay.py": ("100755", BASE_FILES["src/pay.py"])}
    assert [one.why for one in HONEST.verify(with_result(HONEST, files)).raised] == ["becomes executable"]


def test_taking_unreviewable_content_away_raises_nothing():
    files: dict[str, Any] = {"run.sh": ("100644", b"#!/bin/sh\nexit 0\n")}
    assert HONEST.verify(with_result(HONEST, files, "src/logo.bin")).raised == ()


def test_old_long_lines_do_not_count_and_an_added_one_does():
    long = b"y" * 3000 + b"\n"
    old = {"src/old.js": long + b"a\n" * 20 + b"b\n"}
    assert _report(old, {"src/old.js": long + b"a\n" * 20 + b"c\n"}).raised == ()
    assert _report(old, {"src/old.js": old["src/old.js"] + long}).raised != ()


@pytest.mark.threat("GATE-10")
def test_an_informational_gate_is_raised_with_whose_line_it_is():
    path = ".github/workflows/ci.yml"
    before = b"on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: make lint || true\n"
    report = _report({path: before}, {path: before + b"      - run: make test || echo no\n"})
    found = [one.why for one in report.raised if one.kind == RaisedKind.INFORMATIONAL_GATE]
    assert [why.split(":")[0] for why in found] == [
        "line 6 (stood in the file before)",
        "line 7 (added by this change)",
    ]
    assert "Instead: the command alone" in found[1]
    refusing = HONEST.verify(with_result(HONEST, {path: before}), approvals=Approvals(informational_gate="refuse"))
    assert "scope.informational_gate" in failed_codes(refusing)


@pytest.mark.threat("GATE-10")
def test_a_script_that_a_gate_calls_is_read_like_the_gate():
    workflow = {".github/workflows/ci.yml": b"jobs: {a: {steps: [{run: ./check/run.sh}, {run: make lint}]}}\n"}
    script = b"#!/bin/sh\npytest || :\nset +e\npytest | tee log\nexit 0\n"
    change = {"check/run.sh": script, "Makefile": b"lint:\n\t-ruff check\n", "other/run.sh": script}
    report = _report(workflow, change)
    found = [(one.path, one.why) for one in report.raised if one.kind == RaisedKind.INFORMATIONAL_GATE]
    assert [(path, why.partition(" ")[2][:1], why.split("[")[1].split("]")[0]) for path, why in found] == [
        ("Makefile", "2", "gate.swallowed"),
        ("check/run.sh", "2", "gate.swallowed"),
        ("check/run.sh", "3", "gate.set_plus_e"),
        ("check/run.sh", "4", "gate.pipe"),
        ("check/run.sh", "5", "gate.exit_zero"),
    ]
    filtered = {".github/workflows/ci.yml": b"on: {pull_request: {branches: [other]}}\njobs: {}\n"}
    seen = HONEST.verify(with_result(HONEST, filtered), target_branch="main")
    assert [one.why.split("[")[1][:16] for one in seen.raised if one.kind == RaisedKind.INFORMATIONAL_GATE] == [
        "gate.path_filter"
    ]
    refusing = HONEST.verify(with_result(HONEST, filtered), target_branch="other")
    assert not [one for one in refusing.raised if one.kind == RaisedKind.INFORMATIONAL_GATE]


def test_what_is_stored_is_bounded_and_counts_the_rest():
    many = [Raised("unreviewable", f"{number}\u202e.bin", "x" * 900) for number in range(MAX_RAISED + 5)]
    found = bounded(many)
    assert len(found) == MAX_RAISED + 1
    assert found[-1] == Raised("unreviewable", "", "and 5 more")
    assert "\u202e" not in found[0].path
    assert len(found[0].why) == 500
