"""Characters that make text read differently from what runs: direction controls, invisible ones, look-alike letters.

Source: CVE-2021-42574 and CVE-2021-42694 (Trojan Source); Unicode standard annex 9 and technical report 36.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Direction: embeddings, overrides, isolates, marks. Invisible: zero width, fillers, tags, variation of nothing.
_HIDDEN: Final = re.compile(
    "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200d\u2028\u2029\u2060-\u2065\u206a-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# Cyrillic and Greek letters drawn like Latin ones; a word that mixes them with ASCII letters is no word of a language.
_TWINS: Final = (
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03bd"
)
_TWIN: Final = re.compile(f"[{_TWINS}]")
_MIXED: Final = re.compile(f"[A-Za-z0-9_][{_TWINS}]|[{_TWINS}][A-Za-z0-9_]")
_WORD: Final = re.compile(r"\w{1,200}")


@dataclass(frozen=True)
class Hidden:
    """One character that misleads. Units: `line` counts from 1."""

    line: int
    character: str

    @property
    def name(self) -> str:
        """What it is: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
        return name_of(self.character)


def name_of(character: str) -> str:
    """A character by code point and name."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


def find_hidden(text: str, first_line: int = 1) -> Iterator[Hidden]:
    """Every character of a text that misleads, with its line; lines end at LF only."""
    if text.isascii():
        return
    for number, line in enumerate(text.split("\n"), first_line):
        if not line.isascii():
            yield from (Hidden(number, line[at]) for at in sorted(places_in(line)))


def places_in(line: str) -> set[int]:
    """Where in one line a character misleads. A byte order mark at the very start of a file is one, too."""
    found = {match.start() for match in _HIDDEN.finditer(line)}
    if _MIXED.search(line):
        for word in _WORD.finditer(line):
            if any(letter.isascii() and letter.isalpha() for letter in word[0]):
                found |= {word.start() + match.start() for match in _TWIN.finditer(word[0])}
    return found
