"""What GitHub knows, before anything is done with it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.github.accounts import Account, App, Installation, Token
from tests.support.github.contract import Contract
from tests.support.github.events import Notifier
from tests.support.github.exchange import Incoming, Recorded
from tests.support.github.faults import Chaos, Limits
from tests.support.github.following import Following
from tests.support.github.hooks import Deliveries
from tests.support.github.oidc import Issuer
from tests.support.github.repositories import Repository
from tests.support.github.runs import WorkflowRun
from tests.support.github.smart_http import Push

if TYPE_CHECKING:
    from tests.support.github.world import GitHub


class Clock:
    """The wall clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@functools.cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    """The n-th key of this process: making one takes a tenth of a second, and no test minds having another's."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class State:
    """The lists and parts; the lock is held by whoever reads or changes them."""

    url: str
    api: str
    ghost: Account

    def __init__(self, folder: Path, contract: Contract | None) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.clock = Clock()
        self.started = self.clock.now()
        self.contract = contract or Contract()
        self.ids, self.keys, self.is_closed = 1000, 0, False
        self.accounts: list[Account] = []
        self.apps: list[App] = []
        self.installations: list[Installation] = []
        self.repositories: list[Repository] = []
        self.tokens: dict[str, Token] = {}
        self.former_names: dict[str, Repository] = {}
        self.manifests: dict[str, tuple[dict[str, Any], Account, datetime]] = {}
        self.requests: list[Recorded] = []
        self.callbacks: list[Callable[[Incoming], object]] = []
        self.errors: list[str] = []
        self.pushing: dict[str, Push] = {}
        self.hidden_runs: list[tuple[WorkflowRun, Mapping[str, str]]] = []
        self.runs_are_hidden = False
        self.bare_checks_count = True
        self.queue_names_group = False
        self.mergeability_is_late, self.computed = False, set[tuple[str, str]]()
        self.chaos, self.limits = Chaos(), Limits(self.itself)
        self.deliveries = Deliveries(self.itself)
        self.notify, self.follow = Notifier(self.itself), Following(self.itself)
        self.oidc = Issuer(self.itself, self.new_key())

    @property
    def itself(self) -> GitHub:
        """The whole that this is a part of."""
        return cast("GitHub", self)

    def new_id(self) -> int:
        with self.lock:
            self.ids += 1
            return self.ids

    def new_key(self) -> rsa.RSAPrivateKey:
        self.keys += 1
        return private_key(self.keys)
