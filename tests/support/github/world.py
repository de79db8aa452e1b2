"""GitHub as one object: what there is, and how a test makes it."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.support.github import api
from tests.support.github.accounts import GITHUB_ACTIONS
from tests.support.github.contract import Contract
from tests.support.github.exchange import API, Incoming, Recorded
from tests.support.github.installing import Apps
from tests.support.github.peopling import People
from tests.support.github.runs import WorkflowRun, appear
from tests.support.github.server import Handler, Server

ACTIONS_PERMISSIONS = dict.fromkeys(("actions", "checks", "contents", "deployments", "issues", "packages", "pull_requests", "statuses"), "write")  # fmt: skip
assert api.LOADED, "the endpoints declare themselves when they are imported"


class GitHub(People, Apps):
    """See the package's docstring for how to use it."""

    def __init__(self, folder: Path, contract: Contract | None = None) -> None:
        super().__init__(folder, contract)
        handler = type("GitHubHandler", (Handler,), {"github": self})
        self.server = Server(("127.0.0.1", 0), handler)
        self.server.github = self
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"
        self.api = f"{self.url}{API}"
        self.ghost = self.create_user("ghost")
        self.queue_bot = self.account("github-merge-queue[bot]", "Bot")
        self.actions_bot = self.create_app("github-actions", ACTIONS_PERMISSIONS, id=GITHUB_ACTIONS).bot

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), name="github", daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.is_closed = True
        with self.deliveries.condition:
            self.deliveries.condition.notify_all()
        self.server.shutdown()
        self.server.server_close()
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raises: AssertionError where a request or an answer broke GitHub's description, or the stand-in crashed."""
        assert not self.errors, "the stand-in crashed:\n" + "\n".join(self.errors)
        self.contract.check()

    # --- numbers, records ---

    def record(self, incoming: Incoming) -> Recorded:
        with self.lock:
            incoming.number = len(self.requests)
            path = incoming.path.removeprefix(API)
            record = Recorded(
                incoming.number,
                incoming.method,
                path,
                incoming.query,
                "anonymous",
                incoming.body,
                headers=incoming.headers,
            )
            self.requests.append(record)
            return record

    def crashed(self) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.errors.append(traceback.format_exc())

    def before_request(self, callback: Callable[[Incoming], object]) -> Callable[[], None]:
        """Call this before each request is looked at (`.method`, `.path` with /api/v3, `.number`, `.body`).

        It runs in the request's own thread, without the lock: it may move a head. The result takes it out again.
        """
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def wait(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until something holds. Raises: AssertionError."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come to pass"
            time.sleep(0.01)
        return found

    # --- workflows ---

    def show_runs(self) -> list[WorkflowRun]:
        """Runs dispatched while `runs_are_hidden` appear now."""
        with self.lock:
            shown, self.hidden_runs = self.hidden_runs, []
            for run, jobs in shown:
                appear(run, jobs)
            return [run for run, _ in shown]
