"""An App's own webhook deliveries, as GitHub keeps them for three days: which failed, and having them sent again.

Source: GitHub REST API, "GitHub App webhooks": list deliveries for an app webhook, redeliver a delivery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from github import GithubIntegration
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import PER_PAGE
from handoffs.github.failures import translated

PATH: Final = "/app/hook/deliveries"
MOST_PAGES: Final = 20
MOST_ATTEMPTS: Final = 8
FIRST_WAIT: Final = timedelta(minutes=1)
_NEXT: Final = re.compile(r'[?&]cursor=([^&>"]{1,200})[^<>"]{0,500}>; rel="next"')


class Attempt(BaseModel):
    """One attempt to deliver an event. The `guid` is the event's, the same for each attempt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[int, Field(gt=0, strict=True)]
    guid: Annotated[str, Field(max_length=64, strict=True)]
    delivered_at: AwareDatetime
    status_code: Annotated[int, Field(strict=True)]


@dataclass(frozen=True)
class Failed:
    """An event that none of its attempts delivered. `attempt_id` is the newest one's."""

    guid: str
    attempt_id: int
    attempts: int
    last_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether it is time for the next attempt: each wait is twice as long, and not for ever."""
        return self.attempts < MOST_ATTEMPTS and now - self.last_at >= FIRST_WAIT * 2**self.attempts


def list_attempts(app: GithubIntegration, *, since: datetime) -> Iterator[Attempt]:
    """Failed attempts since a moment, the newest first; an older Enterprise Server lists those that went well, too.

    Raises: ForgeError.
    """
    cursor = ""
    for _ in range(MOST_PAGES):
        parameters = {"per_page": PER_PAGE, "status": "failure"} | ({"cursor": cursor} if cursor else {})
        headers, data = _request(app, "GET", PATH, parameters)
        for item in data if isinstance(data, list) else []:
            attempt = _read(item)
            if attempt.delivered_at < since:
                return
            yield attempt
        found = _NEXT.search(headers.get("link", ""))
        if found is None:
            return
        cursor = found[1]


def find_failed(attempts: Iterable[Attempt]) -> list[Failed]:
    """The events that no attempt delivered, the oldest first."""
    by_guid: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_guid.setdefault(attempt.guid, []).append(attempt)
    found = []
    for guid, tried in by_guid.items():
        if not any(200 <= attempt.status_code < 300 for attempt in tried):
            newest = max(tried, key=lambda attempt: (attempt.delivered_at, attempt.id))
            found.append(Failed(guid, newest.id, len(tried), newest.delivered_at))
    return sorted(found, key=lambda failed: failed.last_at)


def deliver_again(app: GithubIntegration, failed: Failed) -> None:
    """Have GitHub try once more.

    Raises: ForgeError.
    """
    _request(app, "POST", f"{PATH}/{failed.attempt_id}/attempts", {})


def _request(app: GithubIntegration, method: str, path: str, parameters: dict[str, Any]) -> tuple[dict[str, str], Any]:
    with translated():
        headers, data = app.requester.requestJsonAndCheck(method, path, parameters=parameters or None)
    return {name.lower(): str(value) for name, value in headers.items()}, data


def _read(item: object) -> Attempt:
    try:
        return Attempt.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ForgeError("github.unexpected", f"a webhook delivery as GitHub lists it: {said}") from None
