"""The portal's own guard: the database may never be behind what the log's signer signed.

The signer raises an alarm by itself; this one also holds when no signer runs. Each process compares before its first
act and each minute, a task of the beat does so for all. Not checked here: witnesses, whom the signer asks.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from audit.canonical import JsonError
from audit.checkpoint import parse_checkpoint
from audit.covering import open_alarms
from audit.events import AuditError
from audit.keeping import epoch_number, log_vkeys
from audit.models import TreeHead
from audit.notes import NoteError
from audit.sequencing import newest_head
from audit.signer import read_note

NEXT: Final = "nothing is done until two operators open a new epoch (docs/trail.md)"
MEMORY: Final = re.compile(r"log-signed-([1-9][0-9]*)\.json")


@dataclass(frozen=True)
class Trouble:
    """Why nothing is done: a stable code, what was seen, and what ends it."""

    code: str
    detail: str
    next: str = NEXT


def compare_with_signer() -> Trouble | None:
    """What is wrong with the database beside the newest checkpoint in the signer's file; None also without a file.

    A file that cannot be read, or whose signature does not hold, is trouble, too: nobody knows then.
    """
    found = signed_epochs()
    if not found:
        return None
    number = found[-1]
    here = epoch_number()
    if number < here:
        return None  # a new epoch was opened, and its signer has not signed yet
    if number > here:
        return Trouble("log.rollback", f"the database is in epoch {here}, the signer has signed epoch {number}")
    try:
        note = read_note(settings.LOG_KEY_FILE.with_name(f"log-signed-{number}.json"))
        note.verify(log_vkeys())
        signed = parse_checkpoint(note.text)
    except PermissionError:
        return None  # the signer keeps it to itself; it and the witnesses look
    except (NoteError, JsonError, OSError, KeyError, TypeError, ValueError) as error:
        return Trouble("log.signer_file", f"the signer's file of epoch {number} cannot be relied on: {error}")
    head = newest_head()
    size = head.size if head else 0
    if size < signed.size:
        return Trouble("log.rollback", f"the log has {size} leaves, {signed.size} were signed")
    same = TreeHead.objects.filter(size=signed.size).first()
    if signed.size and (same is None or bytes(same.root) != signed.root):
        return Trouble("log.rewritten", f"the root of the {signed.size} leaves that were signed is another one now")
    return None


def signed_epochs() -> list[int]:
    """The epochs the signer has a file of, in order."""
    folder = settings.LOG_KEY_FILE.parent
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, PermissionError):
        return []
    return sorted(int(match[1]) for match in map(MEMORY.fullmatch, names) if match)


class Guard:
    """What this process knows, and when it looked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks: tuple[Callable[[], Trouble | None], ...] = (compare_with_signer,)
        self.forget()

    def watch(self, look: Callable[[], Trouble | None]) -> None:
        """Look with this, too, from the next act on."""
        with self._lock:
            self._looks = tuple(dict.fromkeys((*self._looks, look)))
            self.forget()

    def forget(self) -> None:
        """Look again at the next act."""
        self._looked = -math.inf
        self._trouble: Trouble | None = None

    def look(self, *, is_now: bool = False) -> Trouble | None:
        """Compare, if the last time is a minute ago (GUARD_SECONDS)."""
        with self._lock:
            if is_now or time.monotonic() - self._looked >= settings.GUARD_SECONDS:
                self._trouble = next(filter(None, (look() for look in self._looks)), None)
                self._looked = time.monotonic()
            return self._trouble


guard: Final = Guard()


def log_trouble() -> Trouble | None:
    """Why nothing is done now: an alarm that is open, or what this process saw itself. For pages and readiness."""
    alarms = open_alarms()[:1]
    return Trouble(alarms[0].code, alarms[0].detail) if alarms else guard.look()


def refuse_in_trouble() -> None:
    """Refuse an act. Alarms are the database's to refuse (trigger `write_entry`). Raises: AuditError with its code."""
    if (trouble := guard.look()) is not None:
        raise AuditError(trouble.code, f"{trouble.detail}; {trouble.next}")
