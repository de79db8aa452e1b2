"""Talking to GitHub's API: one connection for one App's installation, or for a token. Its errors end here.

PyGithub makes every request, also those it has no method for. It retries nothing and waits for nobody: whoever calls
learns when to come again (`ForgeError.retry_in`) and gives its lease back meanwhile.
Source: GitHub REST API, "Authenticating as a GitHub App installation", "Rate limits for the REST API".
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from github import Auth, Github, GithubIntegration
from github.Repository import Repository as RemoteRepository

from handoffs.forges.protocol import ForgeError
from handoffs.github.failures import OUTAGES, translated

USER_AGENT: Final = "leoportal"
API_VERSION: Final = "2022-11-28"
PER_PAGE: Final = 100
TOKEN_WAIT: Final = timedelta(seconds=5)  # a new token is asked for then
RESERVE: Final = 50  # requests of the hour that are left for what cannot wait
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class App:
    """A GitHub App of ours: its number and its private key (PEM)."""

    app_id: int
    private_key: str


@dataclass(frozen=True)
class Installation:
    """An App where it is installed."""

    app: App
    number: int


@dataclass(frozen=True)
class Token:
    """A personal access token: for trying out. One token for both lanes separates nothing."""

    value: str


@dataclass(frozen=True)
class Nobody:
    """Nobody in particular: for what the address itself is the secret of."""


@dataclass(frozen=True)
class Budget:
    """What is left of the hour's requests, as GitHub last said. `limit` is -1 before it said anything."""

    remaining: int
    limit: int
    resets_at: datetime


class Breaker(Protocol):
    """What keeps many from asking a GitHub that does not answer; `handoffs.circuits` has the one of workers."""

    def admit(self, *, may_probe: bool) -> None:
        """Raises: ForgeError while it is another's turn to ask. `may_probe`: what comes of it will be told."""

    def answered(self) -> None:
        """GitHub answered."""

    def failed(self) -> None:
        """It did not."""


class Connection:
    """One identity at one GitHub. Installation tokens are fetched when needed and renewed before they end."""

    def __init__(
        self,
        api_url: str,
        identity: Installation | Token | Nobody,
        *,
        seconds: float = 10.0,
        breaker: Breaker | None = None,
    ) -> None:
        refuse_plain_http(api_url)
        self.api_url = api_url.rstrip("/")
        self._seconds = seconds
        self._identity = identity
        self._breaker = breaker
        self._is_watched = False
        self._begin()

    def _begin(self) -> None:
        match self._identity:
            case Installation(app, number):
                self._auth: Auth.Auth | None = Auth.AppAuth(app.app_id, app.private_key).get_installation_auth(number)
            case Token(value):
                self._auth = Auth.Token(value)
            case Nobody():
                self._auth = None
        self._github = Github(**self._options(self._auth))

    @contextlib.contextmanager
    def talking(self, *, is_asking: bool = True) -> Iterator[None]:
        """What is asked inside fails as `translated` says. A token that GitHub no longer takes is not used again.

        GitHub ends tokens early: a key was revoked, a permission changed, its clock is ahead of ours. `is_asking`: it
        is asked inside for certain, so that what comes of it says whether it answers.
        """
        try:
            with self._watched(is_asking=is_asking), translated():
                yield
        except ForgeError as error:
            if error.code != "github.unauthorized" or not self.is_separated:
                raise
            self._begin()
            raise ForgeError(error.code, error.detail, retry_in=TOKEN_WAIT) from None

    @contextlib.contextmanager
    def _watched(self, *, is_asking: bool) -> Iterator[None]:
        """Nothing is asked while it is another's turn to, and what comes of it is told: once, whatever is nested."""
        breaker = self._breaker
        if breaker is None or self._is_watched:
            yield
            return
        breaker.admit(may_probe=is_asking)
        self._is_watched = True
        try:
            yield
            if is_asking:
                breaker.answered()
        except ForgeError as error:
            if error.code in OUTAGES:
                breaker.failed()
            else:
                breaker.answered()
            raise
        finally:
            self._is_watched = False

    def _options(self, auth: Auth.Auth | None) -> dict[str, Any]:
        return {
            "auth": auth,
            "base_url": self.api_url,
            "timeout": math.ceil(self._seconds),
            "user_agent": USER_AGENT,
            "per_page": PER_PAGE,
            "retry": None,
            "seconds_between_requests": None,
            "seconds_between_writes": None,
            "lazy": True,
        }

    @property
    def is_separated(self) -> bool:
        """Whether this is an App of one lane, not a token that may do everything."""
        return isinstance(self._identity, Installation)

    @property
    def app_id(self) -> int:
        """The App that acts here; 0 for a token."""
        return self._identity.app.app_id if isinstance(self._identity, Installation) else 0

    @property
    def budget(self) -> Budget:
        """What is left of the hour's requests, by the last answer; nothing is asked for it."""
        requester = self._github.requester
        remaining, limit = requester.rate_limiting
        return Budget(int(remaining), int(limit), datetime.fromtimestamp(requester.rate_limiting_resettime or 0, UTC))

    def refuse_spent_budget(self, *, now: datetime) -> None:
        """Keep the last of the hour's requests for what cannot wait: sweeps ask this first.

        Raises: ForgeError("github.rate_limited") with when the hour ends.
        """
        budget = self.budget
        if 0 <= budget.remaining < RESERVE <= budget.limit and budget.resets_at > now:
            detail = f"got {budget.remaining} of {budget.limit} requests left, kept for what cannot wait"
            raise ForgeError("github.rate_limited", detail, retry_in=budget.resets_at - now)

    def token(self) -> str:
        """A token for git, valid for some minutes at least.

        Raises: ForgeError.
        """
        if self._auth is None:
            raise ForgeError("github.token_mode", "got nobody, expected an App or a token")
        with self.talking(is_asking=False):
            return self._auth.token

    def repository(self, full_name: str) -> RemoteRepository:
        """PyGithub's repository; nothing is asked yet. Use it inside `talking()`."""
        return self._github.get_repo(full_name)

    def repository_by_id(self, number: int) -> RemoteRepository:
        """PyGithub's repository, asked for by its number, which a rename and a transfer keep."""
        with self.talking():
            found = self._github.get_repo(number)
            found.complete()
            return found

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer:
        """One request that PyGithub has no method for, through PyGithub's own requester.

        `path` begins with "/". A 304 is an answer without data.
        Raises: ForgeError.
        """
        with self.talking():
            found, data = self._github.requester.requestJsonAndCheck(
                method,
                path,
                parameters=dict(parameters) if parameters else None,
                headers=dict(headers) if headers else None,
                input=body,
            )
        is_known = data is None and any(name.lower() == "if-none-match" for name in headers or ())
        return Answer(304 if is_known else 200, {name.lower(): str(value) for name, value in found.items()}, data)

    def as_app(self) -> GithubIntegration:
        """The App itself, for what belongs to no installation (its webhook's deliveries).

        Raises: ForgeError("github.token_mode") for a token, (SILENT) while GitHub is not asked.
        """
        if not isinstance(self._identity, Installation):
            raise ForgeError("github.token_mode", "got a token, expected an App: a token has no webhook of its own")
        app = self._identity.app
        if self._breaker is not None:
            self._breaker.admit(may_probe=False)
        return GithubIntegration(**self._options(Auth.AppAuth(app.app_id, app.private_key)))

    def close(self) -> None:
        """Close the connection's sockets."""
        self._github.close()


@dataclass(frozen=True)
class Answer:
    """What GitHub answered: status, headers with lower-case names, and the JSON (None for 304 and 204)."""

    status: int
    headers: Mapping[str, str]
    data: Any


def refuse_plain_http(url: str) -> None:
    """A token goes over TLS, or stays on this machine.

    Raises: ForgeError("github.plain_http"), ("github.address").
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise ForgeError("github.address", f"got {url[:200]!r}, expected an address like https://api.github.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ForgeError("github.plain_http", f"got {url[:200]}, expected https: tokens are sent there")
