"""What goes wrong on purpose: used-up limits, secondary limits, errors, slowness, connections cut."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.github.exchange import Refusal

if TYPE_CHECKING:
    from tests.support.github.accounts import Actor
    from tests.support.github.world import GitHub

HOUR = 3600


@dataclass
class Budget:
    limit: int
    used: int
    reset: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Used": str(self.used), "X-RateLimit-Reset": str(self.reset), "X-RateLimit-Resource": "core",
        }  # fmt: skip


class Limits:
    """One budget an hour for each installation, user, App (JWT) and for everybody unknown together."""

    def __init__(self, github: GitHub) -> None:
        self.github = github
        self.limit = 5000
        self.budgets: dict[str, Budget] = {}
        self.secondary: tuple[int, float, int] | None = None

    @staticmethod
    def key(actor: Actor) -> str:
        if actor.installation:
            return f"installation ID {actor.installation.id}"
        if actor.user:
            return f"user ID {actor.user.id}"
        return f"app ID {actor.app.id}" if actor.app else "127.0.0.1"

    def of(self, actor: Actor) -> Budget:
        now = int(self.github.clock.now().timestamp())
        key = self.key(actor)
        budget = self.budgets.get(key)
        if budget is None or budget.reset <= now:
            limit = self.limit if actor.token or actor.app else 60
            budget = self.budgets[key] = Budget(limit, 0, now + HOUR)
        return budget

    def use_up(self, actor: Actor, remaining: int = 0) -> None:
        """Leave so many requests until the hour is over."""
        budget = self.of(actor)
        budget.used = budget.limit - remaining

    def start_secondary(self, seconds: int, *, status: int = 403) -> None:
        """Too much at once: from now on so long every request is refused, with retry-after."""
        self.secondary = (seconds, self.github.clock.now().timestamp() + seconds, status)

    def check(self, actor: Actor) -> Budget:
        """Raises: Refusal 403 or 429."""
        if self.secondary:
            _, until, status = self.secondary
            left = until - self.github.clock.now().timestamp()
            if left > 0:
                text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
                raise Refusal(status, text, Retry_After=str(int(left) + 1))
            self.secondary = None
        budget = self.of(actor)
        if not budget.remaining:
            refusal = Refusal(403, f"API rate limit exceeded for {self.key(actor)}.")
            refusal.headers = budget.headers()
            raise refusal
        return budget


@dataclass
class Fault:
    """`kind`: a status like 502, ``reset`` or ``slow``. `after`: the effect happens, the answer is lost."""

    kind: int | str
    method: re.Pattern[str]
    path: re.Pattern[str]
    times: int | None
    after: bool
    seconds: float


class Chaos:
    """Faults that hit matching requests, in the order they were planted."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.lock = threading.Lock()

    def plant(
        self,
        kind: int | str,
        *,
        method: str = ".*",
        path: str = ".*",
        times: int | None = 1,
        after: bool = False,
        seconds: float = 0.0,
    ) -> Fault:
        """The next `times` requests (None: all) whose method and path match fail so. Path as ``/repos/…`` or ``/o/n.git/…``."""
        fault = Fault(kind, re.compile(method), re.compile(path), times, after, seconds)
        self.faults.append(fault)
        return fault

    def outage(self, status: int = 502) -> Fault:
        """Everything fails until `end()`."""
        return self.plant(status, times=None)

    def end(self) -> None:
        self.faults.clear()

    def hit(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times == 0 or not fault.method.fullmatch(method) or not fault.path.search(path):
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
