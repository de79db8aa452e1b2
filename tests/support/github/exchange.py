"""One request and its answer, and how an endpoint refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from tests.support.github.accounts import Actor
    from tests.support.github.repositories import Repository
    from tests.support.github.world import GitHub

API = "/api/v3"
DOCS = "https://docs.github.com/rest"


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is not a success, with GitHub's body for it."""

    def __init__(self, status: int, message: str, *, errors: list[Any] | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> Answer:
        body: dict[str, Any] = {"message": self.message, "documentation_url": DOCS, "status": str(self.status)}
        if self.errors is not None:
            body["errors"] = self.errors
        return Answer(self.status, body, self.headers)


def not_found() -> Refusal:
    return Refusal(404, "Not Found")


def invalid(said: str = "Validation Failed", /, **error: Any) -> Refusal:
    """422: what GitHub says of a body it read and cannot take."""
    return Refusal(422, said, errors=[error] if error else [])


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Incoming:
    """What came in over the wire. `path` is still percent-encoded and begins with a slash."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    number: int = 0

    def json(self) -> Any:
        if not self.body:
            return {}
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refusal(400, "Problems parsing JSON") from None


@dataclass
class Call:
    """An API request on its way into an endpoint."""

    github: GitHub
    incoming: Incoming
    actor: Actor
    params: dict[str, str]
    given: Repository | None = None

    @property
    def repository(self) -> Repository:
        assert self.given is not None
        return self.given

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.incoming.query, keep_blank_values=True))

    @property
    def body(self) -> dict[str, Any]:
        read = self.incoming.json()
        if read is None:
            return {}
        if not isinstance(read, dict):
            raise Refusal(400, "Body should be a JSON object")
        return read

    def wanted(self, name: str, *kinds: type) -> Any:
        """A member of the body that has to be there, of one of the kinds."""
        value = self.body.get(name)
        if value is None:
            raise invalid(f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        if not isinstance(value, kinds or (str,)):
            raise invalid(f"Invalid request.\n\nFor 'properties/{name}', {json.dumps(value)} is not of the right type.")
        return value

    def number(self, name: str) -> int:
        value = self.params[name]
        if not value.isdigit():
            raise not_found()
        return int(value)


type Endpoint = Callable[[Call], Any]


@dataclass
class Recorded:
    """A request as it was answered, for the tests. `actor` is a login, `app/SLUG` (JWT), or ``anonymous``."""

    number: int
    method: str
    path: str
    query: str
    actor: str
    body: bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Page:
    """A list that is given out in pages. Shape: `key` the member it is under, beside ``total_count``; empty: bare."""

    items: list[Any]
    show: Any
    key: str = ""
    more: dict[str, Any] = field(default_factory=dict)
