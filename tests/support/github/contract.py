"""Every request and answer against GitHub's OpenAPI description, every event against GitHub's schemas."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jsonschema_rs

from tests.support.corpora import CORPORA
from tests.support.described import UNCOMPARED, UNDESCRIBED

if TYPE_CHECKING:
    from tests.support.github.exchange import Answer, Incoming

PACKAGE = "@octokit/openapi@23.0.2"
SUBSET = CORPORA / "github-openapi" / "api.github.com.subset.json"
EVENTS = CORPORA / "octokit-webhooks" / "payload-schemas" / "api.github.com"
# Where the description contradicts itself: docs/github-stand-in.md, "Corrections to the description".
LISTS_OF_LABELS = {"POST", "PUT"}
NOTICE = (
    "neither ../shared/corpora/github-openapi nor the npm package @octokit/openapi is here: "
    "what the stand-in for GitHub says is not compared with GitHub's own description"
)


@functools.cache
def subset() -> dict[str, Any]:
    return dict(json.loads(SUBSET.read_bytes())) if SUBSET.is_file() else {}


@functools.cache
def package() -> dict[str, Any]:
    """GitHub's whole description, from npm, installed once outside the repository; empty where npm cannot."""
    folder = Path(tempfile.gettempdir()) / f"leoportal-{PACKAGE.replace('/', '-').replace('@', '')}"
    cut = folder / "description.json"
    if not cut.exists():
        if shutil.which("npm") is None:
            return {}
        draft = Path(tempfile.mkdtemp(prefix="leoportal-npm-"))
        (draft / "package.json").write_text("{}")
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", PACKAGE]
        try:
            done = subprocess.run(command, cwd=draft, capture_output=True, text=True, check=False, timeout=120)
        except subprocess.TimeoutExpired:
            return {}
        whole = draft / "node_modules" / "@octokit" / "openapi" / "generated" / "api.github.com.json"
        if done.returncode != 0 or not whole.is_file():
            shutil.rmtree(draft)
            return {}
        shutil.copy(whole, draft / "description.json")
        shutil.rmtree(draft / "node_modules")  # 380 MB of other editions
        try:
            draft.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(draft)
    return dict(json.loads(cut.read_bytes()))


def plain(template: str) -> str:
    """An address without the names of its parameters."""
    return re.sub(r"\{\w+\}", "{}", template)


@functools.cache
def operations(source: str) -> dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]:
    """Shape: (method, plain address) to (operation, description)."""
    whole = subset() if source == "subset" else package()
    return {
        (method.upper(), plain(path)): (one, whole)
        for path, methods in whole.get("paths", {}).items()
        for method, one in methods.items()
        if method in {"get", "post", "put", "patch", "delete"}
    }


def operation(method: str, template: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The corpus is asked first: it is small; the package for what the corpus leaves out."""
    key = (method, plain(template))
    return operations("subset").get(key) or operations("package").get(key)


def converted(schema: Any) -> Any:
    """OpenAPI 3.0's dialect as JSON Schema: ``nullable`` becomes a type, ``$ref`` points into ``$defs``."""
    if isinstance(schema, list):
        return [converted(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return {"$ref": f"#/$defs/{name}"}
    skipped = {"example", "examples", "nullable", "discriminator", "description", "title", "externalDocs", "default"}
    found = {name: converted(value) for name, value in schema.items() if name not in skipped}
    if {one.get("title") for one in schema.get("allOf", [])} == {"Simple User", "Enterprise"}:
        found["anyOf"] = found.pop("allOf")
    if "properties" in schema:
        found["properties"] = {name: converted(value) for name, value in schema["properties"].items()}
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found


def referenced(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        for value in schema.values():
            yield from referenced(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from referenced(value)


def whole_schema(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """With everything it points at, and nothing else."""
    known, waiting = {}, set(referenced(schema))
    while waiting:
        name = waiting.pop()
        if name not in known:
            part = description["components"]["schemas"][name]
            known[name] = converted(part)
            waiting |= set(referenced(part)) - set(known)
    return dict(converted(schema)) | {"$defs": known}


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


def widened(schema: Any) -> Any:
    """``oneOf`` as ``anyOf``: the description's kinds of answer overlap (an error fits both of 409's)."""
    if isinstance(schema, list):
        return [widened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {("anyOf" if name == "oneOf" else name): widened(value) for name, value in schema.items()}


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
