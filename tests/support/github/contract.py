"""Every request and answer against GitHub's OpenAPI description, every event against GitHub's schemas."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jsonschema_rs

from tests.support.corpora import CORPORA
from tests.support.described import UNCOMPARED, UNDESCRIBED
from tests.support.github.description import SUBSET, operation, package, whole_schema, widened

if TYPE_CHECKING:
    from tests.support.github.exchange import Answer, Incoming

EVENTS = CORPORA / "octokit-webhooks" / "payload-schemas" / "api.github.com"
# Where the description contradicts itself: docs/github-stand-in.md, "Corrections to the description".
LISTS_OF_LABELS = {"POST", "PUT"}
NOTICE = (
    "neither ../shared/corpora/github-openapi nor the npm package @octokit/openapi is here: "
    "what the stand-in for GitHub says is not compared with GitHub's own description"
)


@functools.cache
def validator(method: str, template: str, part: str) -> Any:
    """Shape: `part` ``request`` or a status. None: the description has no schema there."""
    found = operation(method, template)
    if found is None:
        return None
    one, description = found
    if part == "request":
        content = one.get("requestBody", {}).get("content", {})
    else:
        answer = one["responses"].get(part, {})
        if "$ref" in answer:
            answer = description["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
        content = answer.get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if not schema:
        return None
    whole = whole_schema(schema, description)
    return jsonschema_rs.validator_for(whole if part == "request" else widened(whole))


@functools.cache
def parameters(method: str, template: str) -> dict[str, Any]:
    """The query parameters an operation knows, with a validator for each."""
    found = operation(method, template)
    if found is None:
        return {}
    one, description = found
    known = {}
    for each in one.get("parameters", []):
        real = description["components"]["parameters"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        if real["in"] == "query":
            known[real["name"]] = jsonschema_rs.validator_for(whole_schema(real["schema"], description))
    return known


@functools.cache
def event_validator(event: str, action: str) -> Any:
    folder = EVENTS / event
    path = folder / f"{action}.schema.json" if action else folder / "event.schema.json"
    if not path.is_file():
        return None
    schema = json.loads(path.read_bytes())
    base = "https://webhooks.example/"
    names = {f"{base}common/{one.name}": one for one in sorted((EVENTS / "common").glob("*.json"))}
    shared = [(name, json.loads(one.read_bytes()) | {"$id": name}) for name, one in names.items()]
    registry = jsonschema_rs.Registry(shared)
    schema["$id"] = f"{base}{event}.{path.name}"
    return jsonschema_rs.validator_for(schema, registry=registry)


def first_error(check: Any, value: Any) -> str:
    """The deepest of what is wrong, short."""
    errors = list(check.iter_errors(value))
    if not errors:
        return ""
    error = max(errors, key=lambda one: len(one.instance_path))
    return f"{'.'.join(str(part) for part in error.instance_path) or 'the body'}: {error.message[:300]}"


class Contract:
    """Shape: `violations` what broke the description, `undescribed` what it does not hold."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.undescribed: set[str] = set()
        self.is_there = SUBSET.is_file() or bool(package())
        self.answers_only = False

    @contextlib.contextmanager
    def ignoring_requests(self) -> Iterator[None]:
        """A test sends what GitHub would refuse: requests are not judged in here, answers still are."""
        self.answers_only = True
        try:
            yield
        finally:
            self.answers_only = False

    def check(self) -> None:
        """Raises: AssertionError. What was not described is said at the end of the test run."""
        UNDESCRIBED.update(self.undescribed)
        if not self.is_there:
            UNCOMPARED.add(NOTICE)
        assert not self.violations, "against GitHub's description:\n" + "\n".join(dict.fromkeys(self.violations))

    def check_exchange(self, incoming: Incoming, template: str, answer: Answer) -> None:
        if not self.is_there:
            return
        name = f"{incoming.method} {template or incoming.path}"
        if not template:
            if not self.answers_only:
                self.undescribed.add(
                    f"{incoming.method} {numberless(incoming.path)}: the stand-in has no such endpoint"
                )
            return
        if operation(incoming.method, template) is None:
            self.undescribed.add(f"{name}: the description has no such operation")
            return
        if not self.answers_only:
            self.check_request(name, incoming, template)
        self.check_answer(name, incoming.method, template, answer)

    def check_request(self, name: str, incoming: Incoming, template: str) -> None:
        known = parameters(incoming.method, template)
        for key, text in parse_qsl(incoming.query, keep_blank_values=True):
            if key not in known:
                self.violations.append(f"{name}: no query parameter {key}")
            elif not any(known[key].is_valid(value) for value in readings(text)):
                self.violations.append(f"{name}: query parameter {key}={text}")
        check = validator(incoming.method, template, "request")
        if check is not None and incoming.body:
            try:
                value = json.loads(incoming.body)
            except ValueError:
                return
            if isinstance(value, list) and incoming.method in LISTS_OF_LABELS and template.endswith("/labels"):
                value = {"labels": value}
            if error := first_error(check, value):
                self.violations.append(f"{name}, request: {error}")

    def check_answer(self, name: str, method: str, template: str, answer: Answer) -> None:
        if isinstance(answer.body, bytes) or answer.body is None:
            return
        check = validator(method, template, str(answer.status))
        if check is None:
            if answer.status < 300:
                self.violations.append(f"{name}: no answer {answer.status} with a body is described")
            return
        # As it goes over the wire.
        if error := first_error(check, json.loads(json.dumps(answer.body))):
            self.violations.append(f"{name}, answer {answer.status}: {error}")

    def check_event(self, event: str, payload: dict[str, Any]) -> None:
        if not EVENTS.is_dir():
            return
        action = str(payload.get("action", ""))
        check = event_validator(event, action)
        if check is None:
            self.undescribed.add(f"event {event} {action}".rstrip() + ": no schema")
        elif error := first_error(check, as_known(payload)):
            self.violations.append(f"event {event} {action}: {error}")


def as_known(payload: dict[str, Any]) -> dict[str, Any]:
    """Without the events that are younger than the schemas' list of them."""
    installation = payload.get("installation") or {}
    if "events" not in installation:
        return payload
    known = [one for one in installation["events"] if one != "repository_ruleset"]
    return payload | {"installation": installation | {"events": known}}


def numberless(path: str) -> str:
    """An address without what differs from run to run."""
    return re.sub(r"/(?:[0-9a-f]{40}|\d+)(?=/|$)", "/…", path)


def readings(text: str) -> list[Any]:
    """What a query parameter may mean."""
    found: list[Any] = [text]
    if re.fullmatch(r"-?\d+", text):
        found.append(int(text))
    if text in {"true", "false"}:
        found.append(text == "true")
    return found
