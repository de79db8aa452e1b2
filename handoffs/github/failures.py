"""What goes wrong at GitHub, as errors with stable codes and when to come again.

Source: GitHub REST API, "Rate limits for the REST API", "Troubleshooting the REST API".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import requests
from github import GithubException

from handoffs.forges.protocol import ForgeError

SECONDARY_WAIT: Final = timedelta(seconds=60)  # "wait for at least one minute before retrying"
OUTAGE_WAIT: Final = timedelta(seconds=15)
LONGEST_WAIT: Final = timedelta(seconds=60)  # so that the end of an outage is seen as soon as any event that is lost
SILENT: Final = "github.silent"  # it is not asked, since it did not answer
OUTAGES: Final = frozenset({"github.unavailable", "github.unreachable"})
_CODES: Final = {
    401: "github.unauthorized",
    404: "github.not_found",
    405: "github.not_mergeable",
    409: "github.conflict",
    422: "github.refused",
}


def wait_after(error: ForgeError, *, away: timedelta) -> timedelta | None:
    """When GitHub may be asked again: as it says; in an outage after a quarter of the time it lasts, up to a minute."""
    if error.retry_in is None or error.code not in OUTAGES:
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
