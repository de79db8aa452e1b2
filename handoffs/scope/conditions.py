"""What an `if:` of a workflow comes to whatever happens: an expression folded as far as its literals go.

Not checked: contexts and functions of contexts; they are unknown.
Source: GitHub's documentation, "Evaluate expressions in workflows and actions": literals, operators, functions.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

type Value = bool | float | str | None  # None: unknown; the null of the language is its 0

MAX_TOKENS: Final = 400
MAX_DEPTH: Final = 30
_TOKEN: Final = re.compile(
    r"\s*(&&|\|\||[!=]=|[<>]=?|[!(),\[\]]|'(?:[^']|'')*'|[-+]?(?:0x[0-9a-fA-F]+|\.?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?)"
    r"|[.\w*-]+)"
)
_COMPARES: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip
_LITERALS: Final[dict[str, Value]] = {"true": True, "false": False, "null": 0.0}
_TEXT_FUNCTIONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": operator.contains, "startswith": str.startswith, "endswith": str.endswith
}  # fmt: skip


def never_runs(condition: str, *, is_all_well: bool) -> bool:
    """Whether what has this condition is skipped whatever the contexts hold.

    `is_all_well`: nothing failed and nothing was cancelled; otherwise that is unknown. A condition too long or too
    deep to be folded counts as one that is never true.
    """
    expression = condition.strip()
    if expression.startswith("${{") and expression.endswith("}}") and "${{" not in expression[3:]:
        expression = expression[3:-2]
    elif "${{" in expression:
        return False  # text around an expression is text, and text is true
    tokens = _tokens(expression)
    if tokens is None:
        return False
    if len(tokens) > MAX_TOKENS:
        return True
    folding = _Folding(tokens, is_all_well=is_all_well)
    try:
        value = folding.either()
    except _TooDeepError:
        return True
    except (ValueError, IndexError):  # not an expression, which the workflow's owner says loudly
        return False
    return folding.at == len(tokens) and _truth(value) is False


class _TooDeepError(Exception):
    pass


def _tokens(expression: str) -> list[str] | None:
    found: list[str] = []
    at = 0
    expression = expression.rstrip()
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            return None
        found.append(match[1])
        at = match.end()
    return found


class _Folding:
    """Recursive descent over the tokens of one expression; each method reads one level of precedence."""

    def __init__(self, tokens: list[str], *, is_all_well: bool) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.is_all_well = is_all_well

    def either(self) -> Value:
        """`a || b`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeepError
        value = self._both()
        while self._take("||"):
            other = self._both()
            truth = _truth(value)
            if truth is None:
                value = True if _truth(other) else None
            elif truth is False:
                value = other
        self.depth -= 1
        return value

    def _both(self) -> Value:
        value = self._compared()
        while self._take("&&"):
            other = self._compared()
            truth = _truth(value)
            if truth is None:
                value = False if _truth(other) is False else None
            elif truth is True:
                value = other
        return value

    def _compared(self) -> Value:
        value = self._negated()
        while self.at < len(self.tokens) and self.tokens[self.at] in _COMPARES:
            compare = _COMPARES[self.tokens[self.at]]
            self.at += 1
            value = _compare(compare, value, self._negated())
        return value

    def _negated(self) -> Value:
        count = 0
        while self._take("!"):
            count += 1
        value = self._single()
        if not count:
            return value
        truth = _truth(value)
        return None if truth is None else truth is (count % 2 == 0)

    def _single(self) -> Value:
        word = self.tokens[self.at]
        self.at += 1
        if word == "(":
            value = self.either()
            self._expect(")")
        elif word.startswith("'"):
            value = word[1:-1].replace("''", "'")
        elif self._take("("):
            value = self._called(word.lower())
        elif word.lower() in _LITERALS:
            value = _LITERALS[word.lower()]
        else:
            value = _number(word)
        while self._take("["):
            self.either()
            self._expect("]")
            value = None
        if self.at < len(self.tokens) and self.tokens[self.at].startswith("."):
            self.at += 1
            value = None
        return value

    def _called(self, name: str) -> Value:
        arguments: list[Value] = []
        while not self._take(")"):
            arguments.append(self.either())
            if not self._take(",") and self.tokens[self.at] != ")":
                raise ValueError(name)
        if name == "always":
            return True
        if name in {"success", "failure", "cancelled"}:
            return name == "success" if self.is_all_well else None
        if name in _TEXT_FUNCTIONS and len(arguments) == 2:
            whole, part = arguments
            if isinstance(whole, str) and isinstance(part, str):
                return _TEXT_FUNCTIONS[name](whole.lower(), part.lower())
        return None

    def _take(self, token: str) -> bool:
        is_next = self.at < len(self.tokens) and self.tokens[self.at] == token
        self.at += is_next
        return is_next

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(token)


def _truth(value: Value) -> bool | None:
    return None if value is None else bool(value)


def _number(token: str) -> float | None:
    """A literal; a name is unknown."""
    if token.lower().startswith("0x"):
        return float(int(token, 16))
    return float(token) if re.match(r"[-+.]?[0-9]", token) else None


def _compare(compare: Callable[[float, float], bool], left: Value, right: Value) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        # The order of texts is nobody's gate; whether they are the same is.
        same = left.lower() == right.lower()
        return compare(0.0, 0.0 if same else 1.0) if compare in {operator.eq, operator.ne} else None
    return compare(_as_number(left), _as_number(right))


def _as_number(value: bool | float | str) -> float:  # noqa: FBT001 - a value of the language, not a flag
    if not isinstance(value, str):
        return float(value)
    try:
        return float(value or 0)
    except ValueError:
        return float("nan")
