"""Comments that ask a scanner to look away: they are blanked in the copy that is judged, and reported.

What a blanked comment would have hidden is then reported by the scanner itself, with its own severity. So a comment
that names its rule is INFO; one that hides everything, or a whole file, is LOW.
Source: libraries.md section 7, rule 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from verdicts.findings import AgentKind, Finding, Severity
from verdicts.subagents.change import Change, ChangedFile, relaxed


@dataclass(frozen=True, slots=True)
class _Directive:
    name: str
    kind: AgentKind
    keyword: re.Pattern[bytes]
    is_blanket: re.Pattern[bytes] | None = None


def _directive(name: str, kind: AgentKind, keyword: bytes, is_blanket: bytes | None = None) -> _Directive:
    return _Directive(
        name, kind, re.compile(keyword, re.IGNORECASE), re.compile(is_blanket, re.IGNORECASE) if is_blanket else None
    )


# `keyword` is what is blanked; `is_blanket` is matched against the line from the keyword on.
DIRECTIVES: Final = (
    _directive("noqa", AgentKind.SECURITY, rb"(?<!ruff: )(?<!flake8: )\bnoqa\b", rb"noqa(?!\s*:\s*[a-z]+[0-9])"),
    _directive(
        "ruff", AgentKind.SECURITY, rb"\b(ruff|flake8)\s*:\s*(noqa|disable|enable|ignore|isort|file-ignore)\b", rb"."
    ),
    _directive("nosec", AgentKind.SECURITY, rb"\bnosec\b", rb"nosec(?!\s*:?\s*b[0-9])"),
    _directive("nosemgrep", AgentKind.SECURITY, rb"\bnosem(grep)?\b", rb"nosem(grep)?(?!\s*:)"),
    _directive(
        "allowlist secret", AgentKind.SECURITY, rb"\b(allowlist|whitelist)(?=[ \t]+(nextline[ \t]+)?secret)", rb"."
    ),
    _directive("zizmor", AgentKind.SECURITY, rb"\bzizmor(?=\s*:\s*ignore)", rb"zizmor\s*:\s*ignore(?!\[)"),
    _directive(
        "shellcheck", AgentKind.SECURITY, rb"\bshellcheck(?=\s+[a-z-]+=)", rb"shellcheck\s+disable=(all|sc0001-)"
    ),
    _directive("hadolint", AgentKind.SECURITY, rb"\bhadolint(?=\s+(global\s+)?ignore)", rb"hadolint\s+global"),
    _directive(
        "squawk-ignore",
        AgentKind.DATABASE,
        rb"\bsquawk-(ignore|disable)(-file)?\b",
        rb"squawk-\w+-file|squawk-\w+\s*(\*/)?$",
    ),
    _directive("no cover", AgentKind.TESTING, rb"\bpragma(?=\s*:\s*no\s+(cover|branch))"),
    _directive("type: ignore", AgentKind.TESTING, rb"\btype(?=\s*:\s*ignore)"),
    _directive("complexipy", AgentKind.PERFORMANCE, rb"\bcomplexipy(?=\s*:\s*ignore)"),
    _directive("djlint", AgentKind.DESIGN, rb"\bdjlint(?=\s*:\s*(off|on))", rb"djlint\s*:\s*off(?!\s+[a-z]+[0-9])"),
    _directive(
        "eslint-disable",
        AgentKind.DESIGN,
        rb"\b(eslint|oxlint)-(disable|enable)(-next-line|-line)?\b",
        rb"(eslint|oxlint)-disable\s*(\*/|$)",
    ),
    _directive("typescript", AgentKind.DESIGN, rb"@ts-(ignore|nocheck|expect-error)\b", rb"@ts-nocheck"),
)
_COMMENT = re.compile(rb"#|//|/\*|^\s*\*|(^|\s)--\s*$|--\s|<!--|\{#|\{%")
# A directive inside a comment of several lines stands on a line without a comment mark.
_BLOCK = re.compile(rb"/\*.*?\*/|<!--.*?-->|\{#.*?#\}|\{%\s*comment.*?endcomment\s*%\}", re.DOTALL)


def blank(content: bytes) -> bytes:
    """The content with every directive's keyword overwritten by as many underscores: no line or column moves."""
    for directive in DIRECTIVES:
        content = directive.keyword.sub(lambda match: b"_" * len(match[0]), content)
    return content


def report(change: Change, file: ChangedFile, kind: AgentKind) -> list[Finding]:
    """A finding for each directive of this sub-agent's tools that stands in a comment."""
    found = []
    blocks = [match.span() for match in _BLOCK.finditer(file.content)]
    offset = 0
    for number, line in enumerate(file.content.split(b"\n"), start=1):
        for directive in DIRECTIVES:
            match = directive.keyword.search(line) if directive.kind is kind else None
            if match and _is_comment(line, match.start(), offset, blocks):
                is_blanket = bool(directive.is_blanket and directive.is_blanket.match(line.rstrip(), match.start()))
                severity = relaxed(Severity.LOW if is_blanket else Severity.INFO, file.path)
                hides = "everything" if is_blanket else "a named rule"
                message = f"adds 1 suppression of {hides} ({directive.name}); it was ignored"
                found.append(change.remark(file, (number, number), "suppression", severity, message))
        offset += len(line) + 1
    return found


def _is_comment(line: bytes, column: int, offset: int, blocks: list[tuple[int, int]]) -> bool:
    return bool(_COMMENT.search(line, 0, column)) or any(start <= offset + column < end for start, end in blocks)
