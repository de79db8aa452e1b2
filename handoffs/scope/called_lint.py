"""What in the scripts that gates call lets them succeed whatever they found: shell, makefiles, package.json's scripts.

Not checked: programs in other languages, and what `handoffs.scope.shell_lint` does not check.
Source: GATE-10 of the threat list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from audit.canonical import JsonError, parse_json
from handoffs.scope.shell_lint import Problem, lint_script

_SHEBANG: Final = re.compile(rb"#!\s{0,8}\S{0,80}[/ ](?:ba|da|k|z|a)?sh(?![\w-])")
_MAKEFILES: Final = frozenset({"makefile", "gnumakefile", "bsdmakefile"})
# A recipe's line whose failure make ignores, unless it only tidies up.
_IGNORED: Final = re.compile(
    r"^\t[@+]{0,4}-[@+]{0,4}+[ \t]{0,8}+(?!rm\s|rmdir\s|mkdir\s|kill\s|pkill\s)\S[^\n]{0,60}", re.MULTILINE
)


def lint_called(path: str, content: bytes) -> tuple[Problem, ...]:
    """What is found in a file that gates call, by line; nothing in a file of another kind."""
    name = path.rsplit("/", 1)[-1].lower()
    if name == "package.json":
        found = _package(content)
    elif name in _MAKEFILES or name.endswith(".mk"):
        found = _makefile(content.decode("utf-8", "replace"))
    elif name.endswith((".sh", ".bash")) or _SHEBANG.match(content):
        found = lint_script(content.decode("utf-8", "replace"))
    else:
        return ()
    return tuple(sorted(set(found), key=lambda problem: (problem.line, problem.rule)))


def _makefile(text: str) -> Iterator[Problem]:
    yield from lint_script(text, has_pipefail=True)
    for match in _IGNORED.finditer(text):
        line, shown = 1 + text.count("\n", 0, match.start()), " ".join(match[0].split())
        message = f"`{shown[:60]}`: make goes on after this command failed"
        yield Problem("gate.swallowed", line, message, "the command without its leading `-`")


def _package(content: bytes) -> Iterator[Problem]:
    """The scripts of a package.json; one that cannot be read is refused as a manifest."""
    try:
        document = parse_json(content)
    except JsonError:
        return
    scripts = document.get("scripts") if isinstance(document, dict) else None
    for name, script in scripts.items() if isinstance(scripts, dict) else ():
        at = content.find(b'"' + name.encode() + b'"', max(0, content.find(b'"scripts"')))
        line = 1 + content.count(b"\n", 0, max(0, at))
        yield from lint_script(str(script), name=name, first_line=line, is_one_line=True)
