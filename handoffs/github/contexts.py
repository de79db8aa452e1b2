"""Names of required checks. GitHub compares them letter by letter: what is nearly right waits for ever.

Source: GATE-16 of the threat list; product.md section 6, its correction of the SOP's `PRD-*`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

MOST_CHARACTERS: Final = 100
# What a token shows in place of the Apps stands below this, so that no rule can take it for a check of leo-gate.
TRIAL: Final = "leo-trial/"
NOT_SEPARATED: Final = "Not separated: one token writes and judges"
_PATTERN: Final = frozenset("*?[]")
_TEMPLATE: Final = ("${{", "}}")


def context_problem(name: str) -> str:
    """Why this cannot be the name of a required check; empty if it can."""
    if not name:
        return "it is empty"
    if len(name) > MOST_CHARACTERS:
        return f"it has {len(name)} characters, expected at most {MOST_CHARACTERS}"
    if name.lower().startswith(TRIAL):
        return f"it begins with {TRIAL}, which is kept for repositories that are tried out with a token"
    if name != name.strip():
        return "it begins or ends with a space"
    if wild := sorted(_PATTERN & set(name)):
        return f"it holds {' '.join(wild)}, and GitHub knows no patterns in names of checks"
    if any(part in name for part in _TEMPLATE):
        return "it holds an expression, which is not a name before it runs"
    for character in name:
        if character != " " and not (character.isprintable() and unicodedata.category(character)[0] not in "CZ"):
            return f"it holds U+{ord(character):04X}, which nobody can see or tell from a space"
    if "  " in name:
        return "it holds two spaces in a row"
    if name != unicodedata.normalize("NFKC", name):
        return "it holds characters that look like others (not in the form NFKC)"
    return ""


def context_of(name: str, *, is_separated: bool) -> str:
    """Under what name GitHub shows a check: its own, or below `TRIAL` where one token acts in place of both Apps."""
    return name if is_separated else f"{TRIAL}{name}"


def context_problems(names: Sequence[str]) -> tuple[str, ...]:
    """What is wrong with the names of one repository's required checks, each with the name."""
    found = [f"{name[:120]!r}: {problem}" for name in names if (problem := context_problem(name))]
    if not names:
        found.append("no check is required")
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(name.casefold(), name)
        if twin is not name or names.count(name) > 1:
            found.append(f"{name[:120]!r}: stands twice, once as {twin[:120]!r}")
    return tuple(dict.fromkeys(found))
