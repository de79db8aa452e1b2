"""Three pull requests that live at the same time at GitHub, whose webhooks come whenever they like.

GitHub is a few facts here, which change between the portal's looks and during them; deliveries, marks, requests, looks
and rows are the product's own.
"""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from handoffs import following, reconciling
from handoffs.deliveries import _keep_request, mark_dirty
from handoffs.github.admission import Outcome, Subscription, admit
from handoffs.github.events import parse_event
from handoffs.github.mirror import Mirror
from handoffs.github.pulls import PullFacts
from handoffs.models import (
    GitHubApp,
    GitHubRepository,
    GitHubRequest,
    Handoff,
    PullRequest,
    RemotePull,
    WebhookDelivery,
    store_delivery,
)
from handoffs.tasks_github import reconcile, take_deliveries
from tests.github import events

START, FIRST, SECOND, CONFLICT, MERGED = (letter * 40 for letter in "a1234")
BASE, TREE, FOREIGN = "b" * 40, "d" * 40, 3
MERGED_AT: Final = datetime(2026, 11, 26, 5, tzinfo=UTC)


type Sent = tuple[str, str, bytes]


@dataclass(frozen=True)
class Step:
    """Something that happens to a pull request, and the event that GitHub sends about it."""

    change: Mapping[str, Any]
    event: str
    body: bytes


def pull_step(number: int, action: str, **change: Any) -> Step:
    return Step(change, "pull_request", events.pull(action, number=number, head=change.get("head_sha", START)))


def comment_step(number: int, text: str) -> Step:
    said = events.comment(text, remote_id=900 + number).replace(b'"number": 7', b'"number": %d' % number)
    return Step({}, "issue_comment", said)


def press_step(number: int, button: str) -> Step:
    pressed = events.check_run(
        "requested_action", remote_id=800, pulls=(number,), requested_action={"identifier": button}
    )
    return Step({}, "check_run", pressed)


# Two that were handed over, and one of somebody else's fork.
LIVES: Final[Mapping[int, tuple[Step, ...]]] = {
    1: (
        pull_step(1, "edited", base_ref="release"),
        comment_step(1, "/leo-verify PR-1"),
        pull_step(1, "closed", is_open=False),
        pull_step(1, "reopened", is_open=True, head_sha=SECOND),
        pull_step(1, "edited", base_ref="main"),
        pull_step(1, "synchronize", head_sha=CONFLICT),
    ),
    2: (
        pull_step(2, "edited", base_ref="release"),
        press_step(2, "explain"),
        pull_step(2, "synchronize", head_sha=FIRST),
        pull_step(2, "edited", base_ref="main"),
        pull_step(2, "closed", is_open=False),
    ),
    FOREIGN: (
        pull_step(FOREIGN, "opened", is_open=True),
        comment_step(FOREIGN, "/leo-status"),
        pull_step(FOREIGN, "synchronize", head_sha=FIRST),
        pull_step(FOREIGN, "closed", is_open=False, merge_sha=MERGED, merged_at=MERGED_AT),
    ),
}
END: Final = {
    "pulls": [(1, "needs-revision", CONFLICT, "main", TREE), (2, "closed", FIRST, "main", TREE)],
    "remote": [(1, CONFLICT, "main", True, ""), (2, FIRST, "main", False, ""), (3, FIRST, "main", False, MERGED)],
    "requests": [("action", 2, 800), ("command", 1, 901), ("command", FOREIGN, 903)],
    "unfinished": set(),
}


class Remote:
    """GitHub: its pull requests, what still happens to each, and the webhooks that are under way."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.pulls = {number: _facts(number) for number in (1, 2)}
        self.left = {number: list(steps) for number, steps in LIVES.items()}
        self.under_way: list[Sent] = []
        self.arrived: list[Sent] = []
        self.meanwhile: Callable[[list[Sent]], None] = list.clear  # another worker, during a look

    def happen(self) -> None:
        """The next thing that happens to one of them; its event is under way, once or several times."""
        number = self.rng.choice([number for number, steps in self.left.items() if steps])
        step = self.left[number].pop(0)
        self.pulls[number] = replace(self.pulls.get(number) or _facts(number), **step.change)
        delivery = str(uuid.UUID(int=self.rng.getrandbits(128)))
        for copy in range(self.rng.choice((1, 1, 1, 2, 3))):
            again = copy and self.rng.random() < 0.5  # the same bytes under a number of their own
            self.under_way.append((f"{delivery[:-1]}{copy}-again" if again else delivery, step.event, step.body))

    def arrive(self) -> None:
        """Any of those that are under way."""
        self.arrived.append(self.under_way.pop(self.rng.randrange(len(self.under_way))))

    @property
    def is_alive(self) -> bool:
        return any(self.left.values())

    @property
    def tip(self) -> str:
        """Of the protected branch."""
        return next((one.merge_sha for one in self.pulls.values() if one.merged_at), BASE)

    # --- what the portal reads, and what happens while it reads ---

    def open_pulls(self, *_: object) -> list[PullFacts]:
        read = [one for one in self.pulls.values() if one.is_open]
        if self.is_alive and self.rng.random() < 0.3:
            self.happen()
            if self.rng.random() < 0.5:
                self.arrive()
                self.meanwhile(self.arrived)
        return read

    def merged_lately(self, *_: object) -> list[PullFacts]:
        return [one for one in self.pulls.values() if one.merged_at]

    def one_pull(self, _connection: object, _name: str, number: int) -> PullFacts:
        return self.pulls[number]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """What is looked at is this, not a server; and no workflow runs there."""
        there = SimpleNamespace(
            refuse_spent_budget=lambda **_: None,
            repository_by_id=lambda _: SimpleNamespace(full_name="acme/payments"),
        )
        forge = SimpleNamespace(refresh=lambda: None, branch=lambda _: self.tip)
        merged = lambda _git, _base, head: "" if head == CONFLICT else TREE  # noqa: E731
        with (
            patch.object(reconciling, "connect", lambda *_: there),
            patch.object(reconciling, "github_forge", lambda _: forge),
            patch.object(reconciling, "open_pulls", self.open_pulls),
            patch.object(reconciling, "one_pull", self.one_pull),
            patch.object(reconciling, "merged_lately", self.merged_lately),
            patch.object(reconciling, "write_body", lambda *_: None),
            patch.object(following, "_merged", merged),
        ):
            yield


def _facts(number: int) -> PullFacts:
    source = 99 if number == FOREIGN else 4711
    return PullFacts(number, "Net", "", "feature/net", START, source, "main", 77, True, "", None)


@dataclass
class Scene:
    """A governed repository with two pull requests that were handed over, which can be put back to its beginning."""

    hosted: GitHubRepository
    began: dict[int, dict[str, Any]] = field(default_factory=dict)

    def set(self) -> None:
        """Two handoffs with their pull requests, verified."""
        now = timezone.now()
        Mirror(Path(self.hosted.repository.path), "https://github.invalid/acme/payments.git", str).make()
        for number in (1, 2):
            handoff = Handoff.objects.create(
                repository=self.hosted.repository, staging_branch=f"staging/codex-{number}", staging_commit=f"{number}" * 40,
                status="received", received_at=now, moved_at=now,
            )  # fmt: skip
            row = PullRequest.objects.create(
                repository=self.hosted.repository, number=number, handoff=handoff, title="Net", base_ref="main",
                base_sha=BASE, head_ref=f"feature/{number}", head_sha=START, merge_tree=TREE, opened_at=now, moved_at=now,
            )  # fmt: skip
            self.began[row.pk] = {
                key: value for key, value in PullRequest.objects.filter(pk=row.pk).values().get().items() if key != "id"
            }

    def put_back(self) -> None:
        """As it was before anything happened; somebody looked just now."""
        for pk, values in self.began.items():
            PullRequest.objects.filter(pk=pk).update(**values)
        for model in (RemotePull, GitHubRequest, WebhookDelivery):
            model.objects.all().delete()
        GitHubRepository.objects.update(
            enforcer_dirty_at=None,
            gate_dirty_at=None,
            enforcer_next_try_at=None,
            enforcer_looked_at=Now(),
            tip_sha=BASE,
        )

    def take(self, arrived: list[Sent], *, is_stored: bool) -> None:
        """The worker does what these deliveries ask for, from its inbox or (quicker) as it decides over each."""
        if is_stored:
            connection.ensure_connection()
            for one in arrived:
                store_delivery(connection.connection, GitHubApp.ENFORCER.value, *one)
            take_deliveries()
        for outcome in [] if is_stored else [decided(event, body) for _, event, body in arrived]:
            mark_dirty(outcome.repositories, outcome.wakes)
            if outcome.asked is not None:
                _keep_request(4711, outcome.asked)
        arrived.clear()

    def look(self) -> bool:
        """The enforcer's look, if one is due; whether it was."""
        due = GitHubRepository.objects.enforcer_due(seconds=3600).exists()
        return due and reconcile(self.hosted.repository_id) == "done"

    def end(self) -> dict[str, Any]:
        """Everything that is left."""
        pulls = PullRequest.objects.order_by("number").values_list(
            "number", "status", "head_sha", "base_ref", "merge_tree"
        )
        remote = RemotePull.objects.order_by("number").values_list(
            "number", "head_sha", "base_ref", "is_open", "merge_sha"
        )
        asked = GitHubRequest.objects.order_by("kind", "pull_number").values_list("kind", "pull_number", "remote_id")
        return {
            "pulls": list(pulls),
            "remote": list(remote),
            "requests": list(asked),
            "unfinished": set(WebhookDelivery.objects.values_list("status", "code")) - {("done", "")},
        }


@functools.cache
def decided(event: str, body: bytes) -> Outcome:
    """What the product decides over a delivery; nothing that was there before makes a difference."""
    return admit(parse_event(event, body), frozenset({Subscription(4711, 31)}))


def interleave(scene: Scene, rng: random.Random, *, is_stored: bool) -> dict[str, Any]:
    """One interleaving from its beginning to its end: things happen, webhooks arrive, workers take them and look."""
    scene.put_back()
    remote = Remote(rng)
    remote.meanwhile = functools.partial(scene.take, is_stored=False)
    with remote.in_place():
        while remote.is_alive or remote.under_way:
            chance = rng.random()
            if remote.is_alive and chance < 0.4:
                remote.happen()
            elif remote.under_way and chance < 0.8:
                remote.arrive()
            elif chance < 0.9:
                scene.take(remote.arrived, is_stored=is_stored)
            else:
                scene.look()
        scene.take(remote.arrived, is_stored=is_stored)
        while scene.look():
            pass
    return scene.end()
