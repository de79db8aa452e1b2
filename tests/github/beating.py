"""Simulated time: every lane's beat at its moments, and rows that are as old as if the time had passed. Nobody sleeps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pytest
from django.db.models import F

from handoffs import tasks, tasks_github
from handoffs.hosting import Side
from handoffs.models import (
    GitHubCircuit,
    GitHubRepository,
    GitHubRequest,
    Handoff,
    Notice,
    Projection,
    ProtectionWatch,
    WebhookDelivery,
    WorkflowRun,
)
from handoffs.tasks import advance, sweep_handoffs, sweep_staging
from handoffs.tasks_github import reconcile, sweep_failed_deliveries, sweep_github, take_deliveries
from tests.support.on_github import OnGitHub
from verdicts import tasks_projecting, tasks_publishing
from verdicts.tasks import sweep_verification
from verdicts.tasks_composing import compose_projections, sweep_commands
from verdicts.tasks_projecting import sweep_projections, sweep_requests
from verdicts.tasks_protection import sweep_protection
from verdicts.tasks_publishing import publish, sweep_gate_deliveries, sweep_publishing

# Between two beats: as in production for `make publishing`, else only as often as a minute shows a storm.
STEP: Final = 5.0 if os.environ.get("LEO_FAULTS") else 30.0
# What is asked for by the clock; everything else waits for something of these.
MOMENTS: Final[dict[Any, tuple[str, ...]]] = {
    GitHubRepository: (
        "created_at",
        *(f"{app}_{what}_at" for app in ("enforcer", "gate") for what in ("dirty", "looked", "next_try")),
    ),
    GitHubCircuit: ("failing_since", "next_try_at"),
    Handoff: ("lease_until", "next_try_at"),
    GitHubRequest: ("lease_until", "next_try_at"),
    Notice: ("lease_until", "next_try_at"),
    Projection: ("lease_until", "next_try_at", "looked_at"),
    ProtectionWatch: ("read_at",),
    WebhookDelivery: ("lease_until", "next_try_at"),
    WorkflowRun: ("tried_at",),
}
WAKES: Final[dict[str, Callable[..., object]]] = {
    "handoffs.tasks.advance": advance,
    "handoffs.tasks_github.reconcile": reconcile,
    "handoffs.tasks_github.take_deliveries": take_deliveries,
    "verdicts.tasks_publishing.publish": publish,
}


@dataclass
class Beat:
    """The beat of a portal on GitHub; a message to a worker of the same lane is heard at once, others cost a sweep."""

    on_github: OnGitHub
    second: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, on_github: OnGitHub, monkeypatch: pytest.MonkeyPatch) -> Beat:
        on_github.settings.GITHUB_POLL_SECONDS = 60.0
        waiting: list[tuple[Any, ...]] = []
        for module in (tasks, tasks_github, tasks_projecting, tasks_publishing):
            monkeypatch.setattr(module, "nudge", lambda *message: waiting.append(message))
        made = cls(on_github)
        made._waiting = waiting
        return made

    def __post_init__(self) -> None:
        self._waiting: list[tuple[Any, ...]] = []

    def run(self, seconds: float) -> None:
        """So much time, beat by beat."""
        end = self.second + seconds
        while self.second < end:
            self._pass(STEP)
            before = len(self.on_github.github.requests)
            self._lanes()
            self.asked[f"minute {int(self.second // 60)}"] += len(self.on_github.github.requests) - before

    def _pass(self, seconds: float) -> None:
        self.second += seconds
        self.on_github.github.clock.advance(seconds)
        for model, names in MOMENTS.items():
            model.objects.update(**{name: F(name) - timedelta(seconds=seconds) for name in names})

    def _lanes(self) -> None:
        is_fifth_minute = self.second % 300 < STEP
        with self.on_github.lane(Side.ENFORCER):
            for sweep in (
                sweep_github,
                sweep_staging,
                sweep_handoffs,
                sweep_verification,
                sweep_projections,
                sweep_requests,
            ):
                self._call(sweep, "handoffs.")
            if is_fifth_minute:
                self._call(sweep_failed_deliveries, "handoffs.")
        compose_projections()
        sweep_commands()
        with self.on_github.lane(Side.GATE):
            for sweep in (sweep_protection, sweep_publishing):
                self._call(sweep, "verdicts.tasks_publishing.")
            if is_fifth_minute:
                self._call(sweep_gate_deliveries, "verdicts.tasks_publishing.")

    def _call(self, sweep: Callable[[], object], lane: str) -> None:
        sweep()
        while self._waiting:
            name, *arguments = self._waiting.pop(0)
            if name.startswith(lane) and name in WAKES:
                WAKES[name](*arguments)
