"""Gates that cannot fail because of how their shell, their condition or their filter is set."""

from __future__ import annotations

import pytest

from handoffs.scope.called_lint import lint_called
from handoffs.scope.workflow_lint import lint_workflow
from tests.handoffs.workflows import rules_of, step


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("jobs: {a: {container: 'node:18', steps: []}}", {"gate.unpinned_action"}),
        ("jobs: {a: {container: {image: 'node:18'}, steps: []}}", {"gate.unpinned_action"}),
        (f"jobs: {{a: {{container: 'node:18@sha256:{'a' * 64}', steps: []}}}}", set()),
        ("runs: {using: docker, image: 'docker://alpine'}", {"gate.unpinned_action"}),
        ("runs: {using: docker, image: Dockerfile}", set()),
        ("jobs: {a: {needs: b, if: '!failure()', steps: []}}", {"gate.condition"}),
        ("jobs: {a: {needs: b, if: 'success() || true', steps: []}}", {"gate.condition"}),
    ],
)
def test_images_are_pinned_and_conditions_do_not_forgive(text, rules):
    assert {problem.rule for problem in lint_workflow(text.encode())} == rules


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    "lines",
    [
        ("pytest | tee log",), ("make test 2>&1 | tail -20",), ("./check.sh |& cat",), ("npm test|sed s/a/b/",), ("cd x && make test | cat",),
        ("if pytest | tee log; then echo ok; fi",), ("(pytest | cat)",), ("ls | xargs pytest | cat",), ("pytest \\", "  | tee log",),
        ("pytest |", "  tee log"), ("sha256sum -c sums | cat",), ("git verify-commit HEAD | cat",), ("gpg --verify x | cat",),
        ("set +o pipefail", "pytest | cat"), ("# set -o pipefail", "pytest | cat"), ("pytest | cat", "set -o pipefail"),
        ("cat <<EOF", "a | b", "EOF", "pytest | cat"), ("echo 'a", "b'; pytest | cat"), ("case x in x) pytest | cat;; esac",),
        ('echo "$(x)"; pytest | cat',), ("A=b pytest | cat",), ("sudo pytest | cat",), ("gh attestation verify x | cat",), ("docker run x | cat",),
    ],
)  # fmt: skip
def test_a_check_before_a_pipe_is_lost_without_pipefail(lines):
    for shell in ("", "sh", "bash -e {0}"):
        assert rules_of(step(*lines, in_shell=shell)) == ["gate.pipe"], shell
    if "pipefail" not in lines[0]:
        assert rules_of(step("set -euo pipefail", *lines)) == []
        assert rules_of(step(*lines, in_shell="bash -eo pipefail {0}")) == []
        assert rules_of(step(*lines, in_shell="bash")) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("echo $TOKEN | base64",), ("cat x | tee log",), ("git diff --name-only | grep py",), ("V=$(make version | head -1)",), ("V=`make version | head -1`",),
        ("make test || exit 1",), ("make test 'a | b'",), ('make test "a | b"',), ("make test # | tee",), ("case $x in", "  a|b) make test;;", "  c | d) make lint;;", "esac"),
        ("case $x in a|b) make test;; esac",), ("cat <<'EOF' > x", "a | b", "make test | cat", "EOF"), ("[[ $x =~ a|b ]]",), ("(( x = a | b ))",),
        ("pytest | tee log", "exit ${PIPESTATUS[0]}"), ("make test a\\|b",), ("curl -f https://x.example | jq .a",), ('X="$(make "a b" | cat)"',),
        ("make test >| log",), ("set -eo pipefail; pytest | cat",), ("set -o errexit -o pipefail", "pytest | cat"),
    ],
)  # fmt: skip
def test_pipes_that_lose_nothing(lines):
    assert rules_of(step(*lines)) == []


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    "shell",
    [
        "bash {0}",
        "sh {0}",
        "/bin/bash --noprofile --norc -u {0}",
        "true {0}",
        "cat {0}",
        "docker exec x bash {0}",
        "echo -n {0}",
    ],
)
@pytest.mark.parametrize("place", ["step", "job", "workflow"])
def test_a_shell_that_goes_on_is_found_wherever_it_is_set(shell, place):
    parts = {
        name: f"defaults: {{run: {{shell: '{shell}'}}}}\n" if name == place else "" for name in ("job", "workflow")
    }
    own = f", shell: '{shell}'" if place == "step" else ""
    text = f"{parts['workflow']}jobs:\n  a:\n    {parts['job']}\n    steps: [{{run: make test{own}}}]\n"
    assert rules_of(text.encode()) == ["gate.set_plus_e"]


@pytest.mark.parametrize(
    "shell", ["bash", "sh", "pwsh", "bash -e {0}", "bash -el {0}", "bash --noprofile --norc -eo pipefail {0}", "python {0}", "python3.13 {0}", "perl {0}", "sh -o errexit {0}", "nix develop -c bash -e {0}", "micromamba-shell {0}"]
)  # fmt: skip
def test_a_shell_that_stops_is_none(shell):
    assert (
        rules_of(f"defaults: {{run: {{shell: '{shell}'}}}}\njobs: {{a: {{steps: [{{run: make test}}]}}}}".encode())
        == []
    )


def test_the_shell_nearest_to_a_step_counts():
    text = "defaults: {run: {shell: bash}}\njobs: {a: {defaults: {run: {shell: sh}}, steps: [{run: pytest | cat%s}]}, b: {steps: [{run: pytest | cat}]}}"
    assert rules_of((text % "").encode()) == ["gate.pipe"]
    assert rules_of((text % ", shell: bash").encode()) == []
    assert rules_of(b"jobs: {a: {runs-on: windows-latest, steps: [{run: pytest | cat}]}}") == []


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    "condition",
    [
        "false", "${{ false }}", "${{false}}", "0", "''", "null", "'' || false", "!true", "!!false", "1 == 2", "'a' == 'b'", "'a' != 'A'", "true && false",
        "false && github.event_name == 'push'", "github.event_name == 'push' && false", "(github.actor == 'x' || true) && (1 > 2)", "${{ !always() }}",
        "contains('abc', 'd')", "startsWith('abc', 'b')", "false || (github.ref == 'x' && 1 == 0)", "!(true || github.ref)", "always() && false",
        "contains(github.ref, 'x') && false", "github.event.labels[0].name == 'x' && false", "false && fromJSON(needs.a.outputs.b)['c'].d",
        "!" * 401 + "x", "(" * 40 + "true" + ")" * 40,
    ],
)  # fmt: skip
def test_a_condition_that_is_never_true_is_found_at_jobs_and_steps(condition):
    quoted = condition.replace("'", "''")
    assert rules_of(f"jobs: {{a: {{if: '{quoted}', steps: [{{run: make}}]}}}}".encode()) == ["gate.condition"]
    assert rules_of(f"jobs: {{a: {{steps: [{{run: make, if: '{quoted}'}}]}}}}".encode()) == ["gate.condition"]


@pytest.mark.parametrize(
    "condition",
    [
        "true", "${{ true }}", "github.event_name == 'push'", "success()", "always()", "${{ !cancelled() }}", "github.ref == 'refs/heads/main' && !github.event.x",
        "1 == 1", "'a' == 'A'", "!false", "false || github.actor == 'x'", "contains(github.event.pull_request.labels.*.name, 'x')", "matrix['os'] == 'x'",
        "${{ false }} and text", "needs.a.outputs.b != ''", "fromJSON(inputs.x).y", "github.event.number > 3", "'x'", "hashFiles('a', '**/b') != ''",
        "a b", "&&", "(", "format('{0}', x) == 'y'", "-1", "0x1", "runner.os == 'Linux' || false", "contains('abc', 'B')", "", "${{ true", "§",
    ],
)  # fmt: skip
def test_a_condition_that_can_be_true_is_none(condition):
    quoted = condition.replace("'", "''")
    assert rules_of(f"jobs: {{a: {{if: '{quoted}', steps: [{{run: make test, if: '{quoted}'}}]}}}}".encode()) == []


@pytest.mark.threat("GATE-10")
def test_a_check_that_runs_only_after_a_failure_is_found_and_telling_of_one_is_none():
    assert rules_of(b"jobs: {a: {steps: [{run: make test, if: failure()}]}}") == ["gate.condition"]
    assert rules_of(b"jobs: {a: {steps: [{run: make test, if: 'failure() && github.actor'}]}}") == ["gate.condition"]
    assert rules_of(b"jobs: {a: {if: cancelled(), steps: []}}") == ["gate.condition"]
    upload = (
        f"jobs: {{a: {{steps: [{{name: Upload test logs, uses: actions/upload-artifact@{'a' * 40}, if: failure()}}]}}}}"
    )
    assert rules_of(upload.encode()) == []
    summary = f"jobs: {{a: {{needs: b, if: always(), steps: [{{uses: 'o/green@{'a' * 40}', with: {{jobs: '${{{{ toJSON(needs) }}}}'}}}}]}}}}"
    assert rules_of(summary.encode()) == []


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    "told", ["true", "${{ true }}", "${{ matrix.experimental }}", "${{ github.actor == 'x' }}", "'yes'", "[a]"]
)
def test_a_failure_that_may_be_none_is_found(told):
    for text in (
        "jobs: {a: {continue-on-error: %s, steps: []}}",
        "jobs: {a: {steps: [{run: make, continue-on-error: %s}]}}",
    ):
        assert rules_of((text % told).encode().replace(b"${{", b'"${{').replace(b"}}", b'}}"', told.count("}}"))) == [
            "gate.continue_on_error"
        ]
    assert (
        rules_of(b"jobs: {a: {continue-on-error: false, steps: [{run: make, continue-on-error: '${{ false }}'}]}}")
        == []
    )


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    ("branches", "is_found"),
    [
        ("[main]", False), ("main", False), ("['**']", False), ("[main, 'release/*']", False), ("['!dev', main]", False), ("['m*']", False),
        ("[never]", True), ("[main, '!main']", True), ("['**', '!m*']", True), ("[]", True), ("['!main']", True), ("[Main]", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("event", ["pull_request", "pull_request_target", "merge_group"])
def test_a_workflow_that_leaves_the_protected_branch_out_is_found(branches, is_found, event):
    text = f"on: {{{event}: {{branches: {branches}}}}}".encode()
    assert rules_of(text, target_branch="main") == ["gate.path_filter"] * is_found
    assert rules_of(text) == ["gate.path_filter"] * ("!" in branches)


@pytest.mark.threat("GATE-10")
def test_filters_of_paths_and_branches_are_found_on_every_event_of_a_change():
    for event in ("push", "pull_request", "pull_request_target", "merge_group"):
        for name in ("paths", "paths-ignore", "branches-ignore"):
            assert rules_of(f"on: {{{event}: {{{name}: [x]}}}}".encode(), target_branch="main") == ["gate.path_filter"]
    assert (
        rules_of(
            b"on: {push: {branches: [x], tags: ['v*']}, schedule: [{cron: x}], workflow_dispatch: {inputs: {paths: {type: string}}}}"
        )
        == []
    )


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("a.sh", "make test || :\n", [(1, "gate.swallowed")]), ("a.bash", "x\nset +e\n", [(2, "gate.set_plus_e")]),
        ("bin/check", "#!/usr/bin/env bash\nmake test\nexit 0\n", [(3, "gate.exit_zero")]), ("bin/check", "#!/bin/sh -e\npytest | cat\n", [(2, "gate.pipe")]),
        ("Makefile", "test:\n\t-pytest\n\t@-ruff check\n\t-@rm -f x\n\t- pytest\n", [(2, "gate.swallowed"), (3, "gate.swallowed"), (5, "gate.swallowed")]),
        ("ci/a.mk", "test:\n\tpytest || true\n\tpytest | cat\n", [(2, "gate.swallowed")]),
        ("package.json", '{"name": "test",\n"scripts": {\n"test": "jest || true",\n"lint": "exit 0",\n"check": "echo ok",\n"x": "jest | cat"}}', [(3, "gate.swallowed"), (4, "gate.exit_zero"), (5, "gate.echo_only"), (6, "gate.pipe")]),
    ],
)  # fmt: skip
def test_called_scripts_that_cannot_fail(path, content, expected):
    assert [(problem.line, problem.rule) for problem in lint_called(path, content.encode())] == expected


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.sh", "set -euo pipefail\npytest | tee log\nrm -rf build || true\nmkdir x||true\nkill $pid || :\n"), ("Makefile", "test:\n\tpytest\n\t-rm -f x\nV = a -b\n"),
        ("package.json", '{"scripts": {"test": "jest --ci && eslint .", "start": "echo \\"no test\\" && exit 1"}}'), ("package.json", "{"), ("package.json", '{"scripts": [1]}'),
        ("a.py", "x = 1 # || true\n"), ("bin/x", "#!/usr/bin/python\nset +e\n"), ("README.md", "exit 0\n"), ("a.sh", ""), ("a.sh", "\xff"),
    ],
)  # fmt: skip
def test_called_scripts_that_can_fail(path, content):
    assert lint_called(path, content.encode("latin-1")) == ()


@pytest.mark.threat("GATE-10")
def test_what_only_looks_like_tidying_up_is_found():
    assert rules_of(step("rm x; pytest || true")) == ["gate.swallowed"]
    assert rules_of(step("mkdir $(pytest) || true")) == ["gate.swallowed"]
    assert rules_of(step("rm -f `pytest` || true")) == ["gate.swallowed"]
    assert rules_of(step("rmx || true")) == ["gate.swallowed"]
