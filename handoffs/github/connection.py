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
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from github import Auth, Github, GithubException, GithubIntegration
from github.Repository import Repository as RemoteRepository

from handoffs.forges.protocol import ForgeError

USER_AGENT: Final = "leoportal"
API_VERSION: Final = "2022-11-28"
PER_PAGE: Final = 100
SECONDARY_WAIT: Final = timedelta(seconds=60)  # "wait for at least one minute before retrying"
OUTAGE_WAIT: Final = timedelta(seconds=15)
LONGEST_WAIT: Final = timedelta(seconds=60)  # so that the end of an outage is seen as soon as any event that is lost
_OUTAGES: Final = frozenset({"github.unavailable", "github.unreachable"})
TOKEN_WAIT: Final = timedelta(seconds=5)  # a new token is asked for then
RESERVE: Final = 50  # requests of the hour that are left for what cannot wait
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_CODES: Final = {
    401: "github.unauthorized",
    404: "github.not_found",
    405: "github.not_mergeable",
    409: "github.conflict",
    422: "github.refused",
}


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


class Connection:
    """One identity at one GitHub. Installation tokens are fetched when needed and renewed before they end."""

    def __init__(self, api_url: str, identity: Installation | Token | Nobody, *, seconds: float = 10.0) -> None:
        refuse_plain_http(api_url)
        self.api_url = api_url.rstrip("/")
        self._seconds = seconds
        self._identity = identity
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
    def talking(self) -> Iterator[None]:
        """What is asked inside fails as `translated` says. A token that GitHub no longer takes is not used again.

        GitHub ends tokens early: a key was revoked, a permission changed, its clock is ahead of ours.
        """
        try:
            with translated():
                yield
        except ForgeError as error:
            if error.code != "github.unauthorized" or not self.is_separated:
                raise
            self._begin()
            raise ForgeError(error.code, error.detail, retry_in=TOKEN_WAIT) from None

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
        with self.talking():
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

        Raises: ForgeError("github.token_mode") for a token.
        """
        if not isinstance(self._identity, Installation):
            raise ForgeError("github.token_mode", "got a token, expected an App: a token has no webhook of its own")
        app = self._identity.app
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


def wait_after(error: ForgeError, *, away: timedelta) -> timedelta | None:
    """When GitHub may be asked again: as it says; in an outage after a quarter of the time it lasts, up to a minute."""
    if error.retry_in is None or error.code not in _OUTAGES:
        return error.retry_in
    return max(error.retry_in, min(away / 4, LONGEST_WAIT))


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Everything that can go wrong at GitHub, as a ForgeError with a stable code and when to come again."""
    try:
        yield
    except GithubException as error:
        raise _refusal(error) from None
    except requests.RequestException as error:
        detail = f"GitHub cannot be reached ({type(error).__name__}); it is asked again by itself"
        raise ForgeError("github.unreachable", detail, retry_in=OUTAGE_WAIT) from None


def _refusal(error: GithubException) -> ForgeError:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    said = _words(error)
    if error.status in {403, 429} and (wait := _limit_wait(headers, said)) is not None:
        return ForgeError("github.rate_limited", f"got {error.status}: {said}", retry_in=wait)
    if error.status >= 500:
        return ForgeError("github.unavailable", f"got {error.status}: {said}", retry_in=OUTAGE_WAIT)
    if error.status == 403:
        detail = f"got 403: {said}. Next: compare the App's permissions with docs/github.md"
        return ForgeError("github.forbidden", detail)
    return ForgeError(_CODES.get(error.status, "github.failed"), f"got {error.status}: {said}")


def _limit_wait(headers: Mapping[str, str], said: str) -> timedelta | None:
    """How long GitHub wants us to wait; None if this is no limit but a refusal."""
    if after := headers.get("retry-after"):
        return timedelta(seconds=int(after)) if after.isdecimal() else SECONDARY_WAIT
    if headers.get("x-ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset", "")
        left = datetime.fromtimestamp(int(reset), UTC) - datetime.now(UTC) if reset.isdecimal() else SECONDARY_WAIT
        return max(left, timedelta(seconds=1))
    return SECONDARY_WAIT if "rate limit" in said.lower() else None


def _words(error: GithubException) -> str:
    data = error.data
    words = data.get("message", "") if isinstance(data, dict) else str(data or error.message or "")
    details = data.get("errors") if isinstance(data, dict) else None
    if isinstance(details, list) and details:
        words = f"{words}: {'; '.join(str(item)[:200] for item in details[:5])}"
    return str(words)[:1000] or "nothing said"


def refuse_plain_http(url: str) -> None:
    """A token goes over TLS, or stays on this machine.

    Raises: ForgeError("github.plain_http"), ("github.address").
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise ForgeError("github.address", f"got {url[:200]!r}, expected an address like https://api.github.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ForgeError("github.plain_http", f"got {url[:200]}, expected https: tokens are sent there")
