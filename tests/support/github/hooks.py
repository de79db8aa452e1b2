"""Webhooks: real requests with real signatures, delivered as they come or as a test lets them go."""

from __future__ import annotations

import hmac
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.support.github.accounts import App, Installation
    from tests.support.github.repositories import Repository
    from tests.support.github.world import GitHub

# "Your server should respond with a 2XX response within 10 seconds of receiving a webhook delivery."
PATIENCE = 10.0


@dataclass(eq=False)
class Hook:
    """A repository's own webhook."""

    repository: Repository
    id: int
    url: str
    secret: str
    events: list[str]
    created_at: datetime
    active: bool = True


@dataclass(eq=False)
class Delivery:
    """One attempt at handing one event to one receiver. A redelivery is another one with the same `guid`."""

    id: int
    guid: str
    event: str
    action: str | None
    body: bytes
    target: App | Hook
    installation: Installation | None
    repository: Repository | None
    made_at: datetime
    redelivery: bool = False
    status_code: int = 0
    status: str = ""
    duration: float = 0.0
    answer: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)
    delivered_at: datetime | None = None

    @property
    def secret(self) -> str:
        return self.target.secret if isinstance(self.target, Hook) else self.target.webhook_secret

    @property
    def url(self) -> str:
        return self.target.url if isinstance(self.target, Hook) else self.target.webhook_url

    def json(self) -> Any:
        return json.loads(self.body)

    def headers(self) -> dict[str, str]:
        kind = "repository" if isinstance(self.target, Hook) else "integration"
        owner = self.target.repository.id if isinstance(self.target, Hook) else self.target.id
        shown = {
            "Accept": "*/*", "User-Agent": "GitHub-Hookshot/0000000", "Content-Type": "application/json",
            "X-GitHub-Delivery": self.guid, "X-GitHub-Event": self.event, "X-GitHub-Hook-ID": str(self.target.id),
            "X-GitHub-Hook-Installation-Target-ID": str(owner), "X-GitHub-Hook-Installation-Target-Type": kind,
        }  # fmt: skip
        if self.secret:
            for name, digest in (("X-Hub-Signature", "sha1"), ("X-Hub-Signature-256", "sha256")):
                shown[name] = f"{digest}={hmac.new(self.secret.encode(), self.body, digest).hexdigest()}"
        return shown


class Deliveries:
    """Every delivery ever made is in `log`; what waits to be sent in `pending`.

    By default they are sent by one thread, in order. ``hold()`` stops that until ``release()``; ``drop`` loses them.
    """

    def __init__(self, github: GitHub) -> None:
        self.github = github
        self.log: list[Delivery] = []
        self.pending: list[Delivery] = []
        self.patience = PATIENCE
        self.is_held = False
        self.is_lost: Callable[[Delivery], bool] = lambda _: False
        self.busy = 0
        self.condition = threading.Condition()
        self.thread: threading.Thread | None = None

    def add(self, delivery: Delivery) -> None:
        with self.condition:
            self.log.append(delivery)
            if self.is_lost(delivery):
                self.done(delivery, 502, "dropped by the test", 0.0)
                return
            self.pending.append(delivery)
            self.condition.notify_all()
            if self.thread is None:
                self.thread = threading.Thread(target=self.work, name="github-deliveries", daemon=True)
                self.thread.start()

    def work(self) -> None:
        while True:
            with self.condition:
                while not self.github.is_closed and (self.is_held or not self.pending):
                    self.condition.wait(0.5)
                if self.github.is_closed:
                    return
                delivery = self.pending.pop(0)
                self.busy += 1
            try:
                self.send(delivery)
            finally:
                with self.condition:
                    self.busy -= 1
                    self.condition.notify_all()

    # --- what a test says ---

    def hold(self) -> None:
        """From now on deliveries wait in `pending`."""
        self.is_held = True

    def release(self, order: Iterable[Delivery] | None = None, *, copies: int = 1) -> list[Delivery]:
        """Send what is held, in this order (default: as made), each so many times, and wait for the answers.

        What `order` leaves out stays held. Afterwards deliveries are still held: `resume()` ends that.
        """
        chosen = list(self.pending) if order is None else list(order)
        with self.condition:
            self.pending = [one for one in self.pending if one not in chosen]
        for delivery in chosen:
            for _ in range(copies):
                self.send(delivery)
        return chosen

    def resume(self) -> None:
        """Send what is held and everything after it by itself again."""
        with self.condition:
            self.is_held = False
            self.condition.notify_all()

    def discard(self) -> list[Delivery]:
        """Lose what is held."""
        with self.condition:
            lost, self.pending = self.pending, []
        for delivery in lost:
            self.done(delivery, 502, "dropped by the test", 0.0)
        return lost

    def drop(self, condition: Callable[[Delivery], bool] = lambda _: True) -> None:
        """Lose each new delivery for which this holds; `deliver_all()` ends it."""
        self.is_lost = condition

    def deliver_all(self) -> None:
        self.is_lost = lambda _: False

    def settle(self, seconds: float = 10.0) -> None:
        """Wait until nothing is on its way. Raises: AssertionError when it takes longer."""
        end = time.monotonic() + seconds
        with self.condition:
            while self.busy or (self.pending and not self.is_held):
                assert time.monotonic() < end, f"{len(self.pending)} deliveries still wait"
                self.condition.wait(0.1)

    def redeliver(self, delivery: Delivery) -> Delivery:
        """As the button does it: the same body and guid, once more."""
        again = Delivery(
            self.github.new_id(), delivery.guid, delivery.event, delivery.action, delivery.body, delivery.target,
            delivery.installation, delivery.repository, self.github.clock.now(), redelivery=True,
        )  # fmt: skip
        self.add(again)
        return again

    def named(self, event: str, action: str | None = None) -> list[Delivery]:
        return [one for one in self.log if one.event == event and action in {None, one.action}]

    # --- the wire ---

    def send(self, delivery: Delivery) -> None:
        """One attempt. Nothing that goes wrong is tried again: GitHub does not, either."""
        parts = urlsplit(delivery.url)
        began = time.monotonic()
        try:
            connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=self.patience)
            try:
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                connection.request("POST", path or "/", delivery.body, delivery.headers())
                answer = connection.getresponse()
                text = answer.read(100_000).decode(errors="replace")
                delivery.answer_headers = dict(answer.getheaders())
                self.done(delivery, answer.status, text, time.monotonic() - began)
            finally:
                connection.close()
        except TimeoutError:
            self.done(delivery, 504, "timed out", time.monotonic() - began)
        except OSError as error:
            self.done(delivery, 502, f"failed to connect to host: {error}", time.monotonic() - began)

    def done(self, delivery: Delivery, status: int, text: str, seconds: float) -> None:
        delivery.status_code, delivery.answer, delivery.duration = status, text, round(seconds, 2)
        delivery.status = (
            "OK"
            if 200 <= status < 300
            else text
            if status in {502, 504} and text
            else f"Invalid HTTP Response: {status}"
        )
        delivery.delivered_at = self.github.clock.now()


def make(github: GitHub, event: str, payload: dict[str, Any], target: App | Hook, **of: Any) -> None:
    """Put one event for one receiver in the queue."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    github.contract.check_event(event, payload)
    delivery = Delivery(
        github.new_id(), str(uuid.uuid4()), event, payload.get("action"), body, target,
        of.get("installation"), of.get("repository"), github.clock.now(),
    )  # fmt: skip
    github.deliveries.add(delivery)
