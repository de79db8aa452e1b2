"""The HTTP server: threads, keep-alive, and every request past faults, limits, permissions and the contract."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.support.github import smart_http
from tests.support.github.accounts import Actor
from tests.support.github.api_apps import submit_manifest
from tests.support.github.authentication import authenticate, authorize
from tests.support.github.exchange import API, Answer, Call, Incoming, Page, Recorded, Refusal, not_found
from tests.support.github.paging import paginated, redirect
from tests.support.github.routing import Route, find

if TYPE_CHECKING:
    from tests.support.github.world import GitHub


class CutError(Exception):
    """The connection ends here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    github: GitHub

    def log_message(self, *_: Any) -> None:
        """The requests are recorded, not printed."""

    def serve(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        incoming = Incoming(self.command, path, query, headers, self.read_body(headers))
        try:
            answer = answer_to(self.github, incoming)
        except CutError:
            # No time to linger: the peer sees a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = serve  # noqa: N815 - the names http.server asks for

    def read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(headers.get("content-length") or 0))

    def send(self, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else b""
        if answer.body is not None and not isinstance(answer.body, bytes):
            raw = json.dumps(answer.body).encode()
            answer.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        lines = [f"HTTP/1.1 {answer.status} {self.responses.get(answer.status, ('Status',))[0]}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status not in {204, 304}:
            lines.append(f"Content-Length: {len(raw)}")
        if self.request_version == "HTTP/1.0":
            self.close_connection = True
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + (b"" if self.command == "HEAD" else raw))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no error; anything else is kept for the test to see."""
        self.github.crashed()

    github: GitHub


def answer_to(github: GitHub, incoming: Incoming) -> Answer:
    if incoming.path == smart_http.HOOK_PATH:
        return smart_http.received(github, incoming.json())
    record = github.record(incoming)
    for callback in list(github.callbacks):
        callback(incoming)
    path = incoming.path.removeprefix(API)
    fault = github.chaos.hit(incoming.method, path)
    if fault and fault.seconds:
        time.sleep(fault.seconds)
    if fault and not fault.after and fault.kind != "slow":
        return broken(fault.kind, record)
    answer = dispatch(github, incoming, record)
    record.status = answer.status
    if fault and fault.after:
        return broken(fault.kind, record)
    return answer


def broken(kind: int | str, record: Recorded) -> Answer:
    if kind == "reset":
        raise CutError
    record.status = int(kind)
    return Answer(int(kind), b"<html><body>Unicorn!</body></html>", {"Content-Type": "text/html"})


def dispatch(github: GitHub, incoming: Incoming, record: Recorded) -> Answer:
    if incoming.path.startswith(f"{API}/"):
        return call_api(github, incoming, record)
    parts = unquote(incoming.path).strip("/").split("/")
    if parts[0] == "oidc":
        document = {"openid-configuration": github.oidc.configuration, "jwks": github.oidc.keys}.get(parts[-1])
        return Answer(200, document()) if document and parts[1:-1] == [".well-known"] else not_found().answer()
    if (incoming.method == "POST" and parts[:1] == ["settings"]) or parts[:1] == ["organizations"]:
        return submit_manifest(github, incoming, parts)
    if len(parts) > 2 and parts[1].endswith(".git"):
        rest = "/" + "/".join(parts[2:])
        return smart_http.serve(github, incoming, f"{parts[0]}/{parts[1].removesuffix('.git')}", rest)
    return not_found().answer()


def call_api(github: GitHub, incoming: Incoming, record: Recorded) -> Answer:
    """One call of the API: 401, rate limit, 404, permission, then the endpoint under the lock."""
    path = incoming.path.removeprefix(API)
    found = None
    headers: dict[str, str] = {}
    try:
        if path.startswith("/repositories/"):
            path = by_number(github, path)
        found = find(incoming.method, path)
        actor = authenticate(github, incoming.headers.get("authorization", ""))
        record.actor = actor.name
        budget = github.limits.check(actor)
        headers = budget.headers()
        if found is None:
            raise not_found()
        with github.lock:
            answer = endpoint_answer(github, incoming, actor, *found)
        if answer.status != 304:
            budget.used += 1
        headers = budget.headers()
    except Refusal as refusal:
        answer = refusal.answer()
    template = found[0].template if found else ""
    github.contract.check_exchange(incoming, template, answer)
    return Answer(answer.status, answer.body, standing(github) | headers | answer.headers)


def standing(github: GitHub) -> dict[str, str]:
    when = github.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
    return {
        "Date": when,
        "X-GitHub-Request-Id": f"STND:{github.new_id():X}",
        "X-GitHub-Media-Type": "github.v3; format=json",
    }


def by_number(github: GitHub, path: str) -> str:
    """``/repositories/{id}/…`` as the address of what the repository is called now."""
    number, _, rest = path.removeprefix("/repositories/").partition("/")
    for repository in github.repositories:
        if str(repository.id) == number:
            return f"/repos/{repository.full_name}" + (f"/{rest}" if rest else "")
    raise not_found()


def endpoint_answer(github: GitHub, incoming: Incoming, actor: Actor, route: Route, params: dict[str, str]) -> Answer:
    repository = None
    if route.template.startswith("/repos/{owner}/{repo}"):
        repository, moved = github.find_repository(f"{params['owner']}/{params['repo']}")
        if repository is None:
            raise not_found()
        if moved:
            return redirect(incoming, actor, repository, params)
    authorize(route, actor, repository)
    call = Call(github, incoming, actor, params, repository)
    result = route.endpoint(call)
    if isinstance(result, Page):
        result = paginated(call, result)
    answer = result if isinstance(result, Answer) else Answer(200, result)
    if incoming.method == "GET" and answer.status == 200:
        tag = f'W/"{hashlib.sha256(json.dumps(answer.body, default=str).encode()).hexdigest()}"'
        answer.headers["ETag"] = tag
        asked = [one.strip() for one in incoming.headers.get("if-none-match", "").split(",")]
        if tag in asked or tag.removeprefix("W/") in asked:
            return Answer(304, None, {"ETag": tag})
    return answer
