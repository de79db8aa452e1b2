"""Start in order, watch, restart, stop in the opposite order.

A service that dies is started again after a growing pause. One that keeps dying ends the whole stack with its
last lines: half a portal that looks alive is worse than none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from leoportal.stack.process import Command, Process, StackError, StopRequestedError, never, wait_until

HEALTHY_SECONDS: Final = 10.0
MAX_DEATHS: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.1
TICK_SECONDS: Final = 0.2


class Service(Protocol):
    """Something that is started, may die, and is stopped. `process` is None before the first start."""

    @property
    def name(self) -> str:
        """What the terminal calls it."""

    @property
    def process(self) -> Process | None:
        """The process that was started last."""

    @property
    def is_running(self) -> bool:
        """Whether it lives."""

    def start(self, *, is_interrupted: Callable[[], bool] = never) -> None:
        """Start it, and return when it is ready for those that need it."""

    def stop(self) -> None:
        """Stop it, and return when it is gone."""

    def describe(self) -> str:
        """One line for the terminal."""


class Child:
    """A command as a service."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.process: Process | None = None

    @property
    def name(self) -> str:
        """What the terminal calls it."""
        return self.command.name

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.process is not None and self.process.is_running

    def start(self, *, is_interrupted: Callable[[], bool] = never) -> None:
        """Spawn it; what is left of an earlier run is killed first."""
        if is_interrupted():
            raise StopRequestedError
        if self.process is not None:
            self.process.kill()
        self.process = Process(self.command)

    def stop(self) -> None:
        """Ask, wait, kill."""
        if self.process is not None:
            self.process.stop()

    def describe(self) -> str:
        """One line for the terminal."""
        return f"{self.name} (pid {self.process.pid if self.process else '-'})"


@dataclass
class _Health:
    started: float
    deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Tiers of services. A later tier needs the earlier ones, so it is stopped before them."""

    def __init__(
        self,
        say: Callable[[str], None],
        is_interrupted: Callable[[], bool] = never,
        *,
        pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._say = say
        self._is_interrupted = is_interrupted
        self._tiers: list[Sequence[Service]] = []
        self._health: dict[str, _Health] = {}

    def start(self, *services: Service) -> None:
        """Start one more tier. Each service is known before it starts, so that a failure leaves nothing running."""
        self._tiers.append(services)
        for service in services:
            service.start(is_interrupted=self._is_interrupted)
            self._health[service.name] = _Health(started=time.monotonic())

    @property
    def services(self) -> tuple[Service, ...]:
        """Everything that was started, in that order."""
        return tuple(service for tier in self._tiers for service in tier)

    def watch(self) -> None:
        """Look once at everything and start again what has died.

        Raises: StackError supervisor.gave_up after MAX_DEATHS deaths in a row, each within HEALTHY_SECONDS.
        """
        for service in self.services:
            if not service.is_running:
                self._revive(service, self._health[service.name])

    def wait(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Watch until `condition` holds; whether it did in time.

        Raises: StackError as `watch`; StopRequestedError.
        """
        deadline = time.monotonic() + seconds
        while not wait_until(
            condition,
            seconds=min(TICK_SECONDS, deadline - time.monotonic()),
            is_interrupted=self._is_interrupted,
            pause_seconds=0.05,
        ):
            self.watch()
            if time.monotonic() >= deadline:
                return False
        return True

    def stop(self) -> None:
        """Stop the tiers, last first; inside a tier all at once."""
        for tier in reversed(self._tiers):
            for service in tier:
                if service.process is not None:
                    service.process.ask_to_stop()
            for service in tier:
                was_running = service.is_running
                service.stop()
                if was_running and service.process is not None and service.process.was_killed:
                    self._say(f"{service.name} did not stop when asked and was killed")
        self._tiers.clear()

    def _revive(self, service: Service, health: _Health) -> None:
        now = time.monotonic()
        if health.restart_at is None:
            health.deaths = 1 if now - health.started > HEALTHY_SECONDS else health.deaths + 1
            self._tell_death(service, health.deaths)
            health.restart_at = now + self._pause_seconds * 2 ** (health.deaths - 1)
        if now >= health.restart_at:
            service.start(is_interrupted=self._is_interrupted)
            health.started, health.restart_at = time.monotonic(), None
            self._say(f"{service.name} runs again")

    def _tell_death(self, service: Service, deaths: int) -> None:
        process = service.process
        code = process.exit_code if process is not None else None
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        lines = process.last_lines() if process is not None else ""
        log = process.command.log if process is not None else "-"
        if deaths > MAX_DEATHS:
            raise StackError(
                "supervisor.gave_up",
                f"{service.name} {how}, {deaths} times in a row. Its last lines:\n{lines}\n"
                f"  Next: read {log}, repair the cause, start again.",
            )
        self._say(f"{service.name} {how}; its log is {log}" + (f", its last lines:\n{lines}" if lines else ""))
