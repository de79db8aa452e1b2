"""Delivering a webhook as GitHub does: signed bytes with their headers."""

from __future__ import annotations

import hmac
import uuid
from typing import Any

from django.test import Client

SECRETS = {"enforcer": "first-secret-of-the-enforcer", "gate": "first-secret-of-the-gate"}


def sign(secret: str, body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}={hmac.new(secret.encode(), body, algorithm).hexdigest()}"


def headers(body: bytes, event: str = "push", *, app: str = "enforcer", delivery: str = "", **changed: str | None):
    """The headers of one delivery; None leaves one out."""
    whole: dict[str, str | None] = {
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": sign(SECRETS[app], body),
        "X-GitHub-Hook-ID": "1",
        "User-Agent": "GitHub-Hookshot/044aadd",
    }
    whole |= {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in whole.items() if value is not None}


def deliver(
    body: bytes, event: str = "push", *, app: str = "enforcer", content_type: str = "application/json", **more: Any
):
    """POST it to the portal, in this process."""
    given = headers(body, event, app=app, **more)
    return Client().generic("POST", f"/github/webhook/{app}/", body, content_type=content_type, headers=given)
