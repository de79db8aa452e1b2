"""Who owns a path, by a CODEOWNERS file: the last pattern that fits counts, and one without an owner takes it away.

Source: GitHub's documentation of CODEOWNERS. Its patterns are gitignore's without `!`, ranges and escapes.
"""

from __future__ import annotations

import re
from typing import Final

PLACES: Final = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
MOST_LINES: Final = 10_000
MOST_STARS: Final = 6
_MEANS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def owners_of(path: str, text: str) -> tuple[str, ...]:
    """The owners of a path; nobody if no pattern fits or the last one names none."""
    found: tuple[str, ...] = ()
    for line in text.splitlines()[:MOST_LINES]:
        pattern, *owners = line.split("#", 1)[0].split() or [""]
        if pattern.count("*") > MOST_STARS:
            found = ()  # nobody writes that; what it fits is not found out, and whoever it names owns nothing
        elif pattern and _fits(pattern, path):
            found = tuple(owner for owner in owners if "@" in owner)
    return found


def _fits(pattern: str, path: str) -> bool:
    is_anchored = "/" in pattern.rstrip("/")
    body = pattern.strip("/")
    parts = [_MEANS.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", body)]
    start = "" if is_anchored or pattern.startswith("/") else "(?:.*/)?"
    # A star at the end of a path with a folder in it stands for files of that folder only.
    below = "/.*" if pattern.endswith("/") else "" if body.endswith("/*") else "(?:/.*)?"
    return re.fullmatch(f"{start}{''.join(parts)}{below}", path) is not None
