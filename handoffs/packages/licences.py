"""SPDX licence expressions: parsed, never guessed.

Source: SPDX 2.3, annex D; the licence list that license-expression ships.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import license_expression

MAX_LENGTH: Final = 500
_TOKEN: Final = re.compile(r"\s*(?:([()])|(AND|OR|WITH)(?![A-Za-z0-9.:+-])|([A-Za-z0-9.:-]+\+?))")
_OWN: Final = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+\Z")
_DEEPEST: Final = 32


def is_valid_expression(text: str) -> bool:
    """Whether a text is an SPDX licence expression whose every identifier is on the list or a LicenseRef.

    The grammar is checked here first: the parser ends in errors of its own making on some texts that break it.
    """
    if len(text) > MAX_LENGTH or not _has_grammar(text.rstrip()):
        return False
    try:
        parsed = _licensing().parse(text, validate=False, strict=True)
    except (license_expression.ExpressionError, license_expression.ExpressionParseError):
        return False
    unknown = _licensing().unknown_license_keys(parsed)
    known = _licensing().known_symbols
    return all(_OWN.match(key) or (key.endswith("+") and key[:-1] in known) for key in unknown)


def _has_grammar(text: str) -> bool:
    """Operands and operators take turns, `WITH` stands between two identifiers, and parentheses are paired."""
    at, depth, is_operand_next, before = 0, 0, True, ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return False
        at = match.end()
        bracket, operator, name = match[1], match[2], match[3]
        if (bracket == "(" or bool(name)) is not is_operand_next:
            return False
        if (before == "WITH" and not name) or (operator == "WITH" and before in {")", "WITH name"}):
            return False
        depth += (bracket == "(") - (bracket == ")")
        if not 0 <= depth <= _DEEPEST:
            return False
        is_operand_next = bracket == "(" or bool(operator)
        before = ("WITH name" if before == "WITH" else "name") if name else operator or bracket
    return depth == 0 and not is_operand_next


@functools.cache
def _licensing() -> license_expression.Licensing:
    return license_expression.get_spdx_licensing()
