"""What in a shell script lets it succeed whatever its commands found: in steps of workflows and in what they call.

Text is searched, nothing is run.

Not checked: functions and variables that stand for commands, commands in the background or in an `if`, other languages,
a script of its own that never asked to stop at a failing command.
Source: GATE-10 of the threat list; POSIX, shell command language; GitHub's workflow syntax, `steps[*].shell`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SWALLOWED: Final = re.compile(
    r"\|\|[\s\\]{0,80}[({]?\s{0,20}[\"']?(?:(?:command|builtin|env|sudo)\s{1,8})?(?:/usr)?(?:/bin/)?"
    r"(?:(?:true|echo|printf|cat|ls|date|sleep|logger|continue|break|wait)\b"
    r"|(?:exit|return)\s{1,8}[\"']?0{1,8}[\"']?(?![\w.])|:)"
)
_FAILS: Final = re.compile(r"\b(?:exit|return)\s{1,8}(?:[1-9]|\$)|\bfalse\b")
_EXIT_ZERO: Final = re.compile(
    r"(?:^|[;&|({]|\bthen\b|\belse\b|\bdo\b)\s{0,80}exit\s{1,8}[\"']?0{1,8}[\"']?(?![\w.])"
    r"|\btrap\s{1,8}[\"'][^\"'\n]{0,80}\bexit\s{1,8}0\b",
    re.MULTILINE,
)
_NO_ERREXIT: Final = re.compile(
    r"(?:^|[;&|({])\s{0,80}(?:set\s{1,8}(?:[-+][a-zA-Z]{1,9}\s{1,8}|-o\s{1,8}\w{1,20}\s{1,8}){0,4}"
    r"(?:\+[a-z]{0,8}e|\+o\s{1,8}errexit)|shopt\s{1,8}-u\s{1,8}-o\s{1,8}errexit\b|(?:ba)?sh\s{1,8}\+e\b)",
    re.MULTILINE,
)
_FORGIVING: Final = re.compile(
    r"(?<![\w-])--(?:exit-zero|soft-fail|no-error|ignore-errors|passWithNoTests|if-present|collect-only|no-run"
    r"|(?:issues-)?exit-code[= ]0|audit-level[= ]none)(?![\w-])|\bmake\s{1,8}-[a-z]{0,6}i[a-z]{0,6}(?![\w-])"
)
_SAID: Final = re.compile(r"\s{0,80}(?:-\s)?(?:echo|printf|true|:)(?:\s|\Z)")
CHECKS: Final = re.compile(
    r"(?i)test|check|verif|validat|lint|scan|gate|audit|sign|attest|pass|success|compli|secur|polic|quality|coverage"
)
_PIPEFAIL: Final = re.compile(
    r"(?:^|[;&({])\s{0,80}(?:set|shopt)\s[^;&|\n#]{0,80}?([-+])[a-zA-Z]{0,8}o\s{1,8}pipefail\b", re.MULTILINE
)
_STOPS: Final = re.compile(r"\s-(?:[a-zA-Z]{0,8}e[a-zA-Z]{0,8}|o\s{1,8}errexit)(?=\s)")
_SHELL: Final = re.compile(r"(?i)(?:\A|[\s/\\\"'])(?:ba|da|z|k|a|mk)?sh(?:\.exe)?[\"']?(?=\s)")
# What a custom `shell:` may begin with that is no shell and ends badly when its script does.
_INTERPRETER: Final = re.compile(
    r"(?i)(?:python|pypy|perl|ruby|node|deno|bun|pwsh|powershell|cmd|php|rscript|julia|lua|tclsh|nu|micromamba-shell)"
    r"[0-9.]{0,8}(?:\.exe)?\s"
)
_NO_SHELL: Final = frozenset({"pwsh", "powershell", "python", "cmd"})
# Commands that print, list or fetch, when they are not told to verify: their failure is no check's answer.
_PRINTS: Final = re.compile(
    r"[\s({!]{0,80}(?:(?:sudo|command|env|exec|then|do|else|if|while|until|elif)\s{1,8}"
    r"|[A-Za-z_]\w{0,80}=\S{0,200}\s{1,8}){0,6}(?:/usr)?(?:/bin/)?(?:(?:echo|printf|cat|tac|ls|find|date|yes|env|printenv|true"
    r"|seq|which|type|basename|dirname|uname|curl|wget|jq|yq|sed|awk|e?grep|fgrep|rg|sort|uniq|head|tail|cut|tr|wc|base64"
    r"|tar|gunzip|zcat|xzcat|ps|df|du|id|git|dpkg|apt|apt-get|apt-cache|apk|brew|rpm|sha\d{1,3}sum|shasum|md5sum|rev|nproc"
    r"|hostname|read|done|fi|esac|local|export|ldd|nm|file|stat|readlink|realpath|column|paste|comm|bc|xxd|od|tee)(?![\w.-])"
    r"|:\s|(?:gh|glab)\s{1,8}(?:api|pr|release|run|issue|repo)\b|docker\s{1,8}(?:images|ps|inspect|info|version|manifest)\b"
    r"|openssl\s{1,8}(?:rand|base64|enc|dgst)\b|(?:pip|npm|pnpm|yarn)\s{1,8}(?:list|freeze|ls|view|config)\b)"
)
# Commands that clean up; nothing is lost when they fail.
_TIDIES: Final = re.compile(
    r"(?:\A|[;&|({\n])[\s@-]{0,80}(?:sudo\s{1,8})?(?:rm|rmdir|mkdir|kill|pkill|umount|docker\s{1,8}(?:rm|stop|kill|volume))"
    r"\s[^;&|({`\n]{0,300}\Z"
)
_VERIFIES: Final = re.compile(r"\s(?:-c|--check|--exit-code|--verify|verify[\w-]{0,20}|--strict)(?:\s|\Z)")
_HERE: Final = re.compile(r"(?<!<)<<-?\s{0,8}([\"']?)([A-Za-z_]\w{0,60})\1")
_PATTERNS_BEFORE: Final = re.compile(r"(?:;;&?|;&|\sin)\s{1,200}\(?[^()\n;&]{0,200}\Z")
_PATTERNS_AFTER: Final = re.compile(r"[^()\n;&]{0,200}\)")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a gate from failing. Units: `line` counts from 1."""

    rule: str
    line: int
    message: str
    instead: str


def lint_script(
    text: str, *, name: str = "", first_line: int = 1, is_one_line: bool = False, has_pipefail: bool = False
) -> Iterator[Problem]:
    """What lets a script succeed whatever its commands found.

    `name` is what its author calls it. Units: `first_line` is the line of the file the text begins in; with
    `is_one_line` all of it is told there.
    """
    code = _without_comments(text)

    def line_of(at: int) -> int:
        return first_line if is_one_line else first_line + code.count("\n", 0, at)

    for rule, pattern, message, instead in _RULES:
        for match in pattern.finditer(code):
            if rule == "gate.swallowed" and _is_honest(code, match.start()):
                continue
            at = match.start() if rule == "gate.swallowed" else match.end() - 1
            shown = " ".join(match[0].split()).lstrip(";&({ ")
            yield Problem(rule, line_of(at), message.format(shown[:60]), instead)
    for at, command in [] if has_pipefail else _lost_in_pipes(code):
        yield Problem(
            "gate.pipe",
            line_of(at),
            f"`{' '.join(command.split())[:60]} |`: a pipe ends as its last command does, without `pipefail`",
            "`set -o pipefail` before it, or `shell: bash`, which sets it",
        )
    said = [line for line in code.replace("\\\n", " ").split("\n") if line.strip()]
    if name and said and all(_is_only_said(line) for line in said) and CHECKS.search(f"{name} {text}"):
        yield Problem(
            "gate.echo_only",
            first_line,
            "a step that only prints and checks nothing",
            "the command that checks, whose exit status is the step's",
        )


def shell_problem(shell: str) -> str:
    """What is wrong with a `shell:` of a workflow, in words; empty when a failing command ends its scripts."""
    told = f"{shell.strip()} "
    if "{0}" not in told or _STOPS.search(told) or (_INTERPRETER.match(told) and not _SHELL.search(told)):
        return ""
    if _SHELL.search(told):
        return "does not stop at a failing command"
    return "is no program that is known to run a script and to end as it does"


def shell_has_pipefail(shell: str) -> bool:
    """Whether a pipe of this `shell:` fails with any of its commands, or is not a shell's."""
    told = f"{shell.strip()} "
    if "{0}" not in told:
        return shell.strip() in {"bash", *_NO_SHELL}
    return "pipefail" in told or not _SHELL.search(told)


_RULES: Final = (
    (
        "gate.swallowed",
        _SWALLOWED,
        "`{}`: a failing command is taken for success",
        "the command alone; its failure fails the step",
    ),
    (
        "gate.exit_zero",
        _EXIT_ZERO,
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
        _NO_ERREXIT,
        "`{}`: the script goes on after a failing command",
        "`set -euo pipefail`",
    ),
)


def _lost_in_pipes(code: str) -> Iterator[tuple[int, str]]:
    """Where a command's failure is lost because it stands before a pipe. Units: the place of each pipe."""
    plain = _without_words(code)
    settings = [(match.end(), match[1] == "-") for match in _PIPEFAIL.finditer(code)]
    start = 0
    for match in re.finditer(r"\|\||&&|(?<!>)\|&?|;;?|\n|(?<![<>&])&(?![&>\d])", plain):
        command, at = code[start : match.start()], match.start()
        start = match.end()
        if match[0] not in {"|", "|&"} or not command.strip() or "[[" in command or "((" in command:
            continue
        is_set = [is_on for end, is_on in settings if end <= at][-1:] == [True]
        is_told = _PRINTS.match(command) and not _VERIFIES.search(command)
        if not is_set and not is_told and "PIPESTATUS" not in code[at:] and not _is_clause(code, at):
            yield at, command


def _without_words(code: str) -> str:
    """A script with everything blanked that holds no operators of its own: quotes, substitutions, here-documents.

    Shape: as long as the script.
    """
    found = list(_without_documents(code))
    closers: list[str] = []
    at = 0
    while at < len(found):
        character, last = found[at], closers[-1] if closers else ""
        width = 1
        if last == "'":
            if character == "'":
                closers.pop()
        elif character == "\\":
            width = 2
        elif character == last:
            closers.pop()
        elif character == "$" and found[at + 1 : at + 2] == ["("]:
            closers.append(")")
            width = 2
        elif last == ")" and character == "(":
            closers.append(")")
        elif character in "'\"`" and not (character == "'" and last == '"'):
            closers.append(character)
        elif not closers:
            at += 1
            continue
        found[at : at + width] = " " * len(found[at : at + width])
        at += width
    return "".join(found)


def _without_documents(code: str) -> str:
    """A script with the bodies of its here-documents blanked; one that is never closed stays."""
    at = 0
    while here := _HERE.search(code, at):
        at = code.find("\n", here.end()) + 1
        end = re.compile(rf"^[ \t]*{here[2]}[ \t]*$", re.MULTILINE).search(code, at) if at else None
        if end is None:
            return code
        code = code[:at] + " " * (end.end() - at) + code[end.end() :]
        at = end.end()
    return code


def _is_clause(code: str, at: int) -> bool:
    """Whether a pipe stands between the patterns of a `case`."""
    before = code[max(0, at - 500) : at]
    return bool("case" in code[:at] and _PATTERNS_BEFORE.search(before) and _PATTERNS_AFTER.match(code, at))


def _without_comments(text: str) -> str:
    """A script with comments blanked, lines kept. A # inside a word or quotes of one line stays."""
    lines = []
    for line in text.split("\n"):
        quote, end = "", len(line)
        for at, character in enumerate(line):
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character == "#" and (at == 0 or line[at - 1] in " \t;"):
                end = at
                break
        lines.append(line[:end])
    return "\n".join(lines)


def _is_honest(code: str, at: int) -> bool:
    """Whether what an `||` leads to fails, or what stands before it only cleans up."""
    return bool(_FAILS.search(_group_after(code, at)) or _TIDIES.search(code[max(0, at - 400) : at]))


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
