"""Text that agents and people wrote, as Markdown in which GitHub sees text and nothing else. Pure.

Source: GitHub Flavored Markdown 2.4 (any ASCII punctuation may be escaped by a backslash) and 6.9 (autolinks); GitHub
Docs, "Autolinked references and URLs", "Mentioning people and teams".
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_BREAK: Final = "\u200b"  # no backslash keeps GitHub from reading @name, #1 or https:// once Markdown is done
_PUNCTUATION: Final = re.compile(r"([\\`*_{}\[\]<>()#+\-!|~&:$^=@.])")
_REFERENCES: Final = re.compile(r"[@#/]|(?i:gh-|www(?=\.))")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def inert(text: str, *, at_most: int = 300) -> str:
    """One line that shows `text` as it is: no markup, link, mention, reference or comment comes of it.

    Units: `at_most` characters of `text`; what is longer ends in an ellipsis.
    """
    seen = "".join(" " if unicodedata.category(one) in _UNSEEN else one for one in text[: 4 * at_most])
    words = " ".join(seen.split())
    if len(words) > at_most:
        words = words[: at_most - 1] + "…"
    return _PUNCTUATION.sub(r"\\\1", _REFERENCES.sub(lambda found: found[0] + _BREAK, words))


def code(text: str, *, at_most: int = 120) -> str:
    """A name of our own kind (a commit, a gate, a branch) in code, which may hold no backtick and no pipe."""
    return f"`{re.sub(r'[^\w .:/@+-]', '?', text, flags=re.ASCII)[:at_most] or '?'}`"
