"""The canary: a pull request that nobody judged has to be refused, and so has a push past pull requests.

It carries an empty commit, so that what lands if nothing blocks changes no file. It is closed and its branch deleted
whatever happens. Only words of GitHub that name the rules count as a refusal: a conflict or an error proves nothing.
Source: GitHub REST API: git commits and refs, pulls, "Merge a pull request".
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection
from handoffs.github.live import Expected

PREFIX: Final = "leo/canary-"
TITLE: Final = "leoportal canary: this has to be refused"
BODY: Final = (
    "Opened by `leo repo govern` to prove that the gates block. Nobody judged it. It is closed again in a moment; "
    "if it merges, the repository is not protected."
)
WAITS: Final = 20  # looks at whether GitHub has computed the pull request's state
# What the rules say, never a conflict, a draft or a moved head; of a merge, only that checks are missing.
_NO_CHECKS: Final = re.compile(r"(?is)required status checks?\b.{0,300}\b(expected|pending|failing|failed)")
_NO_PUSH: Final = re.compile(
    r"(?i)through a pull request|through the merge queue|protected branch|required status check"
)
# HTTP's own ways to say no: forbidden, not allowed, conflict, unprocessable.
_REFUSALS: Final = frozenset({403, 405, 409, 422})


@dataclass(frozen=True)
class Tried:
    """One attempt to get past the rules. `status` is HTTP's."""

    what: str
    status: int
    said: str
    is_refused: bool


@dataclass(frozen=True)
class Flight:
    """What became of a canary. `has_landed`: its commit is on the protected branch."""

    number: int
    head_sha: str
    tried: tuple[Tried, ...]
    has_landed: bool
    left_behind: tuple[str, ...]

    @property
    def is_refused(self) -> bool:
        """Whether every attempt was refused by a rule, and nothing landed."""
        return not self.has_landed and len(self.tried) == 2 and all(one.is_refused for one in self.tried)


class _Canary:
    """One canary's calls. Everything it made is remembered, so that it can be taken away."""

    def __init__(self, connection: Connection, full_name: str, expected: Expected, say: Callable[[str], None]) -> None:
        self._connection, self._at, self._expected, self._say = connection, f"/repos/{full_name}", expected, say
        self.branch = f"{PREFIX}{secrets.token_hex(6)}"
        self.number = 0
        self.head = ""
        self.left_behind: list[str] = []

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._connection.request(method, f"{self._at}{path}", body).data

    def tip(self) -> str:
        return str(self.ask("GET", f"/git/ref/heads/{quote(self._expected.branch)}")["object"]["sha"])

    def open(self) -> None:
        base = self.tip()
        tree = str(self.ask("GET", f"/git/commits/{base}")["tree"]["sha"])
        commit = self.ask("POST", "/git/commits", {"message": TITLE, "tree": tree, "parents": [base]})
        self.head = str(commit["sha"])
        self.ask("POST", "/git/refs", {"ref": f"refs/heads/{self.branch}", "sha": self.head})
        pull = {"title": TITLE, "body": BODY, "head": self.branch, "base": self._expected.branch}
        self.number = int(self.ask("POST", "/pulls", pull)["number"])
        self._say(f"canary: pull request {self.number} from {self.branch} is open")

    def wait(self, pause: Callable[[], None]) -> str:
        """Until GitHub has computed whether it may be merged; what it says then."""
        state = "unknown"
        for _ in range(WAITS):
            found = self.ask("GET", f"/pulls/{self.number}")
            state = str(found.get("mergeable_state", "unknown"))
            if found.get("mergeable") is not None and state != "unknown":
                break
            pause()
        self._say(f"canary: GitHub calls it {state}")
        return state

    def try_merge(self) -> Tried:
        body = {"sha": self.head, "merge_method": self._expected.merge_method}
        return self._try("merge the pull request", _NO_CHECKS, "PUT", f"/pulls/{self.number}/merge", body)

    def try_push(self) -> Tried:
        path = f"/git/refs/heads/{quote(self._expected.branch)}"
        body = {"sha": self.head, "force": False}
        return self._try(f"push to {self._expected.branch}", _NO_PUSH, "PATCH", path, body)

    def _try(self, what: str, refusal: re.Pattern[str], method: str, path: str, body: dict[str, Any]) -> Tried:
        try:
            self.ask(method, path, body)
        except ForgeError as error:
            found = re.match(r"got (\d{3})", error.detail)
            status = int(found[1]) if found else 0
            if status not in _REFUSALS or error.retry_in is not None:
                raise
            tried = Tried(what, status, error.detail[:1000], bool(refusal.search(error.detail)))
            self._say(f"canary: {what}: {'refused' if tried.is_refused else 'not proved'}: {error.detail[:200]}")
            return tried
        self._say(f"canary: {what}: NOT REFUSED")
        return Tried(what, 200, "it was done", is_refused=False)

    def has_landed(self) -> bool:
        """Whether the canary's commit is on the protected branch now. What cannot be told counts as landed."""
        if not self.head:
            return False
        found = self.ask("GET", f"/compare/{self.head}...{quote(self._expected.branch)}")
        return found.get("status") not in {"behind", "diverged"}

    def clean(self) -> None:
        """Close and delete, each for itself: what did not work is said, and the next is done all the same."""
        if self.number:
            with self._leaving(f"pull request {self.number}"):
                self.ask("PATCH", f"/pulls/{self.number}", {"state": "closed"})
        if self.head:
            with self._leaving(f"branch {self.branch}"):
                self.ask("DELETE", f"/git/refs/heads/{quote(self.branch)}")

    @contextlib.contextmanager
    def _leaving(self, what: str) -> Iterator[None]:
        try:
            yield
        except ForgeError as error:
            if error.code != "github.not_found" and "does not exist" not in error.detail:
                self.left_behind.append(f"{what} ({error.code})")


def fly_canary(
    connection: Connection,
    full_name: str,
    expected: Expected,
    *,
    say: Callable[[str], None],
    pause: Callable[[], None],
) -> Flight:
    """Try to get past the rules with an administrator's rights. Nothing is left there, whatever happens.

    Raises: ForgeError when GitHub stops answering; also then it was tried to take everything away.
    """
    canary = _Canary(connection, full_name, expected, say)
    tried: list[Tried] = []
    has_landed = False
    try:
        canary.open()
        canary.wait(pause)
        tried.append(canary.try_merge())
        if tried[-1].status != 200:
            tried.append(canary.try_push())
        has_landed = any(one.status == 200 for one in tried) or canary.has_landed()
    finally:
        canary.clean()
    return Flight(canary.number, canary.head, tuple(tried), has_landed, tuple(canary.left_behind))
