"""Names for people's eyes. Rows, leaves and kept sentences say `principal 7`; who that is now is looked up where it is
shown, so that erasing a person takes the name off every page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from audit.events import numbered
from audit.models import Principal

# What acts as number 0: whoever is at the machine, and what the portal does by itself.
PORTAL: Final = "the portal"
_NUMBER: Final = re.compile(r"\bprincipal (0|[1-9][0-9]{0,17})\b")


@dataclass(frozen=True)
class Names:
    """The names some principals have now; an erased one is called `erased-7`."""

    known: Mapping[int, str] = field(default_factory=dict)

    def of(self, number: int) -> str:
        """The name, or the number where nobody has it."""
        return PORTAL if number == 0 else self.known.get(number, numbered(number))

    def within(self, text: str) -> str:
        """A sentence with names in place of numbers."""
        return _NUMBER.sub(lambda match: self.of(int(match[1])), text)


def names_of(numbers: Iterable[int] = (), *, texts: Iterable[str] = ()) -> Names:
    """The names of these numbers, and of those that sentences say. One query, none for nobody."""
    wanted = {*numbers, *(int(found) for text in texts for found in _NUMBER.findall(text))} - {0}
    rows = Principal.objects.filter(pk__in=wanted).values_list("pk", "name") if wanted else ()
    return Names(dict(rows))


def named(text: str) -> str:
    """One sentence with names, for an answer to a person."""
    return names_of(texts=[text]).within(text)
