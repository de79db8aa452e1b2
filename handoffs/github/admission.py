"""Whether an event is about something that this portal governs, and what is to be done about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from handoffs.github.events import Asked, Event, Ignored, Wake


class Taken(StrEnum):
    """What became of an event."""

    DONE = "done"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True)
class Subscription:
    """What the App that an event came to is installed for. Shape: `installation_id` 0 where a token is used."""

    repository_id: int
    installation_id: int


@dataclass(frozen=True)
class Outcome:
    """What to do: whom to wake for which repositories, and what was asked for."""

    taken: Taken
    code: str = ""
    repositories: frozenset[int] = frozenset()
    wakes: frozenset[Wake] = frozenset()
    asked: Asked | None = None


FOREIGN_REPOSITORY: Final = "event.foreign_repository"
FOREIGN_INSTALLATION: Final = "event.foreign_installation"
FOREIGN_HEAD: Final = "event.foreign_head"


def admit(found: Event | Ignored, subscriptions: frozenset[Subscription]) -> Outcome:
    """Compare an event with what is governed. Nothing of it is believed but where to look.

    Refused: another repository, another installation, a run of a fork's commit.
    """
    if isinstance(found, Ignored):
        return Outcome(Taken.IGNORED, found.code)
    if not found.repository_id:
        mine = frozenset(one.repository_id for one in subscriptions if one.installation_id == found.installation_id)
        if not mine:
            return Outcome(Taken.REFUSED, FOREIGN_INSTALLATION)
        return Outcome(Taken.DONE, "", mine, found.wakes)
    subscription = next((one for one in subscriptions if one.repository_id == found.repository_id), None)
    if subscription is None:
        return Outcome(Taken.REFUSED, FOREIGN_REPOSITORY)
    if found.installation_id != subscription.installation_id:
        return Outcome(Taken.REFUSED, FOREIGN_INSTALLATION)
    if found.head_repository_id not in {0, found.repository_id}:
        return Outcome(Taken.REFUSED, FOREIGN_HEAD)
    return Outcome(Taken.DONE, "", frozenset({found.repository_id}), found.wakes, found.asked)
