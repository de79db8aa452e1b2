"""Where GitHub delivers its webhooks: the signature over the raw bytes is checked, the bytes are stored, nothing else.

Nothing of a body is parsed before its signature is right, nor at all in the request. What is refused leaves no row.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse, UnreadablePostError

from audit.coded import CodedError
from handoffs.doorbell import Doorbell
from handoffs.github.events import MAX_BODY_BYTES
from handoffs.models import GitHubApp, store_delivery
from handoffs.tasks import nudge
from leoportal.lanes.ingesting import ingest

log = logging.getLogger(__name__)
SIGNATURE: Final = re.compile(r"sha256=([0-9a-f]{64})")
DELIVERY: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
EVENT: Final = re.compile(r"[a-z0-9_]{1,60}")
ADDRESSES: Final = {f"/github/webhook/{app}/": app.value for app in GitHubApp}
TOLD_SECONDS: Final = 60.0
bell: Final = Doorbell(lambda: nudge("handoffs.tasks_github.take_deliveries"))


class WebhookError(CodedError):
    """A request that is no delivery of ours. `status` is the HTTP status of the answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.status = status


class Refusals:
    """Counts what is refused and says so once a minute and code, so that nobody fills the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._told_at: dict[str, float] = {}

    def count(self, code: str, app: str) -> None:
        """One more."""
        key, now = f"{code} {app}", time.monotonic()
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1
            if now - self._told_at.get(key, float("-inf")) < TOLD_SECONDS:
                return
            self._told_at[key], count = now, self._counts.pop(key)
        log.warning("%s: refused %d webhook requests to the App %s", code, count, app)


refusals: Final = Refusals()


class WebhookMiddleware:
    """Answers GitHub's two addresses before any other middleware: a webhook has no session, no form and no page.

    The way through all of them and through the addresses' patterns would take longer than all that is done here.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Called by Django for each request."""
        app = ADDRESSES.get(request.path_info)
        return receive(request, app) if app else self._get_response(request)


def receive(request: HttpRequest, app: str) -> JsonResponse:
    """Take one delivery: 202 once it is stored, also if it was stored before."""
    try:
        delivery_id, event, signature, length = _headers(request)
        secrets = _secrets(app)
        body = _read(request, length)
        _refuse_forged(body, signature, secrets)
        is_new = _store(app, delivery_id, event, body)
    except WebhookError as error:
        refusals.count(error.code, app)
        return _answer(error.status, error.code, error.detail)
    bell.press()
    code, detail = ("webhook.stored", "it is processed soon") if is_new else ("webhook.known", "it was stored before")
    return _answer(202, code, detail)


def _answer(status: int, code: str, detail: str) -> JsonResponse:
    """With its length, which the middleware that usually says it is not asked for."""
    answer = JsonResponse({"code": code, "detail": detail}, status=status)
    answer.headers["Content-Length"] = str(len(answer.content))
    if status == 405:
        answer.headers["Allow"] = "POST"
    return answer


def _headers(request: HttpRequest) -> tuple[str, str, bytes, int]:
    """What has to be right before a byte of the body is read."""
    if request.method != "POST":
        raise WebhookError(405, "webhook.method", f"got {request.method}, expected POST")
    given = request.META
    if given.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        detail = "expected application/json. Next: set the webhook's content type to it, on GitHub"
        raise WebhookError(415, "webhook.content_type", detail)
    length = given.get("CONTENT_LENGTH", "")
    if not (length.isascii() and length.isdigit()):
        raise WebhookError(411, "webhook.length", "got no Content-Length, expected the number of bytes")
    if len(length) > 9 or int(length) > MAX_BODY_BYTES:
        raise WebhookError(413, "webhook.too_long", f"got {length[:20]} bytes, expected at most {MAX_BODY_BYTES}")
    delivery_id, event = given.get("HTTP_X_GITHUB_DELIVERY", ""), given.get("HTTP_X_GITHUB_EVENT", "")
    for value, pattern, name in ((delivery_id, DELIVERY, "Delivery"), (event, EVENT, "Event")):
        if not pattern.fullmatch(value):
            detail = f"expected X-GitHub-{name} as GitHub sends it. Next: let proxies pass X-GitHub-* and X-Hub-* on"
            raise WebhookError(400, "webhook.header", detail)
    signed = SIGNATURE.fullmatch(given.get("HTTP_X_HUB_SIGNATURE_256", ""))
    if signed is None:
        detail = "expected X-Hub-Signature-256. Next: set a secret for the webhook, on GitHub"
        raise WebhookError(401, "webhook.unsigned", detail)
    return delivery_id, event, bytes.fromhex(signed[1]), int(length)


def _read(request: HttpRequest, length: int) -> bytes:
    try:
        return request.read(length)
    except UnreadablePostError:
        raise WebhookError(400, "webhook.cut_off", "the body broke off; GitHub is asked to deliver it again") from None


def _store(app: str, delivery_id: str, event: str, body: bytes) -> bool:
    """Raises: WebhookError("webhook.not_stored"); what is not stored is not acknowledged, and so asked for again."""
    try:
        return ingest(lambda session: store_delivery(session, app, delivery_id, event, body))
    except psycopg.Error:
        log.exception("a webhook of the App %s cannot be stored", app)
        raise WebhookError(503, "webhook.not_stored", "the database is away; GitHub is asked for it again") from None


def _secrets(app: str) -> list[str]:
    """The App's secrets that are active, newest first: two while one is replaced by the other.

    Raises: WebhookError("webhook.not_configured").
    """
    is_enforcer = app == GitHubApp.ENFORCER
    found: list[str] = settings.GITHUB_ENFORCER_WEBHOOK_SECRETS if is_enforcer else settings.GITHUB_GATE_WEBHOOK_SECRETS
    if not found:
        detail = f"this portal has no secret for the App {app}. Next: set GITHUB_{app.upper()}_WEBHOOK_SECRETS"
        raise WebhookError(404, "webhook.not_configured", detail)
    return found


def _refuse_forged(body: bytes, signature: bytes, secrets: list[str]) -> None:
    """Raises: WebhookError("webhook.forged") unless one of the secrets signed these bytes."""
    made = [hmac.new(secret.encode(), body, hashlib.sha256).digest() for secret in secrets]
    if not any([hmac.compare_digest(signature, one) for one in made]):  # noqa: C419  each is compared, whichever fits
        detail = "the signature is not this App's. Next: the same secret on GitHub and in the portal's settings"
        raise WebhookError(401, "webhook.forged", detail)
