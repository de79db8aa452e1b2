"""A linter for gates that only inform: workflows and actions whose checks cannot fail, or need not run.

The YAML is read as text with line numbers; nothing is constructed from it and nothing is run. What cannot be read is a
finding, too.

Not checked: expressions that only fold to a constant when they run, and what `env:` changes.
Source: GATE-10 of the threat list; GitHub's workflow syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from handoffs.scope.conditions import never_runs
from handoffs.scope.shell_lint import CHECKS, Problem, lint_script, shell_has_pipefail, shell_problem
from handoffs.strict_yaml import Scalar, Tree, YamlError, parse_yaml_lines

MAX_BYTES: Final = 256 << 10
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 100_000
_FILTERS: Final = ("paths", "paths-ignore", "branches-ignore")
_EVENTS: Final = ("pull_request", "pull_request_target", "push", "merge_group")
_PINNED: Final = re.compile(r"[^@]{1,300}@[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}\Z")
_ALWAYS: Final = re.compile(
    r"always\(\)|!\s{0,8}failure\(\)|\|\|\s{0,8}true|!\s{0,8}cancelled\(\)|failure\(\)\s{0,8}\|\||\|\|\s{0,8}failure\(\)"
)
_RESULTS: Final = re.compile(r"needs\.[\w.*-]{1,100}\.result|(?i:tojson)\(\s{0,8}needs\s{0,8}\)")
# What people do with the news that something failed.
_NEWS: Final = re.compile(r"(?i)upload|artifact|notif|slack|comment|cache|debug|tmate")
_HEAD: Final = re.compile(r"github\.event\.pull_request\.head\.|github\.head_ref|refs/pull/")

type Node = Tree[Scalar]
type Map = dict[str, Node]


def is_workflow(path: str) -> bool:
    """Whether a path is a workflow or an action."""
    lowered = path.lower()
    name = lowered.rsplit("/", 1)[-1]
    is_yaml = name.endswith((".yml", ".yaml"))
    folders = (".github/workflows/", ".gitea/workflows/", ".forgejo/workflows/")
    return is_yaml and (lowered.startswith(folders) or name in {"action.yml", "action.yaml"})


def lint_workflow(content: bytes, *, target_branch: str | None = None) -> tuple[Problem, ...]:
    """Everything in a workflow or action that keeps a gate from failing, by line.

    `target_branch` is the one that pull requests go into, where it is known.
    """
    try:
        root = parse_yaml_lines(content, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    except YamlError as error:
        return (_unreadable(error.line, error.detail),)
    if not isinstance(root, dict):
        return (_unreadable(1, "got no mapping, expected one"),)
    found = set(_lint(root, target_branch))
    return tuple(sorted(found, key=lambda problem: (problem.line, problem.rule)))


def _unreadable(line: int, why: str) -> Problem:
    return Problem(
        "gate.unreadable", line, f"cannot be read: {why}", "plain YAML without anchors, tags or duplicate keys"
    )


def _lint(top: Map, target_branch: str | None) -> Iterator[Problem]:
    yield from _triggers(top, target_branch)
    yield from _permissions(top)
    is_target = "pull_request_target" in _names(top.get("on"))
    shell = _default_shell(top)
    yield from _shell(shell)
    for job in _map(top.get("jobs")).values():
        yield from _job(_map(job), is_target=is_target, default_shell=shell)
    runs = _map(top.get("runs"))
    if _text(runs, "image").startswith("docker://"):
        yield from _unpinned_image(runs, "image")
    yield from _steps(runs, is_target=False, shell=None)


def _triggers(top: Map, target_branch: str | None) -> Iterator[Problem]:
    on = top.get("on")
    for event, settings in _map(on).items():
        if event not in _EVENTS:
            continue
        for name in _map(settings):
            if name in _FILTERS:
                yield Problem(
                    "gate.path_filter",
                    _line(name),
                    f"`{name}` on {event}: a required check of this workflow need not run",
                    "run on every change and decide inside a step, which then reports",
                )
        if event == "push":
            continue
        for name, wanted in _map(settings).items():
            if name == "branches" and not _lets_in(wanted, target_branch):
                into = f"into {target_branch}" if target_branch else "into some branches"
                yield Problem(
                    "gate.path_filter",
                    _line(name),
                    f"`branches` on {event}: a required check of this workflow does not run for what goes {into}",
                    "the protected branch itself, or no `branches`",
                )


def _lets_in(wanted: Node, target_branch: str | None) -> bool:
    """Whether a filter of branches lets in what goes into the protected branch; the last pattern that fits counts.

    Where that branch is not known, a filter that leaves something out does not count as one that lets it in.
    """
    patterns = [part for part in ([wanted] if isinstance(wanted, str) else wanted) if isinstance(part, str)]
    if target_branch is None:
        return not any(pattern.startswith("!") for pattern in patterns)
    is_in = False
    for pattern in patterns:
        if fnmatchcase(target_branch, pattern.removeprefix("!")):
            is_in = not pattern.startswith("!")
    return is_in


def _permissions(where: Map) -> Iterator[Problem]:
    if _text(where, "permissions") == "write-all":
        yield Problem(
            "gate.write_all",
            _line_of(where, "permissions"),
            "`permissions: write-all`: code of the change may write everything, statuses too",
            "`permissions: {}` and each job's own, as little as it needs",
        )


def _job(job: Map, *, is_target: bool, default_shell: str | None) -> Iterator[Problem]:
    yield from _permissions(job)
    yield from _forgiving(job)
    yield from _condition(job, is_check=True)
    condition = _text(job, "if")
    if "needs" in job and _ALWAYS.search(condition) and not _RESULTS.search(_all_text(job)):
        yield Problem(
            "gate.condition",
            _line_of(job, "if"),
            "runs whatever the jobs it needs ended in, and does not look at their results",
            "no `if:`, or a step that fails unless every `needs.*.result` is success",
        )
    yield from _unpinned(job)
    yield from _unpinned_image(job, "container")
    own_shell = _default_shell(job)
    yield from _shell(own_shell)
    on_windows = "pwsh" if "windows" in _text(job, "runs-on") else None
    shell = own_shell or default_shell or on_windows
    yield from _steps(job, is_target=is_target, shell=shell)


def _steps(job: Map, *, is_target: bool, shell: str | None) -> Iterator[Problem]:
    steps = job.get("steps")
    for node in steps if isinstance(steps, list) else ():
        step = _map(node)
        name = _text(step, "name") or _text(step, "id")
        yield from _forgiving(step)
        told = f"{name} {_text(step, 'run')[:200]}"
        is_news = "uses" in step and _NEWS.search(f"{name} {_text(step, 'uses')}")
        yield from _condition(step, is_check=bool(CHECKS.search(told)) and not is_news)
        yield from _unpinned(step)
        if "run" in step:
            yield from _script(step, name, shell)
        if is_target and _text(step, "uses").startswith("actions/checkout@") and _HEAD.search(_all_text(step)):
            yield Problem(
                "gate.pull_request_target_head",
                _line_of(step, "uses"),
                "pull_request_target checks out the head: unreviewed code runs with the repository's secrets",
                "the pull_request event, or no checkout of the head",
            )


def _forgiving(where: Map) -> Iterator[Problem]:
    told = where.get("continue-on-error")
    if told is not None and _all_text({"": told}).lower() not in {"false", "${{ false }}"}:
        yield Problem(
            "gate.continue_on_error",
            _line_of(where, "continue-on-error"),
            "`continue-on-error`: the check's failure is not a failure",
            "no `continue-on-error`; a check that may fail is not required",
        )


def _condition(where: Map, *, is_check: bool) -> Iterator[Problem]:
    """A condition that is never true, or, of a check, never while everything is well."""
    condition = _text(where, "if")
    if "if" in where and (
        never_runs(condition, is_all_well=False) or (is_check and never_runs(condition, is_all_well=True))
    ):
        yield Problem(
            "gate.condition",
            _line_of(where, "if"),
            f"`if: {condition[:60]}`: never runs while everything is well, and a skipped check does not fail",
            "no `if:`; a check runs every time",
        )


def _unpinned(where: Map) -> Iterator[Problem]:
    used = _text(where, "uses")
    if "uses" not in where or used.startswith("./"):
        return
    is_image = used.startswith("docker://")
    if not (_DIGEST.search(used) if is_image else _PINNED.match(used)):
        yield Problem(
            "gate.unpinned_action",
            _line_of(where, "uses"),
            f"`{used[:100]}` is not pinned: its owner can change what the check does",
            "a digest (docker://image@sha256:...)"
            if is_image
            else "the full 40-digit commit, its version in a comment",
        )


def _unpinned_image(where: Map, name: str) -> Iterator[Problem]:
    """The image that a job's steps run in, or that an action is."""
    image = _text(where, name) or _text(_map(where.get(name)), "image")
    if name in where and not _DIGEST.search(image):
        message = f"`{image[:100]}` is not pinned: its owner can change what the check does"
        yield Problem("gate.unpinned_action", _line_of(where, name), message, "a digest (image@sha256:...)")


def _script(step: Map, name: str, shell: str | None) -> Iterator[Problem]:
    text = step["run"]
    own_shell = step.get("shell")
    if isinstance(own_shell, Scalar):
        yield from _shell(own_shell)
        shell = own_shell
    if isinstance(text, Scalar):
        yield from lint_script(
            text,
            name=name or "run",
            first_line=text.line + 1 if text.is_block else _line_of(step, "run"),
            is_one_line=not text.is_block,
            has_pipefail=shell is not None and shell_has_pipefail(shell),
        )


def _default_shell(where: Map) -> Scalar | None:
    shell = _map(_map(where.get("defaults")).get("run")).get("shell")
    return shell if isinstance(shell, Scalar) else None


def _shell(shell: Scalar | None) -> Iterator[Problem]:
    if shell is not None and (why := shell_problem(shell)):
        instead = "`shell: bash`, which stops at the first failure"
        yield Problem("gate.set_plus_e", shell.line, f"`shell: {shell[:60]}` {why}", instead)


def _map(node: Node | None) -> Map:
    return node if isinstance(node, dict) else {}


def _text(where: Map, name: str) -> str:
    value = where.get(name)
    return value if isinstance(value, str) else ""


def _names(on: Node | None) -> set[str]:
    """The events of an `on:` in any of its three forms."""
    if isinstance(on, str):
        return {on}
    return {str(item) for item in on or ()}


def _all_text(where: Map) -> str:
    """Every scalar below, joined."""
    texts: list[str] = []
    waiting: list[Node] = list(where.values())
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            texts += node
            waiting += node.values()
        else:
            waiting += node
    return "\n".join(texts)


def _line(scalar: str) -> int:
    return scalar.line if isinstance(scalar, Scalar) else 1


def _line_of(where: Map, name: str) -> int:
    return next(_line(key) for key in where if key == name)
