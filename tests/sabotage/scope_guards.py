"""The guards of what a change steers, pins and becomes: the YAML reader, the linter of gates, lock files, the head's tree."""

from __future__ import annotations

from tests.sabotage.engine import Guard

YAML = "tests/handoffs/test_strict_yaml.py"
DIFFER = f"{YAML}::test_what_two_readers_could_take_differently_is_refused"
LINT, SHELLS = "tests/handoffs/test_workflow_lint.py", "tests/handoffs/test_workflow_shells.py"
PIPE = f"{SHELLS}::test_a_check_before_a_pipe_is_lost_without_pipefail"
SHELL = f"{SHELLS}::test_a_shell_that_goes_on_is_found_wherever_it_is_set"
NEVER = f"{SHELLS}::test_a_condition_that_is_never_true_is_found_at_jobs_and_steps"
CALLED = "tests/handoffs/test_scope.py::test_a_script_that_a_gate_calls_is_read_like_the_gate"
BRANCH = f"{SHELLS}::test_a_workflow_that_leaves_the_protected_branch_out_is_found"

PIP = "tests/handoffs/test_requirements.py"
ODD = f"{PIP}::test_what_may_be_a_requirement_or_cannot_be_told_is_refused"

SCOPE_GUARDS: tuple[Guard, ...] = (
    Guard("verdicts/gates.py", "made, found = tools.git.result_tree(change.merge_base, change.patch), tools", "made, found = handoff.result_tree, tools", "tests/test_intake.py::test_an_enforcer_that_applies_something_else_fails_the_gate_whatever_it_writes_down"),
    Guard("handoffs/packages/requirements.py", "if len(pinned) == text.count(\"\\n\") + (not text.endswith(\"\\n\")):", "if pinned:", "tests/handoffs/test_requirements.py::test_a_name_that_only_requirements_have_is_held_to_it"),
    Guard("handoffs/packages/requirements.py", "and not _ARCHIVE.search(line)", "", ODD),
    Guard("handoffs/packages/requirements.py", "[^/\\\\$=<>~@;]*+", ".*+", ODD),
    Guard("handoffs/packages/requirements.py", "    except ValueError:\n        return False", "    except ValueError:\n        return True", ODD),
    Guard("handoffs/packages/lockfiles.py", "and not _REQUIREMENTS.match(name) and is_prose(content)", "and is_prose(content)", f"{PIP}::test_a_name_that_only_requirements_have_is_held_to_it"),
    Guard("handoffs/packages/lockfiles.py", "and is_prose(content)", "", f"{PIP}::test_what_pip_reads_there_still_counts"),
    *(
        Guard("handoffs/strict_yaml.py", old, "if False:", test)
        for old, test in (
            ("if len(raw) > max_bytes:", DIFFER),
            ("if found := _BREAK_OF_1_1.search(text):", DIFFER),
            ("if event.version or event.tags:", DIFFER),
            ("if documents > 1:", DIFFER),
            ("if documents == 0:", DIFFER),
            ("if event.anchor is not None:", DIFFER),
            ("if tag is not None:", DIFFER),
            ('if name == "<<":', DIFFER),
            ("if name in mapping:", DIFFER),
            ("if len(stack) > max_depth:", DIFFER),
            ("if values > max_values:", f"{YAML}::test_values_are_counted"),
            ("if not isinstance(name, str):", f"{YAML}::test_keys_of_values_are_text"),
            (
                "if _NUMBER_OF_1_2.fullmatch(text) or any(pattern.match(text) for _, pattern in patterns):",
                f"{YAML}::test_scalars_that_they_read_differently_are_refused",
            ),
        )
    ),
    Guard("pyproject.toml", '"yaml".msg', '"yamls".msg', "tests/test_house.py::test_a_planted_archive_module_or_shell_fails_the_lint"),
    Guard("handoffs/scope/shell_lint.py", "[] if has_pipefail else _lost_in_pipes(code)", "()", PIPE),
    Guard("handoffs/scope/shell_lint.py", "[-1:] == [True]", "!= []", PIPE),
    Guard("handoffs/scope/shell_lint.py", "if end <= at]", "]", PIPE),
    Guard("handoffs/scope/shell_lint.py", "_PRINTS.match(command) and not _VERIFIES.search(command)", "_PRINTS.match(command)", PIPE),
    Guard("handoffs/scope/workflow_lint.py", "    yield from _shell(own_shell)\n    on_windows", "    on_windows", SHELL),
    Guard("handoffs/scope/workflow_lint.py", "    yield from _shell(shell)\n", "", SHELL),
    Guard("handoffs/scope/workflow_lint.py", "        yield from _shell(own_shell)\n        shell = own_shell", "        shell = own_shell", SHELL),
    Guard("handoffs/scope/workflow_lint.py", "never_runs(condition, is_all_well=False) or ", "", NEVER),
    Guard("handoffs/scope/conditions.py", "    if len(tokens) > MAX_TOKENS:\n        return True", "    if len(tokens) > MAX_TOKENS:\n        return False", NEVER),
    Guard("handoffs/scope/conditions.py", "value = False if _truth(other) is False else None", "value = None", NEVER),
    Guard("handoffs/scope/workflow_lint.py", 'name == "branches" and not _lets_in', 'name == "x" and not _lets_in', BRANCH),
    Guard("handoffs/checks/reviewability.py", "problems = lint_called(change.path, content)", "problems = ()", CALLED),
    Guard("handoffs/checks/reviewability.py", "lint_workflow(content, target_branch=evidence.context.target_branch)", "lint_workflow(content)", CALLED),
    Guard("handoffs/scope/called_lint.py", "    for match in _IGNORED.finditer(text):", "    for match in ():", f"{SHELLS}::test_called_scripts_that_cannot_fail"),
    Guard("handoffs/scope/called_lint.py", " or _SHEBANG.match(content):", ":", f"{SHELLS}::test_called_scripts_that_cannot_fail"),
    Guard("handoffs/scope/shell_lint.py", "\\s[^;&|({`\\n]{0,300}\\Z", ".{0,300}\\Z", f"{SHELLS}::test_what_only_looks_like_tidying_up_is_found"),
)  # fmt: skip
