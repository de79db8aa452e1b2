"""Waking a worker for many things at once: the first press rings, those that follow within a moment ring once more.

A request that told the broker itself would take twice as long (`make bench ARGS=goal10`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

QUIET_SECONDS: Final = 0.2


class Doorbell:
    """Rings in a thread of its own, at most five times a second. Whoever is not woken is woken by the sweep."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._pressed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def press(self) -> None:
        """Have it rung soon."""
        if self._pressed.is_set():
            return
        with self._lock:
            self._pressed.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        quiet = threading.Event()  # never set
        while self._pressed.wait():
            self._pressed.clear()
            self._ring()
            quiet.wait(QUIET_SECONDS)
