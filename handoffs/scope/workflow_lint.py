"""A linter for gates that only inform: workflows and actions whose checks cannot fail, or need not run.

The YAML is read as a tree of nodes with line numbers; nothing is constructed from it and nothing is run. What cannot
be read is a finding, too.

Not checked: scripts that the steps call, expressions that only fold to a constant when they run, pipes without
`pipefail`, commands in the background or in an `if`, and what `env:` and `defaults:` change.
Source: GATE-10 of the threat list; GitHub's workflow syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

MAX_BYTES: Final = 256 << 10
MAX_DEPTH: Final = 40
_FILTERS: Final = ("paths", "paths-ignore", "branches-ignore")
_EVENTS: Final = ("pull_request", "pull_request_target", "push", "merge_group")
_PINNED: Final = re.compile(r"[^@]{1,300}@[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_SWALLOWED: Final = re.compile(
    r"\|\|[\s\\]{0,80}[({]?\s{0,20}[\"']?(?:(?:command|builtin|env|sudo)\s{1,8})?(?:/usr)?(?:/bin/)?"
    r"(?:(?:true|echo|printf|cat|ls|date|sleep|logger|continue|break|wait)\b"
    r"|(?:exit|return)\s{1,8}[\"']?0{1,8}[\"']?(?![\w.])|:)"
)
_FAILS: Final = re.compile(r"\b(?:exit|return)\s{1,8}(?:[1-9]|\$)|\bfalse\b")
_EXIT_ZERO: Final = re.compile(
    r"(?:^|[;&|({]|\bthen\b|\belse\b|\bdo\b)\s{0,80}exit\s{1,8}[\"']?0{1,8}[\"']?(?![\w.])|\btrap\s{1,8}[\"'][^\"'\n]{0,80}\bexit\s{1,8}0\b"
)
_NO_ERREXIT: Final = re.compile(
    r"(?:^|[;&|({])\s{0,80}(?:set\s{1,8}(?:[-+][a-zA-Z]{1,9}\s{1,8}|-o\s{1,8}\w{1,20}\s{1,8}){0,4}"
    r"(?:\+[a-z]{0,8}e|\+o\s{1,8}errexit)|shopt\s{1,8}-u\s{1,8}-o\s{1,8}errexit\b|(?:ba)?sh\s{1,8}\+e\b)"
)
_FORGIVING: Final = re.compile(
    r"(?<![\w-])--(?:exit-zero|soft-fail|no-error|ignore-errors|passWithNoTests|if-present|collect-only|no-run"
    r"|(?:issues-)?exit-code[= ]0|audit-level[= ]none)(?![\w-])|\bmake\s{1,8}-[a-z]{0,6}i[a-z]{0,6}(?![\w-])"
)
_SAID: Final = re.compile(r"\s{0,80}(?:-\s)?(?:echo|printf|true|:)(?:\s|\Z)")
_CHECKS: Final = re.compile(
    r"(?i)test|check|verif|validat|lint|scan|gate|audit|sign|attest|pass|success|compli|secur|polic|quality|coverage"
)
_ALWAYS: Final = re.compile(
    r"always\(\)|!\s{0,8}failure\(\)|\|\|\s{0,8}true|!\s{0,8}cancelled\(\)|failure\(\)\s{0,8}\|\||\|\|\s{0,8}failure\(\)"
)
_NEVER: Final = re.compile(
    r"(?i)\s{0,8}(?:\$\{\{)?\s{0,8}(?:false|0|''|failure\(\)|cancelled\(\))\s{0,8}(?:\}\})?\s{0,8}\Z"
)
_HEAD: Final = re.compile(r"github\.event\.pull_request\.head\.|github\.head_ref|refs/pull/")

type Map = dict[str, tuple[yaml.Node, yaml.Node]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a gate from failing. Units: `line` counts from 1."""

    rule: str
    line: int
    message: str
    instead: str


class _RefusedError(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def is_workflow(path: str) -> bool:
    """Whether a path is a workflow or an action."""
    lowered = path.lower()
    name = lowered.rsplit("/", 1)[-1]
    is_yaml = name.endswith((".yml", ".yaml"))
    folders = (".github/workflows/", ".gitea/workflows/", ".forgejo/workflows/")
    return is_yaml and (lowered.startswith(folders) or name in {"action.yml", "action.yaml"})


def lint_workflow(content: bytes) -> tuple[Problem, ...]:
    """Everything in a workflow or action that keeps a gate from failing, by line."""
    try:
        root = _read(content)
        found = list(_lint(root))
    except _RefusedError as error:
        return (_unreadable(error.line, str(error)),)
    return tuple(sorted(set(found), key=lambda problem: (problem.line, problem.rule)))


def _unreadable(line: int, why: str) -> Problem:
    return Problem(
        "gate.unreadable", line, f"cannot be read: {why}", "plain YAML without anchors, tags or duplicate keys"
    )


class _Loader(yaml.SafeLoader):
    """Composes nodes only; refuses what makes a document mean something else to another reader."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _RefusedError(line, "an anchor, alias or tag")
        if self.depth >= MAX_DEPTH:
            raise _RefusedError(line, f"deeper than {MAX_DEPTH} levels")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _read(content: bytes) -> yaml.MappingNode:
    if len(content) > MAX_BYTES:
        raise _RefusedError(1, f"{len(content)} bytes, at most {MAX_BYTES} are read")
    try:
        loader = _Loader(content.decode("utf-8"))
        node = loader.get_single_node()
    except UnicodeDecodeError:
        raise _RefusedError(1, "not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _RefusedError(mark.line + 1 if mark else 1, error.problem or "not YAML") from None
    except yaml.YAMLError:
        raise _RefusedError(1, "not YAML") from None
    if not isinstance(node, yaml.MappingNode):
        raise _RefusedError(1, "not a mapping")
    waiting: list[yaml.Node] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, yaml.MappingNode):
            waiting += [value for _, value in _map(one).values()]
        elif isinstance(one, yaml.SequenceNode):
            waiting += one.value
    return node


def _lint(root: yaml.MappingNode) -> Iterator[Problem]:
    top = _map(root)
    yield from _triggers(top)
    yield from _permissions(top)
    on = top.get("on")
    is_target = on is not None and "pull_request_target" in _names(on[1])
    for _, job in _map(_value(top, "jobs")).values():
        yield from _job(_map(job), is_target=is_target)
    runs = _map(_value(top, "runs"))
    if _text(_value(runs, "image")).startswith("docker://"):
        yield from _unpinned_image(runs["image"])
    yield from _steps(runs, is_target=False)


def _triggers(top: Map) -> Iterator[Problem]:
    on = top.get("on")
    for event, (_, settings) in _map(on[1] if on else None).items():
        if event in _EVENTS:
            for name, (key, _) in _map(settings).items():
                if name in _FILTERS:
                    yield Problem(
                        "gate.path_filter",
                        _line(key),
                        f"`{name}` on {event}: a required check of this workflow need not run",
                        "run on every change and decide inside a step, which then reports",
                    )


def _permissions(where: Map) -> Iterator[Problem]:
    found = where.get("permissions")
    if found is not None and _text(found[1]) == "write-all":
        yield Problem(
            "gate.write_all",
            _line(found[0]),
            "`permissions: write-all`: code of the change may write everything, statuses too",
            "`permissions: {}` and each job's own, as little as it needs",
        )


def _job(job: Map, *, is_target: bool) -> Iterator[Problem]:
    yield from _permissions(job)
    yield from _forgiving(job)
    yield from _condition(job, name=_text(_value(job, "name")), is_step=False)
    condition = _text(_value(job, "if"))
    if "needs" in job and _ALWAYS.search(condition) and not re.search(r"needs\.[\w.*-]{1,100}\.result", _all_text(job)):
        yield Problem(
            "gate.condition",
            _line(job["if"][0]),
            "runs whatever the jobs it needs ended in, and does not look at their results",
            "no `if:`, or a step that fails unless every `needs.*.result` is success",
        )
    yield from _unpinned(job)
    yield from _unpinned_image(job.get("container"))
    yield from _steps(job, is_target=is_target)


def _steps(job: Map, *, is_target: bool) -> Iterator[Problem]:
    steps = _value(job, "steps")
    if not isinstance(steps, yaml.SequenceNode):
        return
    for node in steps.value:
        step = _map(node)
        name = _text(_value(step, "name")) or _text(_value(step, "id"))
        yield from _forgiving(step)
        yield from _condition(step, name=f"{name} {_text(_value(step, 'run'))[:200]}", is_step=True)
        yield from _unpinned(step)
        if "run" in step:
            yield from _script(step, name)
        if is_target and _text(_value(step, "uses")).startswith("actions/checkout@") and _HEAD.search(_all_text(step)):
            yield Problem(
                "gate.pull_request_target_head",
                _line(step["uses"][0]),
                "pull_request_target checks out the head: unreviewed code runs with the repository's secrets",
                "the pull_request event, or no checkout of the head",
            )


def _forgiving(where: Map) -> Iterator[Problem]:
    found = where.get("continue-on-error")
    if found is not None and _text(found[1]).lower() not in {"false", "${{ false }}"}:
        yield Problem(
            "gate.continue_on_error",
            _line(found[0]),
            "`continue-on-error`: the check's failure is not a failure",
            "no `continue-on-error`; a check that may fail is not required",
        )


def _condition(where: Map, *, name: str, is_step: bool) -> Iterator[Problem]:
    found = where.get("if")
    if found is None or not _NEVER.match(_text(found[1])) or (is_step and not _CHECKS.search(name)):
        return
    yield Problem(
        "gate.condition",
        _line(found[0]),
        f"`if: {_text(found[1])[:60]}`: never runs while everything is well, and a skipped check does not fail",
        "no `if:`; a check runs every time",
    )


def _unpinned(where: Map) -> Iterator[Problem]:
    found = where.get("uses")
    if found is None:
        return
    used = _text(found[1])
    if used.startswith("./"):
        return
    is_image = used.startswith("docker://")
    if not (re.search(r"@sha256:[0-9a-f]{64}\Z", used) if is_image else _PINNED.match(used)):
        yield Problem(
            "gate.unpinned_action",
            _line(found[0]),
            f"`{used[:100]}` is not pinned: its owner can change what the check does",
            "a digest (docker://image@sha256:...)"
            if is_image
            else "the full 40-digit commit, its version in a comment",
        )


def _unpinned_image(found: tuple[yaml.Node, yaml.Node] | None) -> Iterator[Problem]:
    """The image that a job's steps run in, or that an action is."""
    if found is None:
        return
    image = _text(found[1]) or _text(_value(_map(found[1]), "image"))
    if not re.search(r"@sha256:[0-9a-f]{64}\Z", image):
        message = f"`{image[:100]}` is not pinned: its owner can change what the check does"
        yield Problem("gate.unpinned_action", _line(found[0]), message, "a digest (image@sha256:...)")


def _script(step: Map, name: str) -> Iterator[Problem]:
    key, node = step["run"]
    text = _text(node)
    is_block = isinstance(node, yaml.ScalarNode) and node.style == "|"
    first = _line(node) + 1 if is_block else _line(key)
    shell = step.get("shell")
    if shell is not None and "{0}" in _text(shell[1]) and not re.search(r"\s-[a-z]{0,8}e", _text(shell[1])):
        yield Problem("gate.set_plus_e", _line(shell[0]), f"`shell: {_text(shell[1])[:60]}` does not stop at a failing "
                      "command", "`shell: bash`, which stops at the first failure")  # fmt: skip
    code = _without_comments(text)
    for rule, pattern, message, instead in _SCRIPT_RULES:
        for match in pattern.finditer(code):
            if rule == "gate.swallowed" and _FAILS.search(_group_after(code, match.start())):
                continue
            at = match.start() if rule == "gate.swallowed" else match.end() - 1
            line = first + code.count("\n", 0, at) if is_block else first
            shown = " ".join(match[0].split()).lstrip(";&({ ")
            yield Problem(rule, line, message.format(shown[:60]), instead)
    said = [line for line in code.replace("\\\n", " ").split("\n") if line.strip()]
    if said and all(_is_only_said(line) for line in said) and _CHECKS.search(f"{name} {text}"):
        yield Problem(
            "gate.echo_only",
            first,
            "a step that only prints and checks nothing",
            "the command that checks, whose exit status is the step's",
        )


_SCRIPT_RULES: Final = (
    (
        "gate.swallowed",
        _SWALLOWED,
        "`{}`: a failing command is taken for success",
        "the command alone; its failure fails the step",
    ),
    (
        "gate.exit_zero",
        re.compile(_EXIT_ZERO.pattern, re.MULTILINE),
        "`{}`: the step succeeds whatever it found",
        "the exit status of the check itself",
    ),
    (
        "gate.forgiving_flag",
        _FORGIVING,
        "`{}`: the tool is told to succeed whatever it finds, or to run nothing",
        "the tool without this option",
    ),
    (
        "gate.set_plus_e",
        re.compile(_NO_ERREXIT.pattern, re.MULTILINE),
        "`{}`: the script goes on after a failing command",
        "`set -euo pipefail`",
    ),
)


def _without_comments(text: str) -> str:
    """A script with comments blanked, lines kept. A # inside a word or quotes of one line stays."""
    lines = []
    for line in text.split("\n"):
        quote = ""
        for at, character in enumerate(line):
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character == "#" and (at == 0 or line[at - 1] in " \t;"):
                line = line[:at]  # noqa: PLW2901 - the rest is a comment
                break
        lines.append(line)
    return "\n".join(lines)


def _group_after(code: str, at: int) -> str:
    """What an `||` leads to: its group in braces or parentheses, or the rest of its line."""
    rest = code[at : at + 2000]
    opening = re.match(r"\|\|[\s\\]{0,80}([({])", rest)
    if opening:
        return rest.partition("}" if opening[1] == "{" else ")")[0]
    return rest.lstrip("|\\ \n").partition("\n")[0]


def _is_only_said(line: str) -> bool:
    """Whether a line of a script only prints: no pipe to a program, no second command that could fail."""
    return bool(_SAID.match(line)) and not re.search(
        r"\$\(|`|&&|(?<!\|)\|(?!\|)|;\s{0,8}(?!echo|printf|true|:)\S", line
    )


def _map(node: yaml.Node | None) -> Map:
    if not isinstance(node, yaml.MappingNode):
        return {}
    found: Map = {}
    for key, value in node.value:
        name = _text(key)
        if name == "<<":
            raise _RefusedError(_line(key), "a merge key")
        if name in found:
            raise _RefusedError(_line(key), f"the key {name[:60]!r} stands twice")
        found[name] = (key, value)
    return found


def _value(where: Map, name: str) -> yaml.Node | None:
    return where[name][1] if name in where else None


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _names(node: yaml.Node) -> set[str]:
    """The events of an `on:` in any of its three forms."""
    if isinstance(node, yaml.SequenceNode):
        return {_text(item) for item in node.value}
    return {_text(node)} | set(_map(node))


def _all_text(where: Map) -> str:
    """Every scalar below, joined."""
    texts: list[str] = []
    waiting = [value for _, value in where.values()]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        else:
            texts.append(_text(node))
    return "\n".join(texts)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
