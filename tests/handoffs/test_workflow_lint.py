"""The linter for gates that only inform: three workflows like those that let everything through, line by line."""

from __future__ import annotations

import time

import pytest

from handoffs.scope.workflow_lint import MAX_BYTES, is_workflow, lint_workflow
from tests.handoffs.workflows import PIN, step

GATES = f"""\
name: LEO Gate Validation
on:
  pull_request:
    paths: ['src/**']
jobs:
  gate:
    runs-on: ubuntu-latest
    steps:
      - uses: {PIN}
      - name: Run Gate 3
        continue-on-error: true
        run: |
          set +e
          node tools/gate3.js || echo "informational"
          exit 0
      - name: Story gate
        run: node tools/story.js || true
""".encode()
SLSA = f"""\
name: SLSA Verification
on:
  pull_request_target:
    branches-ignore: [docs]
permissions: write-all
jobs:
  verify:
    runs-on: ubuntu-latest
    steps:
      - uses: {PIN}
        with:
          ref: ${{{{ github.event.pull_request.head.sha }}}}
      - uses: slsa/verifier@v2
      - name: Verify provenance
        run: echo "provenance verified"
""".encode()
POLICY = f"""\
name: Policy Verification
on: [push]
jobs:
  policy:
    runs-on: ubuntu-latest
    steps:
      - uses: {PIN}
      - name: Validate policy bundle
        if: ${{{{ false }}}}
        run: opa test policies
      - run: |
          # exit 0 in a comment is no finding
          if ! opa check policies; then
            exit 0
          fi
      - run: |
          opa test || {{
            echo "it failed"
            exit 1
          }}
      - run: opa fmt --fail || printf skipped
  summary:
    needs: [policy]
    if: always()
    runs-on: ubuntu-latest
    steps:
      - run: make report
""".encode()
EXPECTED = {
    "gates": (GATES, [(4, "gate.path_filter"), (11, "gate.continue_on_error"), (13, "gate.set_plus_e"),
                      (14, "gate.swallowed"), (15, "gate.exit_zero"), (17, "gate.swallowed")]),
    "slsa": (SLSA, [(4, "gate.path_filter"), (5, "gate.write_all"), (10, "gate.pull_request_target_head"),
                    (13, "gate.unpinned_action"), (15, "gate.echo_only")]),
    "policy": (POLICY, [(9, "gate.condition"), (14, "gate.exit_zero"), (21, "gate.swallowed"),
                        (24, "gate.condition")]),
}  # fmt: skip


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize("name", EXPECTED)
def test_every_fail_open_line_is_reported_and_no_other(name):
    content, expected = EXPECTED[name]
    assert [(problem.line, problem.rule) for problem in lint_workflow(content)] == expected


@pytest.mark.threat("GATE-10")
def test_the_three_workflows_have_fifteen_fail_open_lines():
    assert sum(len(lint_workflow(content)) for content, _ in EXPECTED.values()) == 15


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("make test || true", "gate.swallowed"), ("make test||true", "gate.swallowed"), ("make test || :", "gate.swallowed"),
        ("make test || /bin/true", "gate.swallowed"), ("make test || exit 0", "gate.swallowed"),
        ("make test || { echo 'oh'; }", "gate.swallowed"), ("make test || (echo oh)", "gate.swallowed"),
        ("make test || printf no", "gate.swallowed"), ("make test; exit 0", "gate.exit_zero"), ("exit 0", "gate.exit_zero"),
        ("make test && exit 0", "gate.exit_zero"), ("if x; then exit 0; fi", "gate.exit_zero"), ("set +e", "gate.set_plus_e"),
        ("set +euo pipefail", "gate.set_plus_e"), ("set +o errexit", "gate.set_plus_e"), ("echo all tests passed", "gate.echo_only"),
        ("make test || 'true'", "gate.swallowed"), ("make test || command true", "gate.swallowed"),
        ("make test || /usr/bin/true", "gate.swallowed"), ("make test || exit '0'", "gate.swallowed"),
        ("make test || exit 00", "gate.swallowed"), ("set -u +e", "gate.set_plus_e"),
        ("make test || cat log", "gate.swallowed"), ("make test; exit '0'", "gate.exit_zero"),
        ("trap 'exit 0' EXIT", "gate.exit_zero"), ("ruff check --exit-zero .", "gate.forgiving_flag"),
        ("trivy fs --exit-code 0 .", "gate.forgiving_flag"), ("make -ki test", "gate.forgiving_flag"),
        ("npm test --if-present", "gate.forgiving_flag"), ("set -o pipefail +e", "gate.set_plus_e"),
        ("shopt -u -o errexit", "gate.set_plus_e"), ("bash +e test.sh", "gate.set_plus_e"),
    ],
)  # fmt: skip
def test_shell_that_cannot_fail(line, rule):
    assert rule in {problem.rule for problem in lint_workflow(step(line))}


@pytest.mark.threat("GATE-10")
def test_an_or_that_goes_over_two_lines_is_seen():
    assert [(p.line, p.rule) for p in lint_workflow(step("make test ||", "  true"))] == [(7, "gate.swallowed")]
    assert [p.rule for p in lint_workflow(step("make test \\", "  || true"))] == ["gate.swallowed"]


@pytest.mark.parametrize(
    "line",
    [
        "make test", "make test || exit 1", "make test || { echo bad; exit 1; }", "make test || (echo bad; false)",
        "# make test || true", "make test # || true", "set -euo pipefail", "echo \"x=$(make version)\" >> $GITHUB_OUTPUT",
        "make test || echo bad && exit 1", "grep -c exit 0.txt", "echo hello | tee log",
        "make --directory=ci test", "trivy fs --exit-code 1 .", "make test || exit 10", "tool --exit-zero-config x",
    ],
)  # fmt: skip
def test_shell_that_can_fail(line):
    assert lint_workflow(step(line)) == ()


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize(
    "content",
    [
        b"", b"- a", b"a: [", b"a: 1\na: 2\n", b"a:\n  <<: {continue-on-error: true}\n", b"\xff\xfe", b"x: &y 1\nz: *y\n", b"a: !!python/object:os.system x\n",
        b"a: 1\n---\nb: 2\n", b"[" * 10_000, b"a:\n" + b" " * MAX_BYTES + b"b: 1\n", b"\t- x",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_finding(content):
    assert [problem.rule for problem in lint_workflow(content)] == ["gate.unreadable"]


def test_uses_of_every_form():
    def used(value: str) -> list[str]:
        text = f"on: push\njobs:\n  a:\n    steps:\n      - uses: {value}\n  b:\n    uses: ./.github/workflows/x.yml\n"
        return [problem.rule for problem in lint_workflow(text.encode())]

    sound = ["./tools/x", PIN, PIN + " # v4", "o/r/sub@" + "0" * 40, "docker://alpine@sha256:" + "0" * 64]
    assert not any(used(value) for value in sound)
    for value in (
        "actions/checkout@v4",
        "actions/checkout@main",
        "o/r@" + "a" * 39,
        "o/r",
        "docker://alpine:3",
        "o/r@" + "A" * 40,
    ):
        assert used(value) == ["gate.unpinned_action"], value
    call = b"on: push\njobs:\n  b:\n    uses: o/r/.github/workflows/x.yml@main\n"
    assert [problem.rule for problem in lint_workflow(call)] == ["gate.unpinned_action"]


def test_a_summary_that_looks_at_the_results_is_sound():
    text = POLICY.replace(b"run: make report", b"run: test '${{ needs.policy.result }}' = success")
    assert [problem.line for problem in lint_workflow(text)] == [9, 14, 21]


def test_composite_actions_are_read_too():
    text = b"runs:\n  using: composite\n  steps:\n    - run: make test || true\n      shell: bash {0}\n"
    assert [problem.rule for problem in lint_workflow(text)] == ["gate.swallowed", "gate.set_plus_e"]
    assert is_workflow("a/b/action.yml")
    assert is_workflow(".github/workflows/x.YAML")
    assert not is_workflow("docs/workflows/x.yml")


def test_hostile_text_takes_no_time():
    started = time.process_time()
    for unit in ("|| ", "||\\\n", "exit ", "echo (", "set +", "if: ", "${{ ", "# ' \" "):
        lint_workflow(step((unit * 40_000)[:120_000].replace("\n", " ")))
    assert time.process_time() - started < 8
